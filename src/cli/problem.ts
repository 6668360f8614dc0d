/**
 * A failure that the person at the terminal can do something about: what happened, what to do, and the exit code. The
 * composition roots throw it; `cli.ts` prints it. A bug is not a Problem and keeps its stack trace.
 */
import { type ExitCode, exitCodes } from './exit-codes.ts';

export class Problem extends Error {
	override readonly name = 'Problem';
	readonly exitCode: ExitCode;
	/** One line: what to do now. */
	readonly advice: string | null;

	constructor(exitCode: ExitCode, message: string, advice: string | null = null) {
		super(message);
		this.exitCode = exitCode;
		this.advice = advice;
	}
}

export function portInUse(addr: string): Problem {
	const [host, port] = splitAddr(addr);
	return new Problem(
		exitCodes.unavailable,
		`${addr} is in use by another program, or by another orchestratord`,
		`stop that one, or choose another port: --addr ${host}:${Number(port) === 65_535 ? 0 : Number(port) + 1}`,
	);
}

export function storeInUse(path: string): Problem {
	return new Problem(
		exitCodes.unavailable,
		`the store in ${path} is in use by another orchestratord`,
		'stop that one, or give this one a folder of its own: --store.path FOLDER (in the file store.path, in the environment ORCHD_STORE_PATH)',
	);
}

export function cannotListen(addr: string, reason: string): Problem {
	return new Problem(exitCodes.unavailable, `cannot listen on ${addr}: ${reason}`, 'choose another address: --addr 127.0.0.1:8080');
}

export function nativeBinaryMissing(library: string, detail: string): Problem {
	return new Problem(
		exitCodes.unavailable,
		`the native part of ${library} does not load on ${process.platform}-${process.arch}, Node ${process.version}: ${detail}`,
		'install again with `npm ci` on this machine (optional dependencies included); Linux needs glibc, and Node 20 the version 2.27 of it or newer',
	);
}

export function nothingAnswers(url: string): Problem {
	return new Problem(
		exitCodes.unavailable,
		`nothing answers on ${url}`,
		'start it with `npm start` or `orchestratord serve`, or name another with --url',
	);
}

function splitAddr(addr: string): [string, string] {
	const at = addr.lastIndexOf(':');
	return [addr.slice(0, at), addr.slice(at + 1)];
}
