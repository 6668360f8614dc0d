/**
 * Where in the bytes of a JSON text (RFC 8259) the values lie that some paths name. For texts that have been parsed: of others it
 * says nothing sure. Not on the way of each token.
 */

/** Keys and indices from the outside in. */
export type JsonPath = readonly (string | number)[];

export interface JsonRange {
	readonly start: number;
	readonly end: number;
}

/** A range for each path; null where there is no such value, or where a key on the way comes twice. */
export function rangesOf(bytes: Buffer, start: number, end: number, paths: readonly JsonPath[]): (JsonRange | null)[] {
	return paths.map((path) => rangeOf(bytes, start, end, path));
}

function rangeOf(bytes: Buffer, start: number, end: number, path: JsonPath): JsonRange | null {
	let range: JsonRange | null = trimmed(bytes, start, end);
	for (const step of path) {
		if (range === null) return null;
		range = typeof step === 'string' ? memberOf(bytes, range, step) : elementOf(bytes, range, step);
	}
	return range;
}

function memberOf(bytes: Buffer, { start, end }: JsonRange, key: string): JsonRange | null {
	if (bytes[start] !== 0x7b) return null;
	let found: JsonRange | null = null;
	let at = behindSpace(bytes, start + 1, end);
	while (at < end && bytes[at] === 0x22) {
		const keyEnd = behindValue(bytes, at, end);
		const colon = behindSpace(bytes, keyEnd, end);
		const valueAt = behindSpace(bytes, colon + 1, end);
		const valueEnd = behindValue(bytes, valueAt, end);
		if (JSON.parse(bytes.toString('utf8', at, keyEnd)) === key) {
			if (found !== null) return null;
			found = { start: valueAt, end: valueEnd };
		}
		at = behindSpace(bytes, valueEnd, end);
		if (bytes[at] !== 0x2c) break;
		at = behindSpace(bytes, at + 1, end);
	}
	return found;
}

function elementOf(bytes: Buffer, { start, end }: JsonRange, index: number): JsonRange | null {
	if (bytes[start] !== 0x5b) return null;
	let at = behindSpace(bytes, start + 1, end);
	for (let element = 0; at < end && bytes[at] !== 0x5d; element += 1) {
		const valueEnd = behindValue(bytes, at, end);
		if (element === index) return { start: at, end: valueEnd };
		at = behindSpace(bytes, valueEnd, end);
		if (bytes[at] !== 0x2c) break;
		at = behindSpace(bytes, at + 1, end);
	}
	return null;
}

function behindValue(bytes: Buffer, start: number, end: number): number {
	const first = bytes[start];
	if (first === 0x22) return behindString(bytes, start, end);
	if (first === 0x7b || first === 0x5b) {
		let depth = 0;
		for (let at = start; at < end; ) {
			const byte = bytes[at];
			if (byte === 0x22) {
				at = behindString(bytes, at, end);
				continue;
			}
			if (byte === 0x7b || byte === 0x5b) depth += 1;
			else if ((byte === 0x7d || byte === 0x5d) && --depth === 0) return at + 1;
			at += 1;
		}
		return end;
	}
	let at = start;
	while (at < end && !isDelimiter(bytes[at] as number)) at += 1;
	return at;
}

function behindString(bytes: Buffer, start: number, end: number): number {
	for (let at = start + 1; at < end; at += 1) {
		if (bytes[at] === 0x5c) at += 1;
		else if (bytes[at] === 0x22) return at + 1;
	}
	return end;
}

function behindSpace(bytes: Buffer, start: number, end: number): number {
	let at = start;
	while (at < end && isSpace(bytes[at] as number)) at += 1;
	return at;
}

function trimmed(bytes: Buffer, start: number, end: number): JsonRange {
	const from = behindSpace(bytes, start, end);
	return { start: from, end: behindValue(bytes, from, end) };
}

function isSpace(byte: number): boolean {
	return byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;
}

function isDelimiter(byte: number): boolean {
	return isSpace(byte) || byte === 0x2c || byte === 0x7d || byte === 0x5d;
}
