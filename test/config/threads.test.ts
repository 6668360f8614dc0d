/** How many threads of each kind a configuration means, on machines of all sizes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DaemonConfig, loadConfig } from '../../src/config.ts';
import { ConfigError } from '../../src/config-check.ts';

function load(flags: readonly string[], file = '', cores = 8, front?: string): DaemonConfig {
	const env = { ORCHD_CONFIG: '/etc/orchestratord.yaml', ...(front === undefined ? {} : { ORCHD_THREADS_FRONT: front }) };
	return loadConfig(flags, { env, cwd: '/srv/fox', cores, readFile: () => file });
}

test('compute threads are shared by all replicas and never fewer than one', () => {
	const threads = (file: string): number[] => load([], file).pools.map((pool) => pool.cpuThreads);
	assert.deepEqual(threads('pools: [{ id: a, model: "file:/a" }]'), [7]);
	assert.deepEqual(threads('pools: [{ id: a, model: "file:/a", replicas: 2 }, { id: b, model: "file:/b" }]'), [2, 2]);
	assert.deepEqual(threads('pools: [{ id: a, model: "file:/a", replicas: 64 }]'), [1]);
});

test('front threads follow the cores unless they are told, and leave the rest to compute threads', () => {
	const fronts = (cores: number, ...flags: string[]): readonly [number, number | undefined] => {
		const config = load(['--model', 'file:/a', ...flags], '', cores);
		return [config.threads.front, config.pools[0]?.cpuThreads];
	};
	const automatic: readonly [cores: number, fronts: number, compute: number][] = [
		[1, 1, 1],
		[2, 1, 1],
		[15, 1, 14],
		[16, 2, 14],
		[31, 2, 29],
		[32, 4, 28],
		[128, 4, 124],
	];
	for (const [cores, front, compute] of automatic) assert.deepEqual(fronts(cores), [front, compute], `${cores} cores`);
	assert.deepEqual(fronts(32, '--threads.front=auto', '--listen.host=node'), [1, 31]);
	assert.deepEqual(fronts(8, '--threads.front=1', '--listen.host=node'), [1, 7]);
	assert.deepEqual(fronts(4, '--threads.front=3'), [3, 1]);
	assert.deepEqual(fronts(2, '--threads.front=64'), [64, 1]);
});

test('front threads are told by the file, the environment and a flag', () => {
	const file = 'threads: { front: 2 }';
	assert.equal(load([], file).threads.front, 2);
	assert.equal(load([], file, 8, '3').threads.front, 3);
	assert.equal(load(['--threads.front', '4'], file, 8, '3').threads.front, 4);
	assert.equal(load([], file, 8, 'auto').threads.front, 1);
});

test('numbers of threads that cannot be are refused in words', () => {
	const bounds = 'it must be auto, or a whole number from 1 to 64';
	const refusals: readonly [flags: readonly string[], said: string, front?: string][] = [
		[['--threads.front', '0'], `threads.front is 0; ${bounds} (from --threads.front)`],
		[[], `threads.front is 65; ${bounds} (from ORCHD_THREADS_FRONT)`, '65'],
		[['--threads.front=1.5'], `threads.front is 1.5; ${bounds} (from --threads.front)`],
		[
			['--threads.front=2', '--listen.host=node'],
			'threads.front is 2, but listen.host is node, whose server cannot share a port between threads; use threads.front: 1, or listen.host: uws (from --threads.front)',
		],
		[
			['--threads.engine', '2'],
			'threads.engine is 2; one such thread looks after all engines, and no token passes it: use auto or 1 (from --threads.engine)',
		],
	];
	for (const [flags, said, front] of refusals) {
		const refused = (error: unknown): boolean => {
			assert.ok(error instanceof ConfigError);
			assert.deepEqual(error.problems, [said]);
			return true;
		};
		assert.throws(() => load(flags, '', 8, front), refused);
	}
});
