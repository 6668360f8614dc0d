/**
 * The way from a watcher to its reader: a response whose socket takes only so much until the reader reads, and may be gone at
 * any moment with what was under way; and the reader, which takes the stream apart again. Stands where a server library does.
 */
import type { ResponseSink } from '../../src/transport/http/http-host.ts';

/** An event as a client sees it; merged ones taken apart. */
export interface SeenEvent {
	readonly seq: number;
	readonly name: string;
	/** One token of a merged frame has no text of its own. */
	readonly data: unknown;
}

export class SseSocket implements ResponseSink {
	closed = false;
	onAborted: (() => void) | null = null;
	onWritable: (() => void) | null = null;
	/** The answer was ended in order. */
	ended = false;
	/** Taken by the platform, not yet read by the client. */
	#unread: Buffer[] = [];
	/** Refused by the platform, kept by the library. */
	#backlog: Buffer[] = [];
	#room: number;

	/** `room`: bytes that the platform holds for a reader that does not read. */
	constructor(room: number) {
		this.#room = room;
	}

	get bufferedBytes(): number {
		return this.#backlog.reduce((sum, part) => sum + part.length, 0);
	}

	start(): void {}

	respond(): void {
		throw new Error('an event stream is started, not answered at once');
	}

	write(bytes: Uint8Array, start = 0, end = bytes.length): boolean {
		if (this.closed || start === end) return this.#backlog.length === 0;
		const copy = Buffer.from(bytes.subarray(start, end));
		if (this.#backlog.length > 0 || this.#room < copy.length) {
			this.#backlog.push(copy);
			return false;
		}
		this.#room -= copy.length;
		this.#unread.push(copy);
		return true;
	}

	end(): void {
		if (this.closed) return;
		this.closed = true;
		this.ended = true;
	}

	corked(writes: () => void): void {
		writes();
	}

	abort(): void {
		this.lose();
	}

	/** The connection is gone. What the client has not read, it will not. */
	lose(): void {
		if (this.closed) return;
		this.closed = true;
		this.#backlog = [];
		this.#unread = [];
		this.onAborted?.();
	}

	/** The client reads all there is. The library then writes what it kept, and says so. */
	read(): Buffer {
		const bytes = Buffer.concat(this.#unread);
		this.#unread = [];
		this.#room += bytes.length;
		if (this.#backlog.length === 0) return bytes;
		const backlog = Buffer.concat(this.#backlog);
		const taken = backlog.subarray(0, this.#room);
		this.#room -= taken.length;
		this.#unread.push(taken);
		this.#backlog = taken.length < backlog.length ? [backlog.subarray(taken.length)] : [];
		if (this.#backlog.length === 0 && !this.closed) this.onWritable?.();
		return bytes;
	}

	/** Whether all has been read. */
	get drained(): boolean {
		return this.#unread.length === 0 && this.#backlog.length === 0;
	}
}

/** Takes a stream of frames apart, in pieces of any size. */
export class SseReader {
	#text = '';

	/** Numbered events in `bytes` and what was left of earlier ones; comments and `metrics` are dropped. */
	push(bytes: Buffer): SeenEvent[] {
		const seen: SeenEvent[] = [];
		this.#text += bytes.toString('latin1');
		for (;;) {
			const end = this.#text.indexOf('\n\n');
			if (end < 0) return seen;
			const frame = this.#text.slice(0, end);
			this.#text = this.#text.slice(end + 2);
			const [, id, name, json] = /^id: (\d+)\nevent: (\w+)\ndata: (.*)$/.exec(frame) ?? [];
			if (id === undefined || name === undefined || json === undefined) continue;
			const data = JSON.parse(json) as { readonly batch?: readonly unknown[] };
			const parts = data.batch ?? [data];
			for (const [index, part] of parts.entries()) seen.push({ seq: Number(id) - parts.length + 1 + index, name, data: part });
		}
	}
}
