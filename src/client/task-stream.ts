/**
 * A task's events as an async sequence that survives lost connections: it resumes behind the last numbered event that it gave out, so
 * that its reader gets each of them once and in order. Ends behind the terminal event.
 */
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { ConnectionError, DaemonError } from './errors.ts';
import type { Http } from './http.ts';
import { backoffMs, wait } from './waiting.ts';
import type { EndData, ErrorBody, EventId, MetricsData, StartedData, TaskEvent, TokenPiece } from './wire.ts';

export interface WatchOptions {
	/** Only what comes behind this event; default 0: all. */
	readonly after?: EventId;
	/** `metrics` say more, in sentences. */
	readonly verbose?: boolean;
	readonly signal?: AbortSignal;
	/** The connection was lost, and is made again. */
	readonly onRetry?: (reason: string) => void;
	/**
	 * The daemon was lost and runs this durable task again: what was read of it is void, and its events follow anew, from the first one.
	 * Without this, a `DaemonError` with `EVENTS_EXPIRED` is thrown.
	 */
	readonly onNewRun?: () => void;
}

/** Connections in a row that bring nothing before it gives up. */
const attemptsMax = 6;

/** Throws `ConnectionError` when the daemon stays away, `DaemonError` when it does not know the task. */
export async function* taskEvents(http: Http, taskId: string, options: WatchOptions = {}): AsyncGenerator<TaskEvent, void> {
	const { signal, onRetry } = options;
	let last = placeOf(options.after ?? 0);
	let attempt = 0;
	for (;;) {
		let reason = 'the stream ended early';
		let retryAfterMs: number | null = null;
		try {
			for await (const event of connection(http, taskId, last, options)) {
				attempt = 0;
				if (event.id !== null) {
					const place = placeOf(event.id);
					if (!isBehind(place, last)) continue;
					last = place;
				}
				yield event;
				if (event.type === 'end' || event.type === 'error') return;
			}
			attempt += 1;
		} catch (error) {
			const isVoid = isOfEarlierRun(error, last) && options.onNewRun !== undefined;
			if (signal?.aborted === true || !(isVoid || mayComeBack(error))) throw error;
			if (isVoid) {
				options.onNewRun?.();
				last = start;
				continue;
			}
			attempt += 1;
			if (attempt >= attemptsMax) throw error;
			reason = error.message;
			retryAfterMs = error instanceof DaemonError ? error.retryAfterMs : null;
		}
		if (attempt >= attemptsMax) throw new ConnectionError(http.url, new Error(reason));
		onRetry?.(reason);
		await wait(backoffMs(attempt, retryAfterMs, Math.random(), http.retryMs), signal);
	}
}

function mayComeBack(error: unknown): error is Error {
	return error instanceof ConnectionError || (error instanceof DaemonError && error.retriable);
}

async function* connection(http: Http, taskId: string, last: EventPlace, { verbose, signal }: WatchOptions): AsyncGenerator<TaskEvent> {
	const path = `/v2/tasks/${encodeURIComponent(taskId)}/events${verbose === true ? '?verbose=true' : ''}`;
	const headers: Record<string, string> = { accept: 'text/event-stream' };
	if (last.seq > 0) headers['last-event-id'] = String(last.id);
	const response = await http.once(path, { headers, signal, timeoutMs: null });
	for await (const message of serverSentEvents(response, http.url, signal)) yield toEvent(message);
}

/** Throws a `ConnectionError` when it breaks. */
export async function* serverSentEvents(response: Response, url: string, signal?: AbortSignal): AsyncGenerator<EventSourceMessage> {
	if (response.body === null) return;
	const waiting: EventSourceMessage[] = [];
	const parser = createParser({ onEvent: (message) => waiting.push(message) });
	const decoder = new TextDecoder();
	// A browser's stream is no async iterable everywhere.
	const reader = (response.body as ReadableStream<Uint8Array>).getReader();
	try {
		for (;;) {
			const { done, value } = await reader.read().catch((error: unknown) => {
				if (signal?.aborted === true) throw error;
				throw new ConnectionError(url, error);
			});
			if (done) return;
			parser.feed(decoder.decode(value, { stream: true }));
			yield* waiting.splice(0);
		}
	} finally {
		// A reader who leaves in the middle: the daemon is to notice. What is over already cannot be left.
		await reader.cancel().catch(() => undefined);
	}
}

function toEvent({ id, event, data }: EventSourceMessage): TaskEvent {
	return eventOf(event ?? 'message', id === undefined || id === '' ? null : id, JSON.parse(data));
}

/** From the name, id and data of an event, as any way brings them. */
export function eventOf(name: string, id: EventId | null, data: unknown): TaskEvent {
	const place = placeOf(id ?? 0);
	const numbered = { id: place.id, seq: place.seq };
	switch (name) {
		case 'started':
			return { type: 'started', ...numbered, data: data as StartedData };
		case 'token':
			return { type: 'token', ...numbered, tokens: piecesOf(data as TokenPiece | Batch) };
		case 'end':
			return { type: 'end', ...numbered, data: data as EndData };
		case 'error':
			return { type: 'error', ...(id === null ? { id: null, seq: null } : numbered), data: data as Partial<ErrorBody> };
		default:
			return { type: 'metrics', id: null, seq: null, data: data as MetricsData };
	}
}

/** An id, taken apart. */
export interface EventPlace {
	readonly id: EventId;
	/** 0: the task is not durable. */
	readonly run: number;
	readonly seq: number;
}

/** Before the first event of any run. */
export const start: EventPlace = { id: 0, run: 0, seq: 0 };

export function placeOf(id: EventId): EventPlace {
	const [first = '0', second] = String(id).split('.');
	return second === undefined ? { id: Number(first), run: 0, seq: Number(first) } : { id, run: Number(first), seq: Number(second) };
}

export function isBehind(place: EventPlace, last: EventPlace): boolean {
	return place.run > last.run || (place.run === last.run && place.seq > last.seq);
}

/** Why nothing follows what was read: the task began again since. */
export function isOfEarlierRun(error: unknown, last: EventPlace): error is DaemonError {
	return last.run > 0 && error instanceof DaemonError && error.code === 'EVENTS_EXPIRED';
}

interface Batch {
	readonly batch: readonly TokenPiece[];
}

function piecesOf(data: TokenPiece | Batch): readonly TokenPiece[] {
	return 'batch' in data ? data.batch : [data];
}

/** The text of a run of tokens, without what is of other channels. */
export function textOf(tokens: readonly TokenPiece[]): string {
	let text = '';
	for (const { t, c } of tokens) if (c === undefined) text += t;
	return text;
}
