/**
 * One request of a benchmark, timed: to any endpoint that speaks the OpenAI API, or to `/v2`. An answer is an event stream; a token's
 * time is that of the event that brought it. Not by the client library: other servers are asked the same way, and nothing is asked again.
 */
import { performance } from 'node:perf_hooks';
import { createParser } from 'eventsource-parser';
import type { BenchRequest } from './workload.ts';

export type Backend = 'v2' | 'openai' | 'openai-chat';

export interface TargetOptions {
	readonly backend: Backend;
	readonly url: string;
	/** Path; null: that of the backend. */
	readonly endpoint: string | null;
	readonly model: string;
	readonly key: string | null;
	readonly temperature: number;
	/** Asks for exactly as many tokens as the workload says, where the server knows the field. */
	readonly ignoreEos: boolean;
	readonly timeoutMs: number;
}

/** Times in ms; `sentAt` is on the clock of `performance`. */
export interface Outcome {
	readonly sentAt: number;
	/** Behind when it was to be sent. */
	readonly lateMs: number;
	readonly firstTokenMs: number | null;
	/** To the last token. */
	readonly latencyMs: number;
	/** Between the events that brought tokens. */
	readonly gapsMs: readonly number[];
	readonly tokensIn: number;
	readonly tokensOut: number;
	readonly tenant: string | null;
	/** Null: it went well. */
	readonly error: string | null;
}

const paths: Readonly<Record<Backend, string>> = { v2: '/v2/tasks', openai: '/v1/completions', 'openai-chat': '/v1/chat/completions' };

export async function send(options: TargetOptions, request: BenchRequest, lateMs: number): Promise<Outcome> {
	const seen = new Seen(request);
	const sentAt = performance.now();
	let error: string | null = null;
	try {
		const response = await fetch(options.url.replace(/\/+$/, '') + (options.endpoint ?? paths[options.backend]), {
			method: 'POST',
			headers: {
				'content-type': 'application/json',
				accept: 'text/event-stream',
				...(options.key === null ? {} : { authorization: `Bearer ${options.key}` }),
			},
			body: JSON.stringify(bodyOf(options, request)),
			signal: AbortSignal.timeout(options.timeoutMs),
		});
		if (response.status >= 300) error = `HTTP ${response.status}: ${(await response.text()).slice(0, 200)}`;
		else if (response.body === null) error = 'the answer has no body';
		else {
			const parser = createParser({ onEvent: ({ event, data }) => seen.hear(event ?? '', data, performance.now()) });
			const decoder = new TextDecoder();
			for await (const chunk of response.body as AsyncIterable<Uint8Array>) parser.feed(decoder.decode(chunk, { stream: true }));
			error = seen.problem;
		}
	} catch (thrown) {
		error = wordsOf(thrown);
	}
	return seen.outcome(sentAt, lateMs, error);
}

function bodyOf({ backend, model, temperature, ignoreEos }: TargetOptions, { prompt, outputTokens, tenant }: BenchRequest): unknown {
	if (backend === 'v2')
		return {
			model_ref: model,
			prompt,
			max_tokens: outputTokens,
			sampling: { temperature },
			on_disconnect: 'cancel',
			...(tenant === null ? {} : { tenant }),
		};
	const input = backend === 'openai' ? { prompt } : { messages: [{ role: 'user', content: prompt }] };
	const common = { model, ...input, max_tokens: outputTokens, temperature, stream: true, stream_options: { include_usage: true } };
	return ignoreEos ? { ...common, ignore_eos: true } : common;
}

/** What the events of one answer come to. */
class Seen {
	readonly #request: BenchRequest;
	readonly #at: number[] = [];
	#tokens = 0;
	#tokensIn: number | null = null;
	#tokensOut: number | null = null;
	#ended = false;
	#error: string | null = null;

	constructor(request: BenchRequest) {
		this.#request = request;
	}

	get problem(): string | null {
		return this.#error ?? (this.#ended ? null : 'the stream ended before its end');
	}

	hear(event: string, data: string, at: number): void {
		if (data === '[DONE]') {
			this.#ended = true;
			return;
		}
		const body = JSON.parse(data) as Readonly<Record<string, unknown>>;
		if (event === 'error' || body['error'] !== undefined) {
			this.#error = data.slice(0, 200);
			return;
		}
		if (event === 'token') return this.#token(at, piecesOf(body));
		if (event === 'end') {
			this.#ended = true;
			return this.#usage(body['tokens_in'], body['tokens_out']);
		}
		const usage = body['usage'] as Readonly<Record<string, unknown>> | null | undefined;
		if (usage !== null && usage !== undefined) this.#usage(usage['prompt_tokens'], usage['completion_tokens']);
		if (hasText(body)) this.#token(at, 1);
	}

	#token(at: number, tokens: number): void {
		this.#at.push(at);
		this.#tokens += tokens;
	}

	#usage(tokensIn: unknown, tokensOut: unknown): void {
		if (typeof tokensIn === 'number') this.#tokensIn = tokensIn;
		if (typeof tokensOut === 'number') this.#tokensOut = tokensOut;
	}

	outcome(sentAt: number, lateMs: number, error: string | null): Outcome {
		const [first] = this.#at;
		return {
			sentAt,
			lateMs,
			firstTokenMs: first === undefined ? null : first - sentAt,
			latencyMs: (this.#at.at(-1) ?? performance.now()) - sentAt,
			gapsMs: this.#at.slice(1).map((at, index) => at - (this.#at[index] ?? at)),
			tokensIn: this.#tokensIn ?? this.#request.inputWords,
			tokensOut: this.#tokensOut ?? this.#tokens,
			tenant: this.#request.tenant,
			error: error ?? (first === undefined ? 'no token came' : null),
		};
	}
}

/** Model tokens of a `token` event, merged or not. */
function piecesOf(body: Readonly<Record<string, unknown>>): number {
	const pieces = (body['batch'] ?? [body]) as readonly { readonly n?: number }[];
	return pieces.reduce((sum, { n }) => sum + (n ?? 1), 0);
}

/** A chunk of the OpenAI API that brings something of the answer. */
function hasText(body: Readonly<Record<string, unknown>>): boolean {
	const [choice] = (body['choices'] ?? []) as readonly { readonly text?: string; readonly delta?: Readonly<Record<string, unknown>> }[];
	if (choice === undefined) return false;
	const { text, delta } = choice;
	return Boolean(text) || Boolean(delta?.['content']) || Boolean(delta?.['reasoning_content']) || delta?.['tool_calls'] !== undefined;
}

function wordsOf(error: unknown): string {
	if (!(error instanceof Error)) return String(error);
	const { cause } = error;
	return cause instanceof Error ? `${error.message}: ${cause.message}` : error.message;
}
