/**
 * Frames of `host-protocol.ts` as bytes: an outbox that packs many frames into one write, and a reader that takes them out
 * of any split of the stream. Runs in host processes, on engine threads and, per batch of tokens, on front threads. Never
 * trusts a length.
 */
import { type GenerationUsage, type PieceChannel, pieceHasIds, pieceHasLogprob, pieceHasTops } from '../../actors/serving/decode.ts';
import { frameBytesMax, frameHeadBytes } from './host-protocol.ts';

/** The peer does not speak the protocol: its connection must end. */
export class ProtocolError extends Error {
	override readonly name = 'ProtocolError';
}

export const usageBytes = 28;
/** A record counts its tokens in one byte and its text in two. */
const pieceTokensMax = 255;
const outboxFirstBytes = 4 * 1024;
const outboxKeptBytes = 256 * 1024;
/** Enough for the frames that are cut most: short ones. */
const firstKeptBytes = 1024;
/** Shorter text is not measured before it is written. */
const shortText = 1024;

/** Frames that wait for one write. */
export class FrameOutbox {
	#buffer = Buffer.allocUnsafeSlow(outboxFirstBytes);
	#length = 0;
	#openAt = -1;

	/** Bytes packed so far, an open frame included. */
	get length(): number {
		return this.#length;
	}

	/**
	 * Hands what was packed to `write`, which answers whether it still needs the bytes afterwards. No frame may be open. The
	 * outbox is empty then; its buffer is used again only when nobody else needs it.
	 */
	drain(write: (packed: Buffer) => boolean): void {
		const packed = this.#buffer.subarray(0, this.#length);
		const length = this.#length;
		this.#length = 0;
		if (write(packed) || this.#buffer.length > outboxKeptBytes) {
			this.#buffer = Buffer.allocUnsafeSlow(Math.min(outboxKeptBytes, Math.max(outboxFirstBytes, length)));
		}
	}

	/** Opens a frame; payload calls follow, then `end`. */
	begin(kind: number, stream: number): void {
		this.#reserve(frameHeadBytes);
		this.#openAt = this.#length;
		this.#buffer[this.#length + 4] = kind;
		this.#buffer.writeUInt32LE(stream, this.#length + 5);
		this.#length += frameHeadBytes;
	}

	/** False: the frame would be longer than any reader takes, and was dropped. */
	end(): boolean {
		const length = this.#length - this.#openAt - 4;
		if (length > frameBytesMax) {
			this.drop();
			return false;
		}
		this.#buffer.writeUInt32LE(length, this.#openAt);
		this.#openAt = -1;
		return true;
	}

	/** The open frame was never begun. */
	drop(): void {
		this.#length = this.#openAt;
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
		this.#reserve(text.length <= shortText ? text.length * 3 : Buffer.byteLength(text));
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

	/** One record of a `pieces` payload, as laid out in `actors/serving/decode.ts`. More text or tokens than fit is a bug. */
	piece(
		text: string,
		tokens: number,
		tokenId: number,
		logprob: number,
		ids: readonly number[] | null = null,
		tops: string | null = null,
		channel: PieceChannel = 0,
	): void {
		if (tokens < 1 || tokens > pieceTokensMax) throw new RangeError(`a piece of ${tokens} tokens; allowed are 1 to ${pieceTokensMax}`);
		if (ids !== null && ids.length !== tokens) throw new RangeError(`a piece of ${tokens} tokens with ${ids.length} ids`);
		this.#reserve(14 + 4 * tokens + (text.length + (tops === null ? 0 : tops.length)) * 3);
		const flagged = tokenId >= 0;
		const head = this.#length;
		let at = head + 4;
		this.#buffer[head + 2] = tokens;
		this.#buffer[head + 3] = flagged ? channel | pieceHasLogprob : channel;
		if (flagged) {
			this.#buffer.writeUInt32LE(tokenId, at);
			this.#buffer.writeFloatLE(logprob, at + 4);
			at += 8;
			if (tops !== null) at = this.#tops(tops, head, at);
		}
		if (ids !== null) {
			this.#buffer[head + 3] = (this.#buffer[head + 3] as number) | pieceHasIds;
			for (let index = 0; index < ids.length; index += 1, at += 4) this.#buffer.writeUInt32LE(ids[index] as number, at);
		}
		const written = this.#buffer.write(text, at, 'utf8');
		this.#buffer.writeUInt16LE(written, head);
		this.#length = at + written;
	}

	/** Between the head of the record at `head` and what follows; more than a record holds is a bug. */
	#tops(tops: string, head: number, at: number): number {
		const written = this.#buffer.write(tops, at + 2, 'utf8');
		this.#buffer.writeUInt16LE(written, at);
		this.#buffer[head + 3] = (this.#buffer[head + 3] as number) | pieceHasTops;
		return at + 2 + written;
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
		const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2));
		this.#buffer.copy(grown, 0, 0, this.#length);
		this.#buffer = grown;
	}
}

/** One whole frame: its payload is `bytes[start, end)`, which the reader never writes to again. */
export type FrameVisitor = (kind: number, stream: number, bytes: Buffer, start: number, end: number) => void;

/**
 * Takes frames out of a byte stream. `bytes` given to the visitor is the chunk that was pushed, or a fresh buffer for a
 * frame that came in parts.
 */
export class FrameReader {
	/** The longest frame taken, counted as its length field counts. */
	frameMax: number;
	readonly #visit: FrameVisitor;
	#rest: Buffer | null = null;
	#restLength = 0;

	constructor(visit: FrameVisitor, frameMax = frameBytesMax) {
		this.#visit = visit;
		this.frameMax = frameMax;
	}

	/** Bytes kept of a frame that is not whole yet, at the size of their buffer: never much more than has arrived. */
	get keptBytes(): number {
		return this.#rest?.length ?? 0;
	}

	/** Throws `ProtocolError` at a length that cannot be; the reader is of no use afterwards. */
	push(chunk: Buffer): void {
		let at = this.#rest === null ? 0 : this.#complete(chunk);
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
		if (this.#restLength < 4) at = this.#append(chunk, 0, 4 - this.#restLength);
		if (this.#restLength < 4) return at;
		const frameLength = 4 + this.#lengthAt(this.#rest as Buffer, 0);
		at += this.#append(chunk, at, frameLength - this.#restLength);
		if (this.#restLength === frameLength) {
			const whole = this.#rest as Buffer;
			this.#rest = null;
			this.#restLength = 0;
			this.#give(whole, 0, frameLength);
		}
		return at;
	}

	/** At most `lacking` bytes of the chunk. The buffer grows with what really arrives: a lying length costs nothing. */
	#append(chunk: Buffer, from: number, lacking: number): number {
		const count = Math.min(lacking, chunk.length - from);
		const rest = this.#rest as Buffer;
		const needed = this.#restLength + count;
		if (needed > rest.length) {
			const grown = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(rest.length * 2, this.#restLength + lacking)));
			rest.copy(grown, 0, 0, this.#restLength);
			this.#rest = grown;
		}
		chunk.copy(this.#rest as Buffer, this.#restLength, from, from + count);
		this.#restLength = needed;
		return count;
	}

	#keep(chunk: Buffer, from: number): void {
		this.#restLength = chunk.length - from;
		this.#rest = Buffer.allocUnsafeSlow(Math.max(firstKeptBytes, this.#restLength));
		chunk.copy(this.#rest, 0, from);
	}

	#lengthAt(bytes: Buffer, at: number): number {
		const length = bytes.readUInt32LE(at);
		if (length < frameHeadBytes - 4 || length > this.frameMax) {
			throw new ProtocolError(`frame of ${length} bytes; allowed are ${frameHeadBytes - 4} to ${this.frameMax}`);
		}
		return length;
	}

	#give(bytes: Buffer, from: number, to: number): void {
		this.#visit(bytes[from + 4] as number, bytes.readUInt32LE(from + 5), bytes, from + frameHeadBytes, to);
	}
}
