/** A plain client of the native API for end-to-end tests: submit, watch, read. Parses SSE with a library of its own. */
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { plantedKey, remember, rememberBody } from './leaks.ts';

export interface SeenEvent {
	/** Its number in its run. */
	readonly id: number | null;
	/** Of a durable task; null: it runs once only. */
	readonly run: number | null;
	readonly name: string;
	readonly data: Record<string, unknown>;
}

export interface Accepted {
	readonly task_id: string;
	readonly queue_position: number;
	readonly pool_id: string;
	readonly streams: { readonly sse: string; readonly sse_verbose: string; readonly websocket: string };
}

/** Where requests go: any connection to a url, or one that somebody holds. */
export type Way = string | { request(path: string, init?: RequestInit): Promise<Response> };

function ask(way: Way, path: string, init: RequestInit): Promise<Response> {
	return typeof way === 'string' ? fetch(`${way}${path}`, init) : way.request(path, init);
}

export async function postJson(way: Way, path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
	rememberBody(body);
	return ask(way, path, {
		method: 'POST',
		headers: { 'content-type': 'application/json', authorization: `Bearer ${plantedKey}`, ...headers },
		body: JSON.stringify(body),
	});
}

export async function submit(way: Way, body: Readonly<Record<string, unknown>>): Promise<Accepted> {
	const response = await postJson(way, '/v2/tasks', body);
	const answer = await response.text();
	if (response.status !== 202) throw new Error(`POST /v2/tasks answered ${response.status}: ${answer}`);
	return JSON.parse(answer) as Accepted;
}

/** One watcher. `next` gives events as they come, null at the end of the stream. */
export class Watch {
	readonly #abort = new AbortController();
	readonly #events: SeenEvent[] = [];
	readonly comments: string[] = [];
	/** All that it has read of the output. */
	#text = '';
	#ended = false;
	#failure: Error | null = null;
	#wake: (() => void) | null = null;

	private constructor(body: ReadableStream<Uint8Array>) {
		const parser = createParser({
			onEvent: (message: EventSourceMessage) => {
				const [seq, run] = message.id?.split('.').reverse() ?? [];
				const event: SeenEvent = {
					id: seq === undefined ? null : Number(seq),
					run: run === undefined ? null : Number(run),
					name: message.event ?? 'message',
					data: JSON.parse(message.data) as Record<string, unknown>,
				};
				this.#text += textOf([event]);
				this.#events.push(event);
			},
			onComment: (comment: string) => {
				this.comments.push(comment);
			},
		});
		void this.#pump(body, parser.feed);
	}

	async #pump(body: ReadableStream<Uint8Array>, feed: (text: string) => void): Promise<void> {
		const decoder = new TextDecoder();
		try {
			for await (const bytes of body) {
				feed(decoder.decode(bytes, { stream: true }));
				this.#wake?.();
			}
		} catch (error) {
			this.#failure = error instanceof Error ? error : new Error(String(error));
		}
		remember('an output', this.#text);
		this.#ended = true;
		this.#wake?.();
	}

	static async open(way: Way, taskId: string, options: { after?: number | string; verbose?: boolean } = {}): Promise<Watch> {
		const abort = new AbortController();
		const response = await ask(way, `/v2/tasks/${taskId}/events${options.verbose === true ? '?verbose=1' : ''}`, {
			headers: {
				authorization: `Bearer ${plantedKey}`,
				...(options.after === undefined ? {} : { 'last-event-id': String(options.after) }),
			},
			signal: abort.signal,
		});
		if (response.status !== 200 || response.body === null)
			throw new Error(`GET events answered ${response.status}: ${await response.text()}`);
		const watch = new Watch(response.body);
		watch.#abort.signal.addEventListener('abort', () => abort.abort());
		return watch;
	}

	async next(): Promise<SeenEvent | null> {
		for (;;) {
			const event = this.#events.shift();
			if (event !== undefined) return event;
			if (this.#failure !== null) throw this.#failure;
			if (this.#ended) return null;
			await new Promise<void>((resolve) => {
				this.#wake = resolve;
			});
		}
	}

	/** Reads to the end of the stream. */
	async all(): Promise<SeenEvent[]> {
		const seen: SeenEvent[] = [];
		for (let event = await this.next(); event !== null; event = await this.next()) seen.push(event);
		return seen;
	}

	/** Reads up to and with the first event of a name. */
	async until(name: string): Promise<SeenEvent[]> {
		const seen: SeenEvent[] = [];
		for (let event = await this.next(); event !== null; event = await this.next()) {
			seen.push(event);
			if (event.name === name) return seen;
		}
		throw new Error(`the stream ended without ${name}: ${JSON.stringify(seen.at(-1))}`);
	}

	close(): void {
		this.#abort.abort();
	}
}

/** The numbered events, with merged token frames taken apart. */
export function numbered(events: readonly SeenEvent[]): SeenEvent[] {
	return events.filter((event) => event.name !== 'metrics');
}

export interface TokenPiece {
	readonly t: string;
	readonly i: number;
	readonly n?: number;
}

export function pieces(events: readonly SeenEvent[]): TokenPiece[] {
	return events
		.filter((event) => event.name === 'token')
		.flatMap((event) =>
			Array.isArray(event.data['batch']) ? (event.data['batch'] as TokenPiece[]) : [event.data as unknown as TokenPiece],
		);
}

export function textOf(events: readonly SeenEvent[]): string {
	return pieces(events)
		.map((piece) => piece.t)
		.join('');
}

/** Exactly the order of the contract: started, tokens 0..n by one, one terminal event, nothing after it. */
export function checkOrder(events: readonly SeenEvent[]): void {
	const order = numbered(events);
	const names = order.map((event) => event.name);
	if (names[0] !== 'started') throw new Error(`first event is ${names[0]}`);
	const last = names.at(-1);
	if (last !== 'end' && last !== 'error') throw new Error(`last event is ${last}`);
	if (names.slice(1, -1).some((name) => name !== 'token')) throw new Error(`order: ${names.join(' ')}`);
	pieces(events).forEach((piece, index) => {
		if (piece.i !== index) throw new Error(`token ${index} has i ${piece.i}`);
	});
	let before = 0;
	for (const event of order) {
		if (event.id === null || event.id <= before) throw new Error(`event id ${event.id} after ${before}`);
		before = event.id;
	}
	if (last === 'end') {
		const out = pieces(events).reduce((sum, piece) => sum + (piece.n ?? 1), 0);
		if (order.at(-1)?.data['tokens_out'] !== out) throw new Error(`tokens_out ${String(order.at(-1)?.data['tokens_out'])}, seen ${out}`);
	}
}
