/**
 * A connection that is known to be on one front thread: connections are made until a tiny task, submitted on one, says by its id
 * that it is there. One request at a time, streams included; it never moves to another socket, and so to another front.
 */
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { type Accepted, postJson, type Way } from './client.ts';

/** With fair coins for two fronts, and fewer for more, nobody is this unlucky. */
const triesMax = 200;
/** A front that has just come back takes no tasks until it has met the scheduler. */
const readyMs = 20_000;

/** Which front admitted a task whose id the daemon made. */
export function frontOf(taskId: string): number {
	return Number.parseInt(taskId.slice(-2), 16);
}

export class FrontConnection implements Exclude<Way, string> {
	/** For whatever else can use it: a WebSocket takes its socket over. */
	readonly agent = new Agent({ keepAlive: true, maxSockets: 1 });
	readonly url: string;
	#socket: Socket | null = null;

	private constructor(url: string) {
		this.url = url;
	}

	/** `model`: of a pool that has a slot free, or will have one soon. */
	static async open(
		url: string,
		front: number,
		model = 'default',
		headers: Readonly<Record<string, string>> = {},
	): Promise<FrontConnection> {
		for (let tries = 0; tries < triesMax; tries += 1) {
			const connection = new FrontConnection(url);
			const task_id = await connection.#probe(model, headers);
			// It was for its id alone.
			await (await connection.request(`/v2/tasks/${task_id}`, { method: 'DELETE', headers })).arrayBuffer();
			if (frontOf(task_id) === front) return connection;
			connection.close();
		}
		throw new Error(`none of ${triesMax} connections came to front ${front}`);
	}

	async #probe(model: string, headers: Readonly<Record<string, string>>): Promise<string> {
		for (const deadline = performance.now() + readyMs; ; ) {
			const answer = await postJson(this, '/v2/tasks', { model_ref: model, prompt: '.', max_tokens: 1 }, headers);
			const body = await answer.text();
			if (answer.status === 202) return (JSON.parse(body) as Accepted).task_id;
			if (answer.status !== 503 || performance.now() > deadline) throw new Error(`POST /v2/tasks answered ${answer.status}: ${body}`);
			await new Promise((resolve) => setTimeout(resolve, 10));
		}
	}

	async request(path: string, init: RequestInit = {}): Promise<Response> {
		const { method = 'GET', headers, body, signal } = init;
		const text = typeof body === 'string' ? body : '';
		const answer = await new Promise<IncomingMessage>((resolve, reject) => {
			const asked = httpRequest(new URL(path, this.url), {
				agent: this.agent,
				method,
				headers: { ...Object.fromEntries(new Headers(headers)), ...(text === '' ? {} : { 'content-length': Buffer.byteLength(text) }) },
				...(signal === undefined || signal === null ? {} : { signal }),
			});
			asked.on('socket', (socket) => {
				this.#socket ??= socket;
				if (socket !== this.#socket) asked.destroy(new Error(`the connection has ended; ${method} ${path} would go over another`));
			});
			asked.once('error', reject);
			asked.once('response', resolve);
			asked.end(text);
		});
		const status = answer.statusCode ?? 0;
		const names = Object.entries(answer.headers).map(([name, value]): [string, string] => [name, String(value)]);
		if (status === 204) answer.resume();
		return new Response(status === 204 ? null : (Readable.toWeb(answer) as ReadableStream<Uint8Array>), { status, headers: names });
	}

	close(): void {
		this.agent.destroy();
	}
}
