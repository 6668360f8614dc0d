/** A look at LMDB's file before LMDB has it: whether every page that it would go to is there, and is what it should be. */
import { join } from 'node:path';
import { openPages, PageProblem } from './page-walk.ts';
import { StoreError } from './store-error.ts';

export const dataFile = 'data.mdb';

/** Throws a `StoreError` for a file that is not whole. What the values say is looked at by those who read them. */
export function checkStoreFile(folder: string): void {
	try {
		checkPages(join(folder, dataFile));
	} catch (error) {
		throw error instanceof PageProblem ? damaged(folder, error.message) : error;
	}
}

/** Throws a `PageProblem`. */
export function checkPages(path: string): void {
	const pages = openPages(path);
	try {
		pages?.check();
	} finally {
		pages?.close();
	}
}

/** What a person is told of a store that is not opened. */
export function damaged(folder: string, why: string): StoreError {
	const what = 'orchestratord store check says what of it can be read, orchestratord store repair mends that and keeps a copy';
	return new StoreError(`the store in ${folder} is damaged: ${why}; ${what}`);
}
