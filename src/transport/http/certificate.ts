/**
 * The certificate of a listener: read and proved to fit its key before it is used, and looked at again for as long as the listener
 * lives, so that a renewed one is served without a restart. On the front thread that listens.
 */
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { ListenError } from './http-host.ts';

export interface TlsFiles {
	/** PEM: the certificate, and behind it those that lead to a known one. */
	readonly cert: string;
	/** PEM, without a passphrase. */
	readonly key: string;
}

export interface Certificate {
	readonly cert: Buffer;
	readonly key: Buffer;
}

const lookMs = 1_000;

/** Throws a `ListenError` that says what is wrong with which file, and repeats nothing of them. */
export function readCertificate({ cert, key }: TlsFiles): Certificate {
	const pair = { cert: read('tls.cert', cert), key: read('tls.key', key) };
	try {
		createSecureContext(pair);
	} catch (error) {
		const why = error instanceof Error && 'code' in error ? String(error.code) : 'not PEM';
		throw new ListenError('ETLS', `tls.cert ${cert} and tls.key ${key} cannot be used together (${why})`);
	}
	return pair;
}

function read(name: string, path: string): Buffer {
	try {
		return readFileSync(path);
	} catch (error) {
		const why = error instanceof Error && 'code' in error ? String(error.code) : String(error);
		throw new ListenError('ETLS', `${name} ${path} cannot be read (${why})`);
	}
}

/**
 * Calls `use` with each new pair that is whole. `tell`: null, a new one is in use; else why what is there now is not. Returns what
 * ends it. Links count as what they lead to: that is how mounted secrets change.
 */
export function watchCertificate(files: TlsFiles, use: (pair: Certificate) => void, tell: (problem: string | null) => void): () => void {
	let seen = versionOf(files);
	let told = '';
	let pending = false;
	const timer = setInterval(() => {
		const now = versionOf(files);
		if (now === seen && !pending) return;
		seen = now;
		try {
			use(readCertificate(files));
			pending = false;
			told = '';
			tell(null);
		} catch (error) {
			// One file may have come and the other not yet: it is tried again, and said once.
			pending = true;
			const words = error instanceof Error ? error.message : String(error);
			if (words !== told) tell(words);
			told = words;
		}
	}, lookMs);
	timer.unref();
	return () => clearInterval(timer);
}

function versionOf({ cert, key }: TlsFiles): string {
	return [cert, key]
		.map((path) => {
			const found = statSync(path, { throwIfNoEntry: false });
			return found === undefined ? 'gone' : `${found.ino} ${found.mtimeMs} ${found.size}`;
		})
		.join(' ');
}
