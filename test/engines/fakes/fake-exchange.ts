/** One answer of a fake engine: its bytes, cut apart as the test wants, with the fault that befalls it. */
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Fault } from './faults.ts';

type Headers = Readonly<Record<string, string>>;

export class FakeExchange {
	readonly #socket: Socket;
	readonly #fault: Fault | null;
	#splits: readonly number[];
	/** Bytes that are still to be written, where they are cut apart. */
	#waiting: Buffer = Buffer.alloc(0);
	#pumping = false;
	#afterAll: (() => void) | null = null;
	#events = 0;
	#gone = false;
	#onGone: (() => void) | null = null;
	/** Nothing more of the engine is written. */
	#cut = false;
	over = false;
	/** Bytes of the whole answer so far. */
	bytes = 0;

	constructor(socket: Socket, fault: Fault | null, splits: readonly number[]) {
		this.#socket = socket;
		this.#fault = fault;
		this.#splits = splits;
		if (fault?.kind === 'status') this.#instead(fault.status, fault.headers ?? {}, fault.body ?? '');
		else if (fault?.kind === 'bytes') {
			this.#write(Buffer.from(fault.bytes, 'latin1'));
			this.#stop(fault.ending);
		}
	}

	/** Another answer has been given in place of the engine's. */
	get spoiled(): boolean {
		return this.#fault?.kind === 'status' || this.#fault?.kind === 'bytes';
	}

	get deaf(): boolean {
		return this.#fault?.kind === 'deaf';
	}

	get gone(): boolean {
		return this.#gone;
	}

	/** Once, when the client has closed its side before the answer was whole. */
	onGone(callback: () => void): void {
		this.#onGone = callback;
	}

	clientLeft(): void {
		if (this.#gone) return;
		this.#gone = true;
		this.#cut = true;
		if (!this.over) this.#onGone?.();
	}

	json(status: number, value: unknown, headers: Headers = {}): void {
		this.answer(status, { 'content-type': 'application/json; charset=utf-8', ...headers }, JSON.stringify(value));
	}

	answer(status: number, headers: Headers, body: string): void {
		if (this.#cut) return;
		const bytes = Buffer.from(body);
		this.#write(Buffer.concat([this.#head(status, { ...headers, 'content-length': String(bytes.length) }), bytes]));
		this.#over();
	}

	/** Headers of a stream of events, in chunks. */
	beginEvents(headers: Headers = {}): void {
		if (this.#cut) return;
		this.#write(this.#head(200, { 'content-type': 'text/event-stream', 'transfer-encoding': 'chunked', ...headers }));
		this.#cutHere();
	}

	/** One chunk: as a rule, one event. */
	event(text: string): void {
		if (this.#cut) return;
		this.#write(chunk(text));
		this.#events += 1;
		this.#cutHere();
	}

	/** What the engine says when it is done, and the end of the body. */
	endEvents(...last: readonly string[]): void {
		if (this.#cut) return;
		if (this.#fault?.kind === 'cut' && this.#fault.ending === 'no-end') {
			this.#write(Buffer.from('0\r\n\r\n'));
			this.#over();
			return;
		}
		for (const text of last) this.event(text);
		if (this.#cut) return;
		this.#write(Buffer.from('0\r\n\r\n'));
		this.#over();
	}

	#head(status: number, headers: Headers): Buffer {
		const type = this.#fault?.kind === 'type' ? { 'content-type': this.#fault.type } : {};
		const lines = Object.entries({ ...headers, ...type }).map(([name, value]) => `${name}: ${value}\r\n`);
		return Buffer.from(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'No'}\r\n${lines.join('')}\r\n`, 'latin1');
	}

	#instead(status: number, headers: Headers, body: string): void {
		this.answer(status, { 'content-type': 'application/json', ...headers }, body);
	}

	#cutHere(): void {
		const fault = this.#fault;
		if (fault?.kind !== 'cut' || this.#events < fault.afterEvents || fault.ending === 'no-end') return;
		if (fault.ending === 'half-chunk') this.#write(Buffer.from('ff\r\ndata: half of wh'));
		if (fault.ending === 'garbage') this.#write(Buffer.from('no chunk at all\r\n\r\n'));
		if (fault.ending === 'garbage-event') this.#write(chunk('data: {"half": \n\n'));
		this.#stop(fault.ending === 'reset' || fault.ending === 'hold' ? fault.ending : fault.ending.startsWith('garbage') ? 'hold' : 'close');
	}

	#stop(how: 'close' | 'reset' | 'hold'): void {
		this.#cut = true;
		if (how === 'hold') return;
		this.#whenWritten(() => {
			if (how === 'close') this.#socket.end();
			else this.#socket.resetAndDestroy();
		});
	}

	#over(): void {
		this.#cut = true;
		this.over = true;
	}

	#write(bytes: Buffer): void {
		this.bytes += bytes.length;
		if (this.#splits.length === 0 && this.#waiting.length === 0) {
			this.#socket.write(bytes);
			return;
		}
		this.#waiting = Buffer.concat([this.#waiting, bytes]);
		this.#pump();
	}

	/** Each part in a turn of its own, so that the client has a read for each. */
	#pump(): void {
		if (this.#pumping) return;
		this.#pumping = true;
		setImmediate(() => {
			this.#pumping = false;
			const [next, ...rest] = this.#splits;
			// Not yet as many as the part is to have.
			if (next !== undefined && next > this.#waiting.length && !this.#cut) return;
			const length = next ?? this.#waiting.length;
			this.#splits = rest;
			this.#socket.write(this.#waiting.subarray(0, length));
			this.#waiting = this.#waiting.subarray(length);
			if (this.#waiting.length > 0) this.#pump();
			else this.#afterAll?.();
		});
	}

	#whenWritten(then: () => void): void {
		// What was written before is to be read first.
		const soon = (): void => void setImmediate(() => setImmediate(then));
		if (this.#waiting.length === 0) soon();
		else this.#afterAll = soon;
	}
}

function chunk(text: string): Buffer {
	const bytes = Buffer.from(text);
	return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]);
}
