/**
 * A server library's response as uWebSockets behaves: a cork whose buffer takes small writes without asking, a socket of
 * limited room, a backlog that moves only with a write, and a fatal error for every call after the end.
 */
import type { RawResponse } from '../../src/transport/http/response-sink.ts';

const corkBytes = 16 * 1024;

export class FakeRawResponse implements RawResponse {
	/** What the peer has received. */
	received = '';
	/** Bytes that the socket still takes. */
	room: number;
	backlog = '';
	ended = false;
	closed = false;
	status = '';
	readonly headers: [string, string][] = [];
	/** Calls after the end, writes before the status: each would end the process. */
	readonly violations: string[] = [];
	aborted: (() => void) | null = null;
	#onWritable: ((offset: number) => boolean) | null = null;
	#corkDepth = 0;
	#corkBuffer = '';

	constructor(room = Number.POSITIVE_INFINITY) {
		this.room = room;
	}

	writeStatus(status: string): this {
		this.#alive('writeStatus');
		this.status = status;
		return this;
	}

	writeHeader(name: string, value: string): this {
		this.#alive('writeHeader');
		this.headers.push([name, value]);
		return this;
	}

	write(chunk: Uint8Array): boolean {
		this.#alive('write');
		if (this.status === '') this.violations.push('write before writeStatus');
		const text = Buffer.from(chunk).toString('latin1');
		this.#drain();
		if (this.backlog !== '') {
			this.backlog += text;
			return false;
		}
		if (this.#corkDepth > 0 && this.#corkBuffer.length + text.length <= corkBytes) {
			this.#corkBuffer += text;
			return true;
		}
		this.backlog = this.#corkBuffer + text;
		this.#corkBuffer = '';
		this.#drain();
		return this.backlog === '';
	}

	end(body: string | Uint8Array = ''): this {
		this.#alive('end');
		this.backlog += this.#corkBuffer + Buffer.from(body as string).toString('latin1');
		this.#corkBuffer = '';
		this.ended = true;
		this.#drain();
		return this;
	}

	endWithoutBody(): this {
		return this.end();
	}

	cork(writes: () => void): this {
		this.#alive('cork');
		this.#corkDepth += 1;
		writes();
		this.#corkDepth -= 1;
		if (this.#corkDepth > 0 || this.closed) return this;
		// what the socket refuses now is kept, and nobody is told
		this.backlog += this.#corkBuffer;
		this.#corkBuffer = '';
		this.#drain();
		return this;
	}

	close(): this {
		this.#alive('close');
		this.peerLeaves();
		return this;
	}

	onWritable(handler: (offset: number) => boolean): this {
		this.#alive('onWritable');
		this.#onWritable = handler;
		return this;
	}

	/** The connection is gone. */
	peerLeaves(): void {
		if (this.closed) return;
		this.closed = true;
		this.backlog = '';
		if (!this.ended) this.aborted?.();
	}

	/** The peer reads: the socket has room again, and says so if it had refused something. */
	peerReads(bytes: number): void {
		if (this.closed) return;
		this.room += bytes;
		if (this.backlog === '') return;
		if (this.ended) this.#drain();
		else this.#onWritable?.(0);
	}

	#drain(): void {
		const taken = this.backlog.slice(0, this.room);
		this.room -= taken.length;
		this.received += taken;
		this.backlog = this.backlog.slice(taken.length);
	}

	#alive(call: string): void {
		if (this.ended || this.closed) this.violations.push(`${call} after the end`);
	}
}
