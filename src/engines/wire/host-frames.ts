/**
 * Frames of `host-protocol.ts` as bytes: an outbox that packs many frames into one write, and a reader that takes them out
 * of any split of the stream. Runs in host processes, on engine threads and, per batch of tokens, on front threads. Never
 * trusts a length.
 */
import type { GenerationUsage } from '../../actors/serving/decode.ts';
import { frameBytesMax, frameHeadBytes } from './host-protocol.ts';

/** The peer does not speak the protocol: its connection must end. */
export class ProtocolError extends Error {
	override readonly name = 'ProtocolError';
}

const usageBytes = 28;
const outboxFirstBytes = 4 * 1024;

/** Frames that wait for one write. Its buffer is handed over by `take` and never touched again. */
export class FrameOutbox {
	#buffer = Buffer.allocUnsafe(outboxFirstBytes);
	#length = 0;
	#openAt = -1;

	get length(): number {
		return this.#length;
	}

	/** What was packed so far; the outbox is empty afterwards. */
	take(): Buffer {
		const packed = this.#buffer.subarray(0, this.#length);
		this.#buffer = Buffer.allocUnsafe(Math.max(outboxFirstBytes, this.#length));
		this.#length = 0;
		return packed;
	}

	/** Opens a frame; payload calls follow, then `end`. */
	begin(kind: number, stream: number): void {
		this.#reserve(frameHeadBytes);
		this.#openAt = this.#length;
		this.#buffer[this.#length + 4] = kind;
		this.#buffer.writeUInt32LE(stream, this.#length + 5);
		this.#length += frameHeadBytes;
	}

	end(): void {
		this.#buffer.writeUInt32LE(this.#length - this.#openAt - 4, this.#openAt);
		this.#openAt = -1;
	}

	u8(value: number): void {
		this.#reserve(1);
		this.#buffer[this.#length] = value;
		this.#length += 1;
	}

	u32(value: number): void {
		this.#reserve(4);
		this.#buffer.writeUInt32LE(value, this.#length);
		this.#length += 4;
	}

	bytes(bytes: Uint8Array): void {
		this.#reserve(bytes.length);
		this.#buffer.set(bytes, this.#length);
		this.#length += bytes.length;
	}

	text(text: string): void {
		this.#reserve(text.length * 3);
		this.#length += this.#buffer.write(text, this.#length, 'utf8');
	}

	json(value: unknown): void {
		this.text(JSON.stringify(value));
	}

	usage(usage: GenerationUsage): void {
		this.#reserve(usageBytes);
		const at = this.#length;
		this.#buffer.writeUInt32LE(usage.tokensIn, at);
		this.#buffer.writeUInt32LE(usage.tokensCached, at + 4);
		this.#buffer.writeUInt32LE(usage.tokensOut, at + 8);
		this.#buffer.writeDoubleLE(usage.prefillMs, at + 12);
		this.#buffer.writeDoubleLE(usage.decodeMs, at + 20);
		this.#length += usageBytes;
	}

	/** One record of a `pieces` payload, as laid out in `actors/serving/decode.ts`. Text above 65 535 bytes is a bug. */
	piece(text: string, tokens: number, tokenId: number, logprob: number): void {
		this.#reserve(12 + text.length * 3);
		const flagged = tokenId >= 0;
		const head = this.#length;
		let at = head + 4;
		this.#buffer[head + 2] = tokens;
		this.#buffer[head + 3] = flagged ? 1 : 0;
		if (flagged) {
			this.#buffer.writeUInt32LE(tokenId, at);
			this.#buffer.writeFloatLE(logprob, at + 4);
			at += 8;
		}
		const written = this.#buffer.write(text, at, 'utf8');
		this.#buffer.writeUInt16LE(written, head);
		this.#length = at + written;
	}

	/** Place of a value that is known only later (the record count of `pieces`). */
	mark(): number {
		return this.#length;
	}

	patchU32(mark: number, value: number): void {
		this.#buffer.writeUInt32LE(value, mark);
	}

	#reserve(bytes: number): void {
		const needed = this.#length + bytes;
		if (needed <= this.#buffer.length) return;
		const grown = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
		this.#buffer.copy(grown, 0, 0, this.#length);
		this.#buffer = grown;
	}
}

/** One whole frame: its payload is `bytes[start, end)`, valid during the call only unless `bytes` is kept whole. */
export type FrameVisitor = (kind: number, stream: number, bytes: Buffer, start: number, end: number) => void;

/**
 * Takes frames out of a byte stream. `bytes` given to the visitor is the chunk that was pushed, or a fresh buffer for a
 * frame that came in parts: never reused by the reader.
 */
export class FrameReader {
	readonly #visit: FrameVisitor;
	readonly #frameMax: number;
	#rest: Buffer | null = null;
	#restLength = 0;

	constructor(visit: FrameVisitor, frameMax = frameBytesMax) {
		this.#visit = visit;
		this.#frameMax = frameMax;
	}

	/** Bytes of a frame that is not whole yet. */
	get pending(): number {
		return this.#restLength;
	}

	/** Throws `ProtocolError` at a length that cannot be. */
	push(chunk: Buffer): void {
		let at = 0;
		if (this.#rest !== null) {
			at = this.#complete(chunk);
			if (this.#rest !== null) return;
		}
		while (chunk.length - at >= 4) {
			const frameLength = 4 + this.#lengthAt(chunk, at);
			if (chunk.length - at < frameLength) break;
			this.#give(chunk, at, at + frameLength);
			at += frameLength;
		}
		if (at < chunk.length) this.#keep(chunk, at);
	}

	/** Adds what the kept frame lacks; returns how much of the chunk that took. */
	#complete(chunk: Buffer): number {
		let at = 0;
		if (this.#restLength < 4) {
			at = this.#append(chunk, 0, 4 - this.#restLength);
			if (this.#restLength < 4) return at;
		}
		const rest = this.#rest as Buffer;
		const frameLength = 4 + this.#lengthAt(rest, 0);
		if (rest.length < frameLength) {
			// Grows with what really arrives, so that a lying length costs nothing.
			const grown = Buffer.allocUnsafe(Math.min(frameLength, Math.max(rest.length * 2, this.#restLength + chunk.length)));
			rest.copy(grown, 0, 0, this.#restLength);
			this.#rest = grown;
		}
		at += this.#append(chunk, at, Math.min(frameLength - this.#restLength, chunk.length - at));
		if (this.#restLength === frameLength) {
			const whole = this.#rest as Buffer;
			this.#rest = null;
			this.#restLength = 0;
			this.#give(whole, 0, frameLength);
		}
		return at;
	}

	#append(chunk: Buffer, from: number, count: number): number {
		const copied = chunk.copy(this.#rest as Buffer, this.#restLength, from, Math.min(chunk.length, from + count));
		this.#restLength += copied;
		return copied;
	}

	#keep(chunk: Buffer, from: number): void {
		this.#restLength = chunk.length - from;
		this.#rest = Buffer.allocUnsafe(Math.max(1024, this.#restLength));
		chunk.copy(this.#rest, 0, from);
	}

	#lengthAt(bytes: Buffer, at: number): number {
		const length = bytes.readUInt32LE(at);
		if (length < frameHeadBytes - 4 || length > this.#frameMax) {
			throw new ProtocolError(`frame of ${length} bytes; allowed are ${frameHeadBytes - 4} to ${this.#frameMax}`);
		}
		return length;
	}

	#give(bytes: Buffer, from: number, to: number): void {
		this.#visit(bytes[from + 4] as number, bytes.readUInt32LE(from + 5), bytes, from + frameHeadBytes, to);
	}
}

/** Payload readers. Each throws `ProtocolError` when the payload is shorter than it must be. */
export function readU32(bytes: Buffer, at: number, end: number): number {
	if (at + 4 > end) throw new ProtocolError('payload ends inside a number');
	return bytes.readUInt32LE(at);
}

export function readUsage(bytes: Buffer, at: number, end: number): GenerationUsage {
	if (at + usageBytes > end) throw new ProtocolError('payload ends inside the usage');
	return {
		tokensIn: bytes.readUInt32LE(at),
		tokensCached: bytes.readUInt32LE(at + 4),
		tokensOut: bytes.readUInt32LE(at + 8),
		prefillMs: bytes.readDoubleLE(at + 12),
		decodeMs: bytes.readDoubleLE(at + 20),
	};
}

export function readJson(bytes: Buffer, start: number, end: number): unknown {
	try {
		return JSON.parse(bytes.toString('utf8', start, end));
	} catch {
		throw new ProtocolError('payload is not JSON');
	}
}

/** Checks that `count` records fill the range exactly; returns the model tokens in them. */
export function checkPieces(bytes: Buffer, start: number, end: number, count: number): number {
	let at = start;
	let tokens = 0;
	for (let index = 0; index < count; index += 1) {
		if (at + 4 > end) throw new ProtocolError('pieces end inside a record');
		const textBytes = bytes.readUInt16LE(at);
		tokens += bytes[at + 2] as number;
		at += 4 + ((bytes[at + 3] as number) & 1 ? 8 : 0) + textBytes;
	}
	if (at !== end) throw new ProtocolError('pieces do not fill their frame');
	return tokens;
}
