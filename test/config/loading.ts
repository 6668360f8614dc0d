/** Loading a configuration in a world that is given in: no file is read. */
import assert from 'node:assert/strict';
import { type DaemonConfig, loadConfig, type World } from '../../src/config.ts';
import { ConfigError } from '../../src/config-check.ts';

export function world(file = '', env: World['env'] = {}): World {
	return {
		env: file === '' ? env : { ORCHD_CONFIG: '/etc/orchestratord.yaml', ...env },
		cwd: '/srv/fox',
		cores: 8,
		readFile: () => file,
	};
}

export function load(flags: readonly string[], file?: string, env?: World['env']): DaemonConfig {
	return loadConfig(flags, world(file, env));
}

/** The sentences that a refused configuration is answered with, without their places in the file. */
export function refusal(flags: readonly string[], file?: string, env?: World['env']): string {
	return problems(flags, file, env)
		.map((problem) => problem.replace(/ \(from \/etc\/orchestratord\.yaml:\d+:\d+\)$/, ''))
		.join('\n');
}

export function problems(flags: readonly string[], file?: string, env?: World['env']): readonly string[] {
	try {
		load(flags, file, env);
	} catch (error) {
		assert.ok(error instanceof ConfigError, String(error));
		return error.problems;
	}
	return assert.fail('was accepted');
}
