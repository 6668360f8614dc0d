/**
 * The shape of one engine's token events: everything but a text and a few numbers is the same from one to the next. Learned from
 * an event that was parsed; an event that has it is read without a parse, byte by byte along the literal parts. One that has it
 * not is parsed, and learned from in its turn. Once per token on a front thread: no strings, no allocation.
 *
 * An event that matches is what `JSON.parse` would have made of it, with the learned values in place of all that no hole names:
 * literal parts are compared whole, a text ends at its first quote that nothing escapes, and has no control characters; numbers
 * have the grammar of RFC 8259.
 */
import { type JsonPath, rangesOf } from './json-ranges.ts';

const quote = 0x22;
const backslash = 0x5c;

interface Hole {
	/** Index among the paths. */
	readonly path: number;
	readonly isText: boolean;
	/** What stands before it, from the hole before on; with the opening quote of a text. */
	readonly before: Buffer;
}

export class DeltaShape {
	readonly #paths: readonly JsonPath[];
	#holes: readonly Hole[] = [];
	#after: Buffer = Buffer.alloc(0);
	#learned = false;
	/** Of the event that matched last: where the value of each path lies, by twos. Texts without their quotes. */
	readonly #ranges: Int32Array;
	/** Whether the text of the first path has an escape. */
	escaped = false;

	/** The first path names the text; the others numbers that change from event to event. */
	constructor(text: JsonPath, numbers: readonly JsonPath[] = []) {
		this.#paths = [text, ...numbers];
		this.#ranges = new Int32Array(2 * this.#paths.length);
	}

	get textStart(): number {
		return this.#ranges[0] as number;
	}

	get textEnd(): number {
		return this.#ranges[1] as number;
	}

	/** From an event that is known to be JSON. Without a text in its place nothing is learned. */
	learn(bytes: Buffer, start: number, end: number): void {
		this.#learned = false;
		const ranges = rangesOf(bytes, start, end, this.#paths);
		const holes: { path: number; start: number; end: number; isText: boolean }[] = [];
		for (const [path, range] of ranges.entries()) {
			if (range === null) continue;
			const isText = path === 0;
			if (isText !== (bytes[range.start] === quote)) continue;
			if (!isText && !isDigitOrMinus(bytes[range.start] as number)) continue;
			holes.push({ path, isText, start: isText ? range.start + 1 : range.start, end: isText ? range.end - 1 : range.end });
		}
		if (!holes.some(({ isText }) => isText)) return;
		holes.sort((a, b) => a.start - b.start);
		let from = start;
		this.#holes = holes.map(({ path, isText, ...hole }) => {
			const before = Buffer.from(bytes.subarray(from, hole.start));
			from = hole.end;
			return { path, isText, before };
		});
		this.#after = Buffer.from(bytes.subarray(from, end));
		this.#learned = true;
	}

	/** Whether the event has the shape; its values then lie where the ranges say. */
	match(bytes: Buffer, start: number, end: number): boolean {
		if (!this.#learned) return false;
		let at = start;
		for (let index = 0; index < this.#holes.length; index += 1) {
			const { before, isText, path } = this.#holes[index] as Hole;
			if (!isAt(bytes, at, end, before)) return false;
			at += before.length;
			const until = isText ? this.#behindText(bytes, at, end) : behindNumber(bytes, at, end);
			if (until < 0) return false;
			this.#ranges[2 * path] = at;
			this.#ranges[2 * path + 1] = until;
			at = until;
		}
		return end - at === this.#after.length && isAt(bytes, at, end, this.#after);
	}

	/** The number of a path, counted from 1, in the event that matched last; NaN where the learned event had none. */
	number(bytes: Buffer, path: number): number {
		if (!this.#holes.some((hole) => hole.path === path)) return Number.NaN;
		return Number(bytes.toString('latin1', this.#ranges[2 * path], this.#ranges[2 * path + 1]));
	}

	#behindText(bytes: Buffer, start: number, end: number): number {
		this.escaped = false;
		for (let at = start; at < end; at += 1) {
			const byte = bytes[at] as number;
			if (byte === quote) return at;
			if (byte === backslash) {
				this.escaped = true;
				at = behindEscape(bytes, at, end) - 1;
				if (at < 0) return -1;
			} else if (byte < 0x20) return -1;
		}
		return -1;
	}
}

function isAt(bytes: Buffer, at: number, end: number, part: Buffer): boolean {
	const { length } = part;
	if (at + length > end) return false;
	for (let index = 0; index < length; index += 1) if (bytes[at + index] !== part[index]) return false;
	return true;
}

/** Where the escape at `at` ends; −1: it is none. */
function behindEscape(bytes: Buffer, at: number, end: number): number {
	const kind = bytes[at + 1];
	if (kind === 0x75) {
		if (at + 6 > end) return -1;
		for (let digit = at + 2; digit < at + 6; digit += 1) if (!isHex(bytes[digit] as number)) return -1;
		return at + 6;
	}
	// " \ / b f n r t
	const known =
		kind === 0x22 || kind === 0x5c || kind === 0x2f || kind === 0x62 || kind === 0x66 || kind === 0x6e || kind === 0x72 || kind === 0x74;
	return known && at + 2 <= end ? at + 2 : -1;
}

/** Where the number at `start` ends; −1: there is none, by RFC 8259. */
function behindNumber(bytes: Buffer, start: number, end: number): number {
	let at = bytes[start] === 0x2d ? start + 1 : start;
	const whole = behindDigits(bytes, at, end);
	if (whole === at || (bytes[at] === 0x30 && whole > at + 1)) return -1;
	at = whole;
	if (bytes[at] === 0x2e) {
		const fraction = behindDigits(bytes, at + 1, end);
		if (fraction === at + 1) return -1;
		at = fraction;
	}
	if (bytes[at] === 0x65 || bytes[at] === 0x45) {
		const sign = bytes[at + 1] === 0x2b || bytes[at + 1] === 0x2d ? at + 2 : at + 1;
		const exponent = behindDigits(bytes, sign, end);
		if (exponent === sign) return -1;
		at = exponent;
	}
	return at;
}

function behindDigits(bytes: Buffer, start: number, end: number): number {
	let at = start;
	while (at < end && isDigit(bytes[at] as number)) at += 1;
	return at;
}

function isDigit(byte: number): boolean {
	return byte >= 0x30 && byte <= 0x39;
}

function isDigitOrMinus(byte: number): boolean {
	return isDigit(byte) || byte === 0x2d;
}

function isHex(byte: number): boolean {
	return isDigit(byte) || (byte >= 0x41 && byte <= 0x46) || (byte >= 0x61 && byte <= 0x66);
}
