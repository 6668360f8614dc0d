/**
 * The bytes of one token event, `id: [<run>.]<seq>\nevent: token\ndata: {"t":"…","i":N}\n\n`, written straight from an engine's
 * piece record (layout in `decode.ts`). Runs once per token on a front thread: no strings, closures or allocation here.
 * Text that is not whole UTF-8 breaks no frame: each malformed part becomes U+FFFD, as `TextDecoder` does it.
 *
 * What is always the same is written eight and four bytes at a time, through a `DataView`, and digits by divisions of integers
 * (`>>> 0`): byte by byte, with `Math.floor`, a frame took six times as long.
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
const head0 = tokenHead.readDoubleLE(0);
const head8 = tokenHead.readDoubleLE(8);
const head16 = tokenHead.readDoubleLE(16);
const head24 = tokenHead.readUInt16LE(24);
const idField = Buffer.from('id: ').readInt32LE();
const indexField = Buffer.from('","i":');
const index0 = indexField.readInt32LE();
const index4 = indexField.readUInt16LE(4);
const lineEnds = 0x0a0a;
/** Bytes that stand for themselves inside a JSON string. */
const plain = new Uint8Array(256).map((_, byte) => (byte >= 0x20 && byte < 0x80 && byte !== 0x22 && byte !== backslash ? 1 : 0));
const reasoningChannel = Buffer.from(',"c":"reasoning"');
const toolChannel = Buffer.from(',"c":"tool"');
const countKey = Buffer.from(',"n":');
const idKey = Buffer.from(',"id":');
const logprobKey = Buffer.from(',"logprob":');
const topsKey = Buffer.from(',"top_logprobs":[');
const nullWord = Buffer.from('null');
const brokenCharacter = Buffer.from('\u{fffd}');
const unicodeEscape = Buffer.from('u00');
const hexDigits = Buffer.from('0123456789abcdef');
/** Second byte of the two-byte escapes of the control characters; 0 = `\u00XX`. */
const shortEscapes = Buffer.alloc(0x20);
shortEscapes[0x08] = 0x62;
shortEscapes[0x09] = 0x74;
shortEscapes[0x0a] = 0x6e;
shortEscapes[0x0c] = 0x66;
shortEscapes[0x0d] = 0x72;

/** Everything of a token frame but its text: keys, run, seq, index, n, id and log-probability at their longest. */
const frameOverheadMax = 208;

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
 * Writes the frame of the record at `record` (of `bytes` bytes) and returns where it ends. `run`: 0 where it is
 * none. The caller has made room for `tokenFrameBytesMax`.
 */
export function writeTokenFrame(
	to: DataView,
	at: number,
	run: number,
	seq: number,
	index: number,
	from: Buffer,
	record: number,
	bytes: number,
): number {
	to.setInt32(at, idField, true);
	let out = writeDecimal(to, run === 0 ? at + 4 : writeRun(to, at + 4, run), seq);
	to.setFloat64(out, head0, true);
	to.setFloat64(out + 8, head8, true);
	to.setFloat64(out + 16, head16, true);
	to.setUint16(out + 24, head24, true);
	const flags = from[record + 3] as number;
	out = writeJsonText(to, out + 26, from, record + recordTextAt(from, record), record + bytes);
	to.setInt32(out, index0, true);
	to.setUint16(out + 4, index4, true);
	out = writeDecimal(to, out + 6, index);
	const tokens = from[record + 2] as number;
	if (tokens !== 1) out = writeDecimal(to, writeBytes(to, out, countKey), tokens);
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
	to.setUint8(out, 0x7d);
	to.setUint16(out + 1, lineEnds);
	return out + 3;
}

/** Decimal digits of a non-negative integer below 2³². */
export function decimalDigits(value: number): number {
	if (value < 10) return 1;
	if (value < 100) return 2;
	if (value < 1000) return 3;
	if (value < 10_000) return 4;
	let digits = 4;
	for (let rest = (value / 10_000) >>> 0; rest > 0; rest = (rest / 10) >>> 0) digits++;
	return digits;
}

function writeRun(to: DataView, at: number, run: number): number {
	const out = writeDecimal(to, at, run);
	to.setUint8(out, 0x2e);
	return out + 1;
}

function writeDecimal(to: DataView, at: number, value: number): number {
	const end = at + decimalDigits(value);
	let rest = value;
	for (let out = end - 1; out >= at; out--) {
		const above = (rest / 10) >>> 0;
		to.setUint8(out, digitZero + (rest - above * 10));
		rest = above;
	}
	return end;
}

function writeBytes(to: DataView, at: number, bytes: Buffer): number {
	const count = bytes.length;
	for (let i = 0; i < count; i++) to.setUint8(at + i, bytes[i] as number);
	return at + count;
}

/** JSON already; its length stands before it. */
function writeTops(to: DataView, at: number, from: Buffer, tops: number): number {
	const start = tops + 2;
	const out = writeBytes(to, at, topsKey);
	const behind = writeBytes(to, out, from.subarray(start, start + recordTopsBytes(from, tops)));
	to.setUint8(behind, 0x5d);
	return behind + 1;
}

/** Six decimals, trailing zeros dropped: a 32-bit float holds no more. What JSON has no number for is `null`. */
function writeLogprob(to: DataView, at: number, value: number): number {
	const size = Math.abs(value);
	if (!(size < 1e9)) return writeBytes(to, at, nullWord);
	const millionths = Math.round(size * 1e6);
	let out = at;
	if (value < 0 && millionths !== 0) to.setUint8(out++, 0x2d);
	const whole = Math.floor(millionths / 1e6);
	out = writeDecimal(to, out, whole);
	let rest = millionths - whole * 1e6;
	if (rest === 0) return out;
	to.setUint8(out++, 0x2e);
	for (let unit = 100_000; rest > 0; unit /= 10) {
		const digit = Math.floor(rest / unit);
		to.setUint8(out++, digitZero + digit);
		rest -= digit * unit;
	}
	return out;
}

/** The UTF-8 text in `[start, end)` as the inside of a JSON string. */
function writeJsonText(to: DataView, at: number, from: Buffer, start: number, end: number): number {
	let out = at;
	let i = start;
	while (i < end) {
		const byte = from[i] as number;
		if (plain[byte] === 1) {
			to.setUint8(out++, byte);
			i++;
		} else if (byte < 0x80) {
			out = writeEscape(to, out, byte);
			i++;
		} else {
			const width = characterBytes(from, i, end);
			if (width > 0) {
				for (let k = 0; k < width; k++) to.setUint8(out++, from[i + k] as number);
				i += width;
			} else {
				out = writeBytes(to, out, brokenCharacter);
				i -= width;
			}
		}
	}
	return out;
}

/** Of a quote, a backslash or a control character. */
function writeEscape(to: DataView, at: number, byte: number): number {
	to.setUint8(at, backslash);
	const short = byte >= 0x20 ? byte : (shortEscapes[byte] as number);
	if (short !== 0) {
		to.setUint8(at + 1, short);
		return at + 2;
	}
	const out = writeBytes(to, at + 1, unicodeEscape);
	to.setUint8(out, hexDigits[byte >> 4] as number);
	to.setUint8(out + 1, hexDigits[byte & 15] as number);
	return out + 2;
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
