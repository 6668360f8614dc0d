/**
 * From the text of deltas, as it stands in their JSON, to the piece records of `decode.ts`. One per generation; the blocks that
 * it writes to are shared by all of a front thread. Runs once per token: no strings.
 */
import {
	type PieceChannel,
	pieceHasIds,
	pieceHasLogprob,
	pieceHasTops,
	recordHeadBytes,
	recordHeadLogprobBytes,
} from '../../actors/serving/decode.ts';

const blockBytes = 256 * 1024;
/** Of a record's text: its length is a u16. */
const textBytesMax = 0xffff;
const tokensMax = 255;
/** So many bytes are copied sooner than the call of a copy is made. */
const byHandMax = 64;
const backslash = 0x5c;
const nothing = Buffer.alloc(0);

/** Where records lie until their messages are handled; a block is freed when nothing refers to it any more. */
export class RecordBlocks {
	block = Buffer.allocUnsafeSlow(blockBytes);
	used = 0;

	/** Room for so many bytes, at `used`. */
	reserve(bytes: number): void {
		if (this.used + bytes <= this.block.length) return;
		this.block = Buffer.allocUnsafeSlow(Math.max(blockBytes, bytes));
		this.used = 0;
	}
}

/** A run of records, told on. */
export type OnRecords = (bytes: Buffer, start: number, end: number, count: number) => void;

export class RecordWriter {
	readonly #blocks: RecordBlocks;
	readonly #tell: OnRecords;
	/** The run under way: in its block, from its start to its end. */
	#block: Buffer = nothing;
	#start = 0;
	#end = 0;
	#count = 0;
	/** The first half of a surrogate pair, whose other half is in the next delta; 0: none. */
	#highHalf = 0;
	/** Tokens without text, and of records that were given out. */
	#carried = 0;
	/** Of the tokens that the next record counts, where they are to be told; else empty. */
	#ids: number[] = [];
	/** The likeliest tokens beside that of the next record, where they were asked for. */
	#tops: Buffer | null = null;
	/** There are ids or likeliest tokens for the next record. */
	#hasMore = false;
	tokens = 0;

	constructor(blocks: RecordBlocks, tell: OnRecords) {
		this.#blocks = blocks;
		this.#tell = tell;
	}

	/** The id of a token that the next `add` counts, for whoever goes on behind it. */
	willTell(id: number): void {
		this.#ids.push(id);
		this.#hasMore = true;
	}

	/** The likeliest tokens beside that of the next `add` that has an id, as `topsJson` writes them. */
	willShow(tops: string): void {
		this.#tops = Buffer.from(tops);
		this.#hasMore = true;
	}

	/**
	 * Text that stands in `from[start, end)` as the inside of a JSON string. `id` below 0: nobody asked for it. Tokens without text
	 * count with the next that has some.
	 */
	add(
		from: Buffer,
		start: number,
		end: number,
		escaped: boolean,
		tokens: number,
		id: number,
		logprob: number,
		channel: PieceChannel = 0,
	): void {
		this.#carried += tokens;
		if (start === end) return;
		const blocks = this.#blocks;
		// An escape is never shorter than what it says; a broken half of a pair takes three bytes instead.
		const moreBytes = this.#hasMore ? this.#moreBytes(id) : 0;
		const mostBytes = recordHeadLogprobBytes + moreBytes + (end - start) + 6;
		const headBytes = (id < 0 ? recordHeadBytes : recordHeadLogprobBytes) + moreBytes;
		if (end - start > textBytesMax - 6) return this.#addLong(from, start, end, escaped, id, logprob, channel);
		this.#makeRoom(mostBytes);
		const { block, used } = blocks;
		const textAt = used + headBytes;
		let out = textAt;
		if (!escaped && this.#highHalf === 0) {
			if (end - start > byHandMax) from.copy(block, out, start, end);
			else for (let offset = 0; offset < end - start; offset += 1) block[out + offset] = from[start + offset] as number;
			out += end - start;
		} else out = this.#unescape(from, start, end, block, out);
		// The first half of a pair, and nothing else.
		if (out === textAt) return;
		// None of them is left for a further part of a text, or a second text of one delta.
		const counted = Math.min(tokensMax, this.#carried);
		this.#carried -= counted;
		this.tokens += counted;
		const textBytes = out - textAt;
		block[used] = textBytes & 0xff;
		block[used + 1] = textBytes >> 8;
		block[used + 2] = counted;
		block[used + 3] = id < 0 ? channel : channel | pieceHasLogprob;
		if (id >= 0) {
			block.writeUInt32LE(id, used + 4);
			block.writeFloatLE(logprob, used + 8);
		}
		if (moreBytes > 0) this.#writeMore(block, used, textAt - moreBytes, counted);
		this.#wrote(out);
	}

	/** Tokens so far, with those that wait for a text. */
	get counted(): number {
		return this.tokens + this.#carried;
	}

	/** Records that are not told yet. */
	get count(): number {
		return this.#count;
	}

	/** Tells what was written since; before the message that follows it. */
	flush(): void {
		const count = this.#count;
		if (count === 0) return;
		this.#count = 0;
		this.#tell(this.#block, this.#start, this.#end, count);
	}

	/** Nothing more comes: half a character becomes the sign for a broken one, and tokens without text are told. */
	finish(): void {
		if (this.#highHalf !== 0) {
			this.#highHalf = 0;
			this.add(broken, 0, broken.length, false, 0, -1, Number.NaN);
		}
		while (this.#carried > 0) this.#addEmpty();
		this.flush();
	}

	/** Another generation may have written behind our last record, or the block may be full: a run ends there. */
	#makeRoom(bytes: number): void {
		const blocks = this.#blocks;
		blocks.reserve(bytes);
		if (this.#count > 0 && (this.#block !== blocks.block || this.#end !== blocks.used)) this.flush();
		if (this.#count > 0) return;
		this.#block = blocks.block;
		this.#start = blocks.used;
	}

	/** A record ends there. */
	#wrote(end: number): void {
		this.#blocks.used = end;
		this.#end = end;
		this.#count += 1;
	}

	/** Tokens that never got a text. */
	#addEmpty(): void {
		const idBytes = this.#idBytes();
		this.#makeRoom(recordHeadBytes + idBytes);
		const { block, used } = this.#blocks;
		const counted = Math.min(tokensMax, this.#carried);
		this.#carried -= counted;
		this.tokens += counted;
		block.writeUInt16LE(0, used);
		block[used + 2] = counted;
		block[used + 3] = 0;
		if (idBytes > 0) this.#writeIds(block, used, used + recordHeadBytes, counted);
		this.#wrote(used + recordHeadBytes + idBytes);
	}

	/** Of the ids of the next record. Unless each of its tokens has one, it tells none. */
	#idBytes(): number {
		if (this.#ids.length !== this.#carried) this.#ids = [];
		return this.#ids.length === 0 ? 0 : 4 * Math.min(tokensMax, this.#carried);
	}

	/** Bytes of the next record between its head and its text. */
	#moreBytes(id: number): number {
		if (id < 0) this.#tops = null;
		const bytes = this.#idBytes() + (this.#tops === null ? 0 : 2 + this.#tops.length);
		this.#hasMore = bytes > 0;
		return bytes;
	}

	#writeMore(block: Buffer, record: number, at: number, count: number): void {
		let ids = at;
		const tops = this.#tops;
		if (tops !== null) {
			block[record + 3] = (block[record + 3] as number) | pieceHasTops;
			block.writeUInt16LE(tops.length, at);
			ids += 2 + tops.copy(block, at + 2);
			this.#tops = null;
		}
		if (this.#ids.length > 0) this.#writeIds(block, record, ids, count);
		this.#hasMore = this.#ids.length > 0;
	}

	#writeIds(block: Buffer, record: number, at: number, count: number): void {
		block[record + 3] = (block[record + 3] as number) | pieceHasIds;
		for (let index = 0; index < count; index += 1) block.writeUInt32LE(this.#ids[index] as number, at + 4 * index);
		this.#ids = this.#ids.length === count ? [] : this.#ids.slice(count);
	}

	#addLong(from: Buffer, start: number, end: number, escaped: boolean, id: number, logprob: number, channel: PieceChannel): void {
		const text = escaped ? Buffer.from(JSON.parse(`"${from.toString('utf8', start, end)}"`) as string) : from.subarray(start, end);
		for (let at = 0; at < text.length; ) {
			let until = Math.min(text.length, at + textBytesMax - 8);
			while (until < text.length && until > at && ((text[until] as number) & 0xc0) === 0x80) until -= 1;
			this.add(text, at, until, false, 0, at === 0 ? id : -1, logprob, channel);
			at = until;
		}
	}

	/** The JSON has been checked: every escape is one. */
	#unescape(from: Buffer, start: number, end: number, to: Buffer, at: number): number {
		let out = at;
		let cursor = start;
		while (cursor < end) {
			const byte = from[cursor] as number;
			if (byte !== backslash) {
				out = this.#breakHalf(to, out);
				to[out] = byte;
				out += 1;
				cursor += 1;
				continue;
			}
			const kind = from[cursor + 1] as number;
			if (kind !== 0x75) {
				out = this.#breakHalf(to, out);
				to[out] = shortEscapes[kind] as number;
				out += 1;
				cursor += 2;
				continue;
			}
			const unit = hexAt(from, cursor + 2);
			cursor += 6;
			if (unit >= 0xd800 && unit < 0xdc00) {
				out = this.#breakHalf(to, out);
				this.#highHalf = unit;
			} else if (unit >= 0xdc00 && unit < 0xe000) {
				const high = this.#highHalf;
				this.#highHalf = 0;
				out = writeUtf8(to, out, high === 0 ? 0xfffd : 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00));
			} else out = writeUtf8(to, this.#breakHalf(to, out), unit);
		}
		return out;
	}

	#breakHalf(to: Buffer, out: number): number {
		if (this.#highHalf === 0) return out;
		this.#highHalf = 0;
		return writeUtf8(to, out, 0xfffd);
	}
}

const broken = Buffer.from('\u{fffd}');
const shortEscapes = Buffer.alloc(0x80);
for (const [name, byte] of Object.entries({ '"': 0x22, '\\': 0x5c, '/': 0x2f, b: 8, f: 12, n: 10, r: 13, t: 9 }))
	shortEscapes[name.charCodeAt(0)] = byte;

function hexAt(from: Buffer, at: number): number {
	let value = 0;
	for (let digit = at; digit < at + 4; digit += 1) {
		const byte = from[digit] as number;
		value = value * 16 + (byte <= 0x39 ? byte - 0x30 : (byte | 0x20) - 0x57);
	}
	return value;
}

function writeUtf8(to: Buffer, at: number, code: number): number {
	if (code < 0x80) {
		to[at] = code;
		return at + 1;
	}
	if (code < 0x800) {
		to[at] = 0xc0 | (code >> 6);
		to[at + 1] = 0x80 | (code & 63);
		return at + 2;
	}
	if (code < 0x10000) {
		to[at] = 0xe0 | (code >> 12);
		to[at + 1] = 0x80 | ((code >> 6) & 63);
		to[at + 2] = 0x80 | (code & 63);
		return at + 3;
	}
	to[at] = 0xf0 | (code >> 18);
	to[at + 1] = 0x80 | ((code >> 12) & 63);
	to[at + 2] = 0x80 | ((code >> 6) & 63);
	to[at + 3] = 0x80 | (code & 63);
	return at + 4;
}
