/** A daemon made of answers for the client library: no sockets. Each request is answered by the next answer of its list. */

export interface FakeAnswer {
	readonly status?: number;
	readonly json?: unknown;
	/** Server-sent events, and whether the connection breaks behind them. */
	readonly frames?: readonly string[];
	readonly cut?: boolean;
	/** No answer at all. */
	readonly fails?: Error;
}

export interface Asked {
	readonly path: string;
	readonly method: string;
	readonly headers: Headers;
	readonly body: unknown;
}

export function fakeFetch(...answers: FakeAnswer[]): { readonly fetch: typeof globalThis.fetch; readonly asked: Asked[] } {
	const asked: Asked[] = [];
	const fetch = (input: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
		const url = new URL(input instanceof Request ? input.url : input);
		const body: unknown = typeof init.body === 'string' ? JSON.parse(init.body) : null;
		asked.push({ path: url.pathname + url.search, method: init.method ?? 'GET', headers: new Headers(init.headers), body });
		const answer = answers.shift();
		if (answer === undefined) throw new Error(`nobody expected ${url.pathname}`);
		if (answer.fails !== undefined) return Promise.reject(answer.fails);
		if (answer.frames !== undefined) return Promise.resolve(stream(answer.frames, answer.cut ?? false));
		return Promise.resolve(new Response(answer.json === undefined ? null : JSON.stringify(answer.json), { status: answer.status ?? 200 }));
	};
	return { fetch, asked };
}

function stream(frames: readonly string[], cut: boolean): Response {
	const body = new ReadableStream<Uint8Array>({
		start(controller) {
			for (const frame of frames) controller.enqueue(new TextEncoder().encode(frame));
			if (!cut) controller.close();
		},
		pull(controller) {
			controller.error(new TypeError('terminated'));
		},
	});
	return new Response(body, { status: 200 });
}

export function frame(seq: number | string | null, event: string, data: unknown): string {
	return `${seq === null ? '' : `id: ${seq}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}
