/**
 * The bytes of one token event, `id: <seq>\nevent: token\ndata: {"t":"…","i":N}\n\n`, written straight from an engine's
 * piece record (layout in `decode.ts`). Runs once per token on a front thread: no strings, closures or allocation here.
 * Text that is not whole UTF-8 breaks no frame: each malformed part becomes U+FFFD, as `TextDecoder` does it.
 */
import {
	noTokenId,
	pieceHasLogprob,
	pieceHasTops,
	pieceIsReasoning,
	pieceIsToolCall,
	recordHeadBytes,
	recordHeadLogprobBytes,
	recordTextAt,
	recordTopsBytes,
} from './decode.ts';

const digitZero = 0x30;
const backslash = 0x5c;
const tokenHead = Buffer.from('\nevent: token\ndata: {"t":"');
const reasoningChannel = Buffer.from(',"c":"reasoning"');
const toolChannel = Buffer.from(',"c":"tool"');
const idKey = Buffer.from(',"id":');
const logprobKey = Buffer.from(',"logprob":');
const topsKey = Buffer.from(',"top_logprobs":[');
const nullWord = Buffer.from('null');
const hexDigits = Buffer.from('0123456789abcdef');
/** Second byte of the two-byte escapes of the control characters; 0 = `\u00XX`. */
const shortEscapes = Buffer.alloc(0x20);
shortEscapes[0x08] = 0x62;
shortEscapes[0x09] = 0x74;
shortEscapes[0x0a] = 0x6e;
shortEscapes[0x0c] = 0x66;
shortEscapes[0x0d] = 0x72;

/** Everything of a token frame but its text: keys, seq, index, n, id and log-probability at their longest. */
const frameOverheadMax = 192;

/** No frame of a piece with `textBytes` bytes is longer: a control character takes six bytes escaped. */
export function tokenFrameBytesMax(textBytes: number): number {
	return frameOverheadMax + 6 * textBytes;
}

/** Bytes of the record at `at`, or 0 when it does not lie wholly before `end`, or has neither a token nor a text. */
export function recordBytes(from: Buffer, at: number, end: number): number {
	if (at + recordHeadBytes > end) return 0;
	const textBytes = (from[at] as number) | ((from[at + 1] as number) << 8);
	const bytes = recordTextAt(from, at) + textBytes;
	return at + bytes > end || (from[at + 2] === 0 && textBytes === 0) ? 0 : bytes;
}

/**
 * Writes the frame of the record at `record` (of `bytes` bytes) and returns where it ends. The caller has made room for
 * `tokenFrameBytesMax`.
 */
export function writeTokenFrame(to: Buffer, at: number, seq: number, index: number, from: Buffer, record: number, bytes: number): number {
	to[at] = 0x69; // id:
	to[at + 1] = 0x64;
	to[at + 2] = 0x3a;
	to[at + 3] = 0x20;
	let out = writeDecimal(to, at + 4, seq);
	out = writeBytes(to, out, tokenHead);
	const flags = from[record + 3] as number;
	out = writeJsonText(to, out, from, record + recordTextAt(from, record), record + bytes);
	to[out] = 0x22; // ","i":
	to[out + 1] = 0x2c;
	to[out + 2] = 0x22;
	to[out + 3] = 0x69;
	to[out + 4] = 0x22;
	to[out + 5] = 0x3a;
	out = writeDecimal(to, out + 6, index);
	const tokens = from[record + 2] as number;
	if (tokens !== 1) {
		to[out] = 0x2c; // ,"n":
		to[out + 1] = 0x22;
		to[out + 2] = 0x6e;
		to[out + 3] = 0x22;
		to[out + 4] = 0x3a;
		out = writeDecimal(to, out + 5, tokens);
	}
	if (flags !== 0) {
		if ((flags & pieceIsReasoning) !== 0) out = writeBytes(to, out, reasoningChannel);
		else if ((flags & pieceIsToolCall) !== 0) out = writeBytes(to, out, toolChannel);
		if ((flags & pieceHasLogprob) !== 0) {
			const id = from.readUInt32LE(record + 4);
			if (id !== noTokenId) out = writeDecimal(to, writeBytes(to, out, idKey), id);
			out = writeLogprob(to, writeBytes(to, out, logprobKey), from.readFloatLE(record + 8));
			if ((flags & pieceHasTops) !== 0) out = writeTops(to, out, from, record + recordHeadLogprobBytes);
		}
	}
	to[out] = 0x7d;
	to[out + 1] = 0x0a;
	to[out + 2] = 0x0a;
	return out + 3;
}

/** Decimal digits of a non-negative integer. */
export function decimalDigits(value: number): number {
	let digits = 1;
	for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits++;
	return digits;
}

function writeDecimal(to: Buffer, at: number, value: number): number {
	const end = at + decimalDigits(value);
	let rest = value;
	for (let out = end - 1; out >= at; out--) {
		const above = Math.floor(rest / 10);
		to[out] = digitZero + (rest - above * 10);
		rest = above;
	}
	return end;
}

function writeBytes(to: Buffer, at: number, bytes: Buffer): number {
	const count = bytes.length;
	for (let i = 0; i < count; i++) to[at + i] = bytes[i] as number;
	return at + count;
}

/** JSON already; its length stands before it. */
function writeTops(to: Buffer, at: number, from: Buffer, tops: number): number {
	const start = tops + 2;
	const out = writeBytes(to, at, topsKey);
	const behind = out + from.copy(to, out, start, start + recordTopsBytes(from, tops));
	to[behind] = 0x5d;
	return behind + 1;
}

/** Six decimals, trailing zeros dropped: a 32-bit float holds no more. What JSON has no number for is `null`. */
function writeLogprob(to: Buffer, at: number, value: number): number {
	const size = Math.abs(value);
	if (!(size < 1e9)) return writeBytes(to, at, nullWord);
	const millionths = Math.round(size * 1e6);
	let out = at;
	if (value < 0 && millionths !== 0) to[out++] = 0x2d;
	const whole = Math.floor(millionths / 1e6);
	out = writeDecimal(to, out, whole);
	let rest = millionths - whole * 1e6;
	if (rest === 0) return out;
	to[out++] = 0x2e;
	for (let unit = 100_000; rest > 0; unit /= 10) {
		const digit = Math.floor(rest / unit);
		to[out++] = digitZero + digit;
		rest -= digit * unit;
	}
	return out;
}

/** The UTF-8 text in `[start, end)` as the inside of a JSON string. */
function writeJsonText(to: Buffer, at: number, from: Buffer, start: number, end: number): number {
	let out = at;
	let i = start;
	while (i < end) {
		const byte = from[i] as number;
		if (byte < 0x80) {
			i++;
			if (byte >= 0x20) {
				if (byte === 0x22 || byte === backslash) to[out++] = backslash;
				to[out++] = byte;
			} else {
				out = writeControl(to, out, byte);
			}
			continue;
		}
		const width = characterBytes(from, i, end);
		if (width > 0) {
			for (let k = 0; k < width; k++) to[out++] = from[i + k] as number;
			i += width;
		} else {
			to[out] = 0xef;
			to[out + 1] = 0xbf;
			to[out + 2] = 0xbd;
			out += 3;
			i -= width;
		}
	}
	return out;
}

function writeControl(to: Buffer, at: number, byte: number): number {
	const short = shortEscapes[byte] as number;
	to[at] = backslash;
	if (short !== 0) {
		to[at + 1] = short;
		return at + 2;
	}
	to[at + 1] = 0x75;
	to[at + 2] = digitZero;
	to[at + 3] = digitZero;
	to[at + 4] = hexDigits[byte >> 4] as number;
	to[at + 5] = hexDigits[byte & 15] as number;
	return at + 6;
}

/** Width of the multi-byte character at `at`; negative: the bytes of the longest malformed part (Unicode 3.9, table 3-7). */
function characterBytes(from: Buffer, at: number, end: number): number {
	const lead = from[at] as number;
	if (lead < 0xc2 || lead > 0xf4) return -1;
	const width = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
	// Only the second byte has bounds of its own: no overlong forms, no surrogates, nothing above U+10FFFF.
	let low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
	let high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
	for (let k = 1; k < width; k++) {
		if (at + k >= end) return -k;
		const next = from[at + k] as number;
		if (next < low || next > high) return -k;
		low = 0x80;
		high = 0xbf;
	}
	return width;
}
