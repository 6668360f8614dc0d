/**
 * A daemon made of answers, and a terminal that remembers: what the command line's tests talk to. No sockets, no clocks.
 */
import type { DaemonClient } from '../../src/cli/daemon-client.ts';
import { daemonClient } from '../../src/cli/daemon-client.ts';
import type { Terminal } from '../../src/cli/terminal.ts';

export interface FakeRequest {
	readonly method: string;
	readonly path: string;
	readonly headers: Headers;
	readonly body: unknown;
}

type Answer = (request: FakeRequest) => Response | Promise<Response>;

export interface FakeDaemon {
	readonly client: DaemonClient;
	readonly requests: FakeRequest[];
}

/** `answers` by `METHOD /path`; a function is asked at each request. */
export function fakeDaemon(answers: Readonly<Record<string, Answer>>): FakeDaemon {
	const requests: FakeRequest[] = [];
	const fetch = async (input: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
		const url = new URL(input instanceof Request ? input.url : input);
		const request = {
			method: init.method ?? 'GET',
			path: url.pathname + url.search,
			headers: new Headers(init.headers),
			body: typeof init.body === 'string' ? (JSON.parse(init.body) as unknown) : null,
		};
		requests.push(request);
		const answer = answers[`${request.method} ${url.pathname}`];
		if (answer === undefined) throw new TypeError(`unexpected ${request.method} ${request.path}`);
		return await answer(request);
	};
	return { client: daemonClient('http://daemon.test', fetch, 0), requests };
}

export function json(status: number, body: unknown): Response {
	return new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json' } });
}

/** Server-sent events in one chunk each; `cut` breaks the connection behind them, `open` leaves it standing. */
export function stream(frames: readonly string[], ending: 'end' | 'cut' | 'open' = 'end'): Response {
	const body = new ReadableStream<Uint8Array>({
		start(controller) {
			for (const frame of frames) controller.enqueue(new TextEncoder().encode(frame));
			if (ending === 'end') controller.close();
		},
		pull(controller) {
			if (ending === 'cut') controller.error(new TypeError('terminated'));
		},
	});
	return new Response(body, { status: 200, headers: { 'content-type': 'text/event-stream' } });
}

export function frame(seq: number | null, event: string, data: unknown): string {
	return `${seq === null ? '' : `id: ${seq}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

export interface FakeTerminal extends Terminal {
	readonly stdout: string[];
	readonly stderr: string[];
	readonly statuses: string[];
	/** Each as it was drawn over the one before. */
	readonly drawn: string[];
	interrupt(): void;
}

export function fakeTerminal(input = '', isLive = false): FakeTerminal {
	let interrupted: () => void = () => undefined;
	const stdout: string[] = [];
	const stderr: string[] = [];
	const statuses: string[] = [];
	const drawn: string[] = [];
	const plain = (text: string | number | null | undefined): string => String(text);
	return {
		stdout,
		stderr,
		statuses,
		drawn,
		isLive,
		redraw: (text) => drawn.push(text),
		interrupt: () => interrupted(),
		out: (text) => stdout.push(text),
		say: (line) => stderr.push(line),
		note: (line) => stderr.push(line),
		status: (line) => {
			if (line !== null) statuses.push(line);
		},
		safe: (text) => text,
		readAll: async () => input,
		onInterrupt(handler) {
			interrupted = handler;
			return () => {
				interrupted = () => undefined;
			};
		},
		paint: { bold: plain, dim: plain, red: plain, cyan: plain },
		paintOut: { bold: plain, dim: plain, red: plain, cyan: plain },
	};
}
