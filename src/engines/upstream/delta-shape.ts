/**
 * The shapes of one engine's token events: everything but a text, a few numbers and what nobody reads is the same from one to the
 * next. Learned from events that were parsed; an event that has one, with its field names and line ends, is found by its bytes,
 * without a look for line ends and without a parse. One that has none is parsed, and learned from in its turn. Of an engine, not of
 * a stream: what all streams compare with stays in the processor's caches. Once per token on a front thread: no strings, no allocation.
 *
 * An event that matches is what `JSON.parse` would have made of it, with the learned values in place of all that no hole names:
 * literal parts are compared whole, a text ends at its first quote that nothing escapes, and has no control characters; numbers
 * have the grammar of RFC 8259.
 */
import { type JsonPath, rangesOf } from './json-ranges.ts';

const quote = 0x22;
const backslash = 0x5c;
const lf = 0x0a;
const wordBytes = 8;
/** Streams differ in what was asked for; ends and beginnings are not learned from. */
const formsMax = 4;

/**
 * Bytes that are the same in each event, compared eight at a time: as doubles, which are equal when their bits are, but for zeros of
 * either sign, and no JSON has eight zero bytes. Bits that are no number equal nothing: an event with them is parsed.
 */
interface Literal {
	readonly bytes: Buffer;
	/** Of `bytes` from its start on. The last one ends where `bytes` ends, over the one before if need be. */
	readonly words: Float64Array;
}

interface Hole {
	/** Index among the paths. */
	readonly path: number;
	readonly isText: boolean;
	/** What stands before it, from the hole before on; with the opening quote of a text. */
	readonly before: Literal;
}

interface Form {
	readonly holes: readonly Hole[];
	readonly after: Literal;
}

const nothing = Buffer.alloc(0);
/** Bytes of a text that neither end it nor begin an escape nor break it. */
const inText = new Uint8Array(256).map((_, byte) => (byte < 0x20 || byte === quote || byte === backslash ? 0 : 1));
/** The bytes that were matched last on this thread, a connection's buffer as a rule, and the view through which they are. */
let viewed: Buffer = nothing;
let view = new DataView(viewed.buffer, viewed.byteOffset, viewed.length);

export class DeltaShape {
	readonly #paths: readonly JsonPath[];
	/** That which matched last comes first. */
	readonly #forms: Form[] = [];
	/** Of the event that matched last: where the value of each path lies, by twos. Texts without their quotes. */
	readonly #ranges: Int32Array;
	/** Whether the text of the first path has an escape. */
	escaped = false;

	/**
	 * The first path names the text, `numbers` numbers that change from event to event; `passed` texts and numbers that change and that
	 * nobody reads, such as the id of an answer.
	 */
	constructor(text: JsonPath, numbers: readonly JsonPath[] = [], passed: readonly JsonPath[] = []) {
		this.#paths = [text, ...numbers, ...passed];
		this.#ranges = new Int32Array(2 * this.#paths.length);
	}

	get textStart(): number {
		return this.#ranges[0] as number;
	}

	get textEnd(): number {
		return this.#ranges[1] as number;
	}

	/**
	 * From an event that is known to be JSON and to say nothing but `text`, in `[start, end)`; with its line ends it lies in
	 * `[frameStart, frameEnd)`. Where another text is in its place nothing is learned, nor from one that may not be over: behind a
	 * carriage return a line feed may come.
	 */
	learn(text: string, bytes: Buffer, start: number, end: number, frameStart: number, frameEnd: number): void {
		if (bytes[frameEnd - 1] !== lf) return;
		const holes: { path: number; start: number; end: number; isText: boolean }[] = [];
		const ranges = rangesOf(bytes, start, end, this.#paths);
		const said = ranges[0] ?? null;
		if (said === null || JSON.parse(bytes.toString('utf8', said.start, said.end)) !== text) return;
		for (const [path, range] of ranges.entries()) {
			if (range === null) continue;
			const isText = bytes[range.start] === quote;
			if (!isText && !isDigitOrMinus(bytes[range.start] as number)) continue;
			holes.push({ path, isText, start: isText ? range.start + 1 : range.start, end: isText ? range.end - 1 : range.end });
		}
		holes.sort((a, b) => a.start - b.start);
		let from = frameStart;
		const placed = holes.map(({ path, isText, ...hole }) => {
			const before = literalOf(bytes.subarray(from, hole.start));
			from = hole.end;
			return { path, isText, before };
		});
		if (this.#forms.length === formsMax) this.#forms.pop();
		this.#forms.unshift({ holes: placed, after: literalOf(bytes.subarray(from, frameEnd)) });
	}

	/** Where the event at `start` ends, if it has a known shape and is whole before `end`: its values then lie where the ranges say. Else −1. */
	frameEnd(bytes: Buffer, start: number, end: number): number {
		if (bytes !== viewed) look(bytes);
		const forms = this.#forms;
		for (let index = 0; index < forms.length; index += 1) {
			const form = forms[index] as Form;
			const behind = this.#match(form, bytes, start, end);
			if (behind < 0) continue;
			if (index > 0) {
				forms.splice(index, 1);
				forms.unshift(form);
			}
			return behind;
		}
		return -1;
	}

	/** The number of a path, counted from 1, in the event that matched last; NaN where it has none. */
	number(bytes: Buffer, path: number): number {
		if (this.#forms[0]?.holes.some((hole) => hole.path === path && !hole.isText) !== true) return Number.NaN;
		return Number(bytes.toString('latin1', this.#ranges[2 * path], this.#ranges[2 * path + 1]));
	}

	#match({ holes, after }: Form, bytes: Buffer, start: number, end: number): number {
		let at = start;
		for (let index = 0; index < holes.length; index += 1) {
			const { before, isText, path } = holes[index] as Hole;
			if (!isAt(bytes, at, end, before)) return -1;
			at += before.bytes.length;
			const until = isText ? behindText(bytes, at, end) : behindNumber(bytes, at, end);
			if (until < 0) return -1;
			if (path === 0) this.escaped = hadEscape;
			this.#ranges[2 * path] = at;
			this.#ranges[2 * path + 1] = until;
			at = until;
		}
		return isAt(bytes, at, end, after) ? at + after.bytes.length : -1;
	}
}

/** Whether the text that `behindText` looked at last has an escape. */
let hadEscape = false;

/** Where the text whose inside begins at `start` has its quote; −1: it has none, or is no text of JSON. */
function behindText(bytes: Buffer, start: number, end: number): number {
	hadEscape = false;
	for (let at = start; at < end; at += 1) {
		const byte = bytes[at] as number;
		if (inText[byte] === 1) continue;
		if (byte === quote) return at;
		if (byte !== backslash) return -1;
		hadEscape = true;
		at = behindEscape(bytes, at, end) - 1;
		if (at < 0) return -1;
	}
	return -1;
}

function look(bytes: Buffer): void {
	viewed = bytes;
	view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function literalOf(part: Buffer): Literal {
	const bytes = Buffer.from(part);
	if (bytes.length < wordBytes) return { bytes, words: new Float64Array(0) };
	const last = bytes.length - wordBytes;
	const words = Float64Array.from({ length: Math.ceil(bytes.length / wordBytes) }, (_, word) =>
		bytes.readDoubleLE(Math.min(word * wordBytes, last)),
	);
	return { bytes, words };
}

/** Of the bytes that are viewed. */
function isAt(bytes: Buffer, at: number, end: number, { bytes: part, words }: Literal): boolean {
	const { length } = part;
	if (at + length > end) return false;
	const last = words.length - 1;
	if (last < 0) {
		for (let offset = 0; offset < length; offset += 1) if (bytes[at + offset] !== part[offset]) return false;
		return true;
	}
	const seen = view;
	for (let word = 0; word < last; word += 1) if (seen.getFloat64(at + word * wordBytes, true) !== words[word]) return false;
	return seen.getFloat64(at + length - wordBytes, true) === words[last];
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
