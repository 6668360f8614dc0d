/**
 * A task's events as an async sequence that survives lost connections: it resumes behind the last numbered event it has
 * given out, so the reader sees each of them once and in order. Ends behind the terminal event.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { connectionProblem, type DaemonClient, isObject, type JsonObject, refusal } from './daemon-client.ts';
import { exitCodes } from './exit-codes.ts';
import { Problem } from './problem.ts';

export interface TaskEvent {
	readonly event: string;
	/** Null for events that are not logged. */
	readonly seq: number | null;
	readonly data: JsonObject;
}

/** Connections in a row that bring nothing before it gives up. */
const attemptsMax = 6;

export async function* taskEvents(
	client: DaemonClient,
	eventsUrl: string,
	signal: AbortSignal,
	onRetry: (reason: string) => void,
): AsyncGenerator<TaskEvent> {
	let lastSeq = 0;
	let attempt = 0;
	for (;;) {
		let reason = 'the stream ended early';
		try {
			for await (const event of connection(client, eventsUrl, lastSeq, signal)) {
				attempt = 0;
				if (event.seq !== null) {
					if (event.seq <= lastSeq) continue;
					lastSeq = event.seq;
				}
				yield event;
				if (event.event === 'end' || event.event === 'error') return;
			}
		} catch (error) {
			if (signal.aborted || error instanceof Problem) throw error;
			const problem = connectionProblem(error, client.url);
			if (++attempt >= attemptsMax) throw problem;
			reason = problem.message;
		}
		onRetry(reason);
		await delay(client.retryMs * 2 ** Math.max(0, attempt - 1), undefined, { signal });
	}
}

async function* connection(client: DaemonClient, eventsUrl: string, lastSeq: number, signal: AbortSignal): AsyncGenerator<TaskEvent> {
	const headers: Record<string, string> = { accept: 'text/event-stream' };
	if (lastSeq > 0) headers['last-event-id'] = String(lastSeq);
	const response = await client.fetch(eventsUrl, { headers, signal });
	if (response.status === 404)
		throw new Problem(exitCodes.failure, 'the daemon does not know the task: it was restarted, or forgot it', null);
	if (!response.ok) throw await refusal(response, client);
	if (response.body === null) return;

	const waiting: EventSourceMessage[] = [];
	const parser = createParser({ onEvent: (message) => waiting.push(message) });
	const decoder = new TextDecoder();
	for await (const chunk of response.body) {
		parser.feed(decoder.decode(chunk, { stream: true }));
		for (const message of waiting.splice(0)) yield toEvent(message);
	}
}

function toEvent(message: EventSourceMessage): TaskEvent {
	const data: unknown = JSON.parse(message.data);
	const seq = message.id === undefined || message.id === '' ? null : Number(message.id);
	return { event: message.event ?? 'message', seq, data: isObject(data) ? data : {} };
}
