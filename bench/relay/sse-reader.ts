/**
 * The load generator's side of one stream: undoes the chunked coding by hand and notes each token's index and delay. Kept
 * cheap, for the generator shares the machine with what it measures.
 */

/** What all streams of a run add up to. Times in µs. */
export interface Tally {
	tokens: number;
	lost: number;
	repeated: number;
	readonly delaysUs: Float64Array;
	readonly firstUs: number[];
	/** Longest silence between two reads of one stream that brought tokens. */
	readonly gapsUs: number[];
	firstAtUs: number;
	lastAtUs: number;
}

export function newTally(tokensMax: number): Tally {
	return { tokens: 0, lost: 0, repeated: 0, delaysUs: new Float64Array(tokensMax), firstUs: [], gapsUs: [], firstAtUs: 0, lastAtUs: 0 };
}

export function nowUs(): number {
	return Number(process.hrtime.bigint() / 1000n);
}

/** Reads one HTTP/1.1 chunked response from its first byte. */
export class SseReader {
	readonly #tally: Tally;
	readonly #askedAtUs: number;
	readonly #mark: string;
	readonly #indexed: boolean;
	#raw = '';
	#text = '';
	#headDone = false;
	#nextIndex = 0;
	/** Bytes of the chunk at hand that have not come yet. */
	#chunkLeft = 0;
	#lastTokenAtUs = 0;
	status = 0;
	ended = false;

	/** `textKey`: of the field that holds a token's text. Where tokens say no index, each is the next. */
	constructor(tally: Tally, askedAtUs: number, textKey: 't' | 'text' | 'content' = 't') {
		this.#tally = tally;
		this.#askedAtUs = askedAtUs;
		this.#mark = `"${textKey}":"`;
		this.#indexed = textKey === 't';
	}

	get tokens(): number {
		return this.#nextIndex;
	}

	push(bytes: string): void {
		const at = nowUs();
		this.#raw += bytes;
		if (!this.#headDone) {
			const end = this.#raw.indexOf('\r\n\r\n');
			if (end < 0) return;
			this.status = Number(this.#raw.slice(9, 12));
			this.#raw = this.#raw.slice(end + 4);
			this.#headDone = true;
		}
		this.#takeChunks();
		this.#scan(at);
	}

	/** Data counts when it is there: the line end behind a chunk may come with the next one. */
	#takeChunks(): void {
		const raw = this.#raw;
		let from = 0;
		for (;;) {
			if (this.#chunkLeft > 0) {
				const taken = Math.min(this.#chunkLeft, raw.length - from);
				this.#text += raw.slice(from, from + taken);
				this.#chunkLeft -= taken;
				from += taken;
				if (this.#chunkLeft > 0) break;
			}
			while (raw[from] === '\r' || raw[from] === '\n') from += 1;
			const line = raw.indexOf('\r\n', from);
			if (line < 0) break;
			this.#chunkLeft = Number.parseInt(raw.slice(from, line), 16);
			from = line + 2;
			if (this.#chunkLeft > 0) continue;
			this.ended = true;
			break;
		}
		this.#raw = raw.slice(from);
	}

	#scan(at: number): void {
		const end = this.#text.lastIndexOf('\n\n');
		if (end < 0) return;
		const text = this.#text;
		const mark = this.#mark;
		let position = text.indexOf(mark);
		while (position >= 0 && position < end) {
			const textAt = position + mark.length;
			const stamp = Number.parseInt(text.slice(textAt, textAt + 20), 10);
			const index = this.#indexed ? text.indexOf('"i":', position) : textAt;
			const said = this.#indexed ? Number.parseInt(text.slice(index + 4, index + 12), 10) : this.#nextIndex;
			// The end of an answer has an empty text.
			if (!Number.isNaN(stamp)) this.#token(said, stamp, at);
			position = text.indexOf(mark, index);
		}
		this.#text = text.slice(end + 2);
	}

	#token(index: number, stampUs: number, at: number): void {
		const tally = this.#tally;
		if (index < this.#nextIndex) {
			tally.repeated += 1;
			return;
		}
		tally.lost += index - this.#nextIndex;
		if (this.#nextIndex === 0) tally.firstUs.push(at - this.#askedAtUs);
		else tally.gapsUs.push(at - this.#lastTokenAtUs);
		this.#nextIndex = index + 1;
		this.#lastTokenAtUs = at;
		tally.delaysUs[tally.tokens % tally.delaysUs.length] = at - stampUs;
		tally.tokens += 1;
		if (tally.firstAtUs === 0) tally.firstAtUs = at;
		tally.lastAtUs = at;
	}
}
