/**
 * A look at LMDB's file before LMDB has it: it maps the file without one, and what was cut off would end the process when it is read.
 * Reads the two heads, nothing else.
 */
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { StoreError } from './store-error.ts';

const dataFile = 'data.mdb';
/** Two meta pages, each with a header of 24 bytes. */
const metaBytes = 160;
const magic = 0xbeefc0de;
const at = { magic: 24, pageBytes: 48, lastPage: 144, transaction: 152 };

/** Throws a `StoreError` for a file that is not whole. */
export function checkStoreFile(folder: string): void {
	const path = join(folder, dataFile);
	if (!existsSync(path)) return;
	const damaged = (why: string): StoreError =>
		new StoreError(
			`the store in ${folder} is damaged: ${why}; put a copy of it back, or move it away and start again, which forgets the catalog but no model file`,
		);
	const file = openSync(path, 'r');
	try {
		const { size } = fstatSync(file);
		if (size === 0) throw damaged('its file is empty');
		const first = metaAt(file, 0);
		if (first === null) throw damaged('its file does not begin as one of LMDB does');
		const second = metaAt(file, first.pageBytes);
		if (second === null) throw damaged('its second head is missing');
		const newest = second.transaction > first.transaction ? second : first;
		const needed = (newest.lastPage + 1) * first.pageBytes;
		if (size < needed) throw damaged(`its file has ${size} bytes of ${needed}`);
	} finally {
		closeSync(file);
	}
}

interface Meta {
	readonly pageBytes: number;
	readonly lastPage: number;
	readonly transaction: number;
}

function metaAt(file: number, from: number): Meta | null {
	const bytes = Buffer.alloc(metaBytes);
	if (readSync(file, bytes, 0, metaBytes, from) < metaBytes || bytes.readUInt32LE(at.magic) !== magic) return null;
	const pageBytes = bytes.readUInt32LE(at.pageBytes);
	if (pageBytes < 256 || pageBytes > 65_536) return null;
	return { pageBytes, lastPage: Number(bytes.readBigUInt64LE(at.lastPage)), transaction: Number(bytes.readBigUInt64LE(at.transaction)) };
}
