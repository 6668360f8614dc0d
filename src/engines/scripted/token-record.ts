/**
 * What a scripted engine has made, token by token, in a file: for whoever wants to compare what clients saw with what an engine did. A
 * line a token, `seed TAB index TAB text as JSON`, written before the token leaves. In a host process.
 */
import { openSync, writeSync } from 'node:fs';

export class TokenRecord {
	readonly #file: number;
	#lines = '';

	/** Appends: several engines may share a file, each line is written whole. */
	constructor(path: string) {
		this.#file = openSync(path, 'a');
	}

	made(seed: number, index: number, text: string): void {
		this.#lines += `${seed}\t${index}\t${JSON.stringify(text)}\n`;
	}

	flush(): void {
		if (this.#lines === '') return;
		writeSync(this.#file, this.#lines);
		this.#lines = '';
	}
}
