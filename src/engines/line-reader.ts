/**
 * Lines out of what a process writes, however it cuts them. What it keeps is bounded: of a line without an end, the beginning is told
 * and the rest dropped.
 */
import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';

const lineCharactersMax = 8_192;

/** A carriage return ends a line too: progress bars are written with it. */
export function readLines(input: Readable, onLine: (line: string) => void): void {
	const decoder = new StringDecoder('utf8');
	let begun = '';
	let dropping = false;
	let afterReturn = false;
	const take = (text: string): void => {
		let from = 0;
		for (const match of text.matchAll(/[\r\n]/g)) {
			const part = text.slice(from, match.index);
			from = match.index + 1;
			const second = match[0] === '\n' && afterReturn && part === '';
			afterReturn = match[0] === '\r';
			if (second) continue;
			if (!dropping) onLine(cut(begun + part));
			begun = '';
			dropping = false;
		}
		const rest = text.slice(from);
		if (rest === '') return;
		afterReturn = false;
		if (dropping) return;
		begun += rest;
		if (begun.length <= lineCharactersMax) return;
		onLine(cut(begun));
		begun = '';
		dropping = true;
	};
	input.on('data', (chunk: Buffer) => take(decoder.write(chunk)));
	input.on('end', () => {
		take(decoder.end());
		if (begun !== '') onLine(cut(begun));
		begun = '';
	});
	// A pipe that breaks has ended.
	input.on('error', () => undefined);
}

function cut(line: string): string {
	return line.length <= lineCharactersMax ? line : `${line.slice(0, lineCharactersMax)}…`;
}
