/**
 * Looks at what the configuration names before anything is started, so that a slip is told in one line instead of by a
 * replica that fails. Reads the first bytes of each model file; the deep checks are the engine's.
 */
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import type { DaemonConfig } from '../config.ts';
import { exitCodes } from './exit-codes.ts';
import { Problem } from './problem.ts';

/** Throws a `Problem` for the first model file that cannot be served. */
export function checkModelFiles(config: DaemonConfig): void {
	for (const pool of config.pools) {
		if (pool.modelPath !== null) checkModelFile(pool.id, pool.modelPath);
	}
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
