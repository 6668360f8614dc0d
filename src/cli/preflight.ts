/**
 * Looks at what the configuration names before anything is started, so that a slip is told in one line instead of by a
 * replica that fails. Reads the first bytes of each model file, and asks for the devices where a pool names some; the deep checks are the
 * engine's.
 */
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import type { DaemonConfig } from '../config.ts';
import { type DeviceProbe, type DevicesFound, maskProblem, noDevices } from '../engines/devices.ts';
import { exitCodes } from './exit-codes.ts';
import { Problem } from './problem.ts';

/** Throws a `Problem` for the first model file that cannot be served. */
export function checkModelFiles(config: DaemonConfig): void {
	for (const pool of config.pools) {
		if (pool.modelPath !== null) checkModelFile(pool.id, pool.modelPath);
	}
}

/**
 * Throws a `Problem` for pools with devices that are not there. Where no tool lists any, nobody can tell: an engine may see some that have
 * no tool. Answers what else is to be said of them.
 */
export async function checkDevices({ pools }: Pick<DaemonConfig, 'pools'>, probe: DeviceProbe): Promise<readonly string[]> {
	const masked = pools.filter(({ devices, provider }) => provider !== 'external' && devices !== null && devices.length > 0);
	const found: DevicesFound = masked.length === 0 ? noDevices : await probe.look();
	const problems = masked.flatMap(({ id, devices }) => {
		const problem = maskProblem(devices, found);
		return problem === null ? [] : [`devices of pool ${id} ${problem}`];
	});
	if (problems.length > 0) throw new Problem(exitCodes.config, problems.join('; '), 'orchestratord devices lists them');
	if (masked.length === 0 || found.devices.length > 0) return found.problems;
	const which = masked.map(({ id, devices }) => `${id} wants ${devices?.join(', ')}`).join('; ');
	return [...found.problems, `no tool here lists any GPU, but ${which}: an engine that sees none will not start, or will use the CPU`];
}

function checkModelFile(poolId: string, path: string): void {
	const what = `the model of pool ${poolId}`;
	let head: Buffer;
	try {
		if (!statSync(path).isFile()) throw new Problem(exitCodes.config, `${what} is not a regular file: ${path}`, adviceForModel);
		head = readHead(path);
	} catch (error) {
		if (error instanceof Problem) throw error;
		const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
		const reason =
			code === 'ENOENT' || code === 'ENOTDIR'
				? 'does not exist'
				: code === 'EACCES'
					? 'may not be read by this user'
					: `cannot be read (${code})`;
		throw new Problem(exitCodes.config, `${what} ${reason}: ${path}`, adviceForModel);
	}
	if (head.toString('latin1') !== 'GGUF') {
		const shown =
			head.length === 0
				? 'the file is empty'
				: `it begins with ${JSON.stringify(head.toString('latin1').replaceAll(/[^\x20-\x7e]/g, '?'))}`;
		throw new Problem(
			exitCodes.config,
			`${what} is not a GGUF file (${shown}): ${path}`,
			'llama.cpp reads .gguf files; convert other formats first',
		);
	}
}

const adviceForModel = 'check the path given by --model or in the file; without one, the built-in model is served';

function readHead(path: string): Buffer {
	const file = openSync(path, 'r');
	try {
		const head = Buffer.alloc(4);
		return head.subarray(0, readSync(file, head, 0, 4, 0));
	} finally {
		closeSync(file);
	}
}
