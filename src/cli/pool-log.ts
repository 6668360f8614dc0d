/** `pools logs`: what the engines of a pool wrote. Following, it goes on behind the last line it had when its connection is lost. */
import { setTimeout as delay } from 'node:timers/promises';
import { ConnectionError } from '../client/index.ts';
import { serverSentEvents } from '../client/task-stream.ts';
import { type DaemonClient, getJson, isObject, type JsonObject, objects, problemOf, text } from './daemon-client.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import type { Terminal } from './terminal.ts';

export interface PoolLogOptions {
	readonly tail: number;
	readonly follow: boolean;
	readonly json: boolean;
}

/** Connections in a row that bring nothing before it gives up. */
const attemptsMax = 6;

export async function poolLog(client: DaemonClient, poolId: string, options: PoolLogOptions, terminal: Terminal): Promise<ExitCode> {
	const path = `/v2/pools/${encodeURIComponent(poolId)}/logs?tail=${options.tail}`;
	const tell = (line: JsonObject): void => terminal.out(options.json ? `${JSON.stringify(line)}\n` : `${terminal.safe(words(line))}\n`);
	if (!options.follow) {
		for (const line of objects((await getJson(client, path))['lines'])) tell(line);
		return exitCodes.ok;
	}
	const interrupt = new AbortController();
	const stopListening = terminal.onInterrupt(() => interrupt.abort());
	try {
		await followed(client, `${path}&follow=true`, interrupt.signal, tell, (reason) => terminal.note(`${reason}; trying again`));
	} catch (error) {
		if (!interrupt.signal.aborted) throw error;
	} finally {
		stopListening();
	}
	return exitCodes.interrupted;
}

async function followed(
	client: DaemonClient,
	path: string,
	signal: AbortSignal,
	tell: (line: JsonObject) => void,
	onRetry: (reason: string) => void,
): Promise<void> {
	let lastId = '';
	let attempt = 0;
	while (!signal.aborted) {
		let reason = 'the stream ended';
		try {
			const headers = { accept: 'text/event-stream', ...(lastId === '' ? {} : { 'last-event-id': lastId }) };
			const response = await client.api.http.once(path, { headers, signal, timeoutMs: null });
			for await (const { id, data } of serverSentEvents(response, client.url, signal)) {
				attempt = 0;
				lastId = id ?? lastId;
				const line: unknown = JSON.parse(data);
				if (isObject(line)) tell(line);
			}
		} catch (error) {
			if (signal.aborted) throw error;
			const problem = problemOf(error);
			if (!(error instanceof ConnectionError) || attempt + 1 >= attemptsMax) throw problem;
			reason = error.message;
		}
		attempt += 1;
		onRetry(reason);
		await delay(client.api.http.retryMs * 2 ** (attempt - 1), undefined, { signal });
	}
}

function words(line: JsonObject): string {
	return `${text(line['at'])} ${text(line['replica_id'])} ${text(line['text'])}`;
}
