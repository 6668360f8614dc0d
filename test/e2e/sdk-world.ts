/** What the official clients are tested against: our llama.cpp, the scripted engine, and an engine elsewhere that speaks the API of OpenAI. */
import assert from 'node:assert/strict';
import { chunk, eventsHead, RawUpstream } from '../engines/raw-upstream.ts';
import { type Daemon, startDaemon } from './daemon.ts';

const models = JSON.stringify({ object: 'list', data: [{ id: 'remote', object: 'model', max_model_len: 4_096 }] });
const json = (body: string): string => `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const event = (delta: object, finish: string | null = null): string =>
	chunk(`data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`);
const usage = chunk(
	`data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: 7, completion_tokens: 4, prompt_tokens_details: { cached_tokens: 3 } } })}\n\n`,
);
const done = `${usage}${chunk('data: [DONE]\n\n')}0\r\n\r\n`;

export interface SdkWorld {
	readonly upstream: RawUpstream;
	readonly daemon: Daemon;
	/** Until no task of the pool runs or waits. */
	isFree(pool: string): Promise<void>;
	/** Until a task of the pool runs. */
	isBusy(pool: string): Promise<void>;
	stop(): Promise<void>;
}

/** What it throws, which must be of that kind. */
export async function thrownBy<E extends Error>(asked: Promise<unknown>, kind: abstract new (...given: never[]) => E): Promise<E> {
	try {
		await asked;
	} catch (error) {
		assert.ok(error instanceof kind);
		return error;
	}
	throw new Error('nothing was thrown');
}

export async function startSdkWorld(): Promise<SdkWorld> {
	const upstream = new RawUpstream();
	const url = await upstream.listen();
	upstream.answer = ({ head, body, socket }) => {
		if (head.startsWith('GET /v1/models ')) return void socket.write(json(models));
		if (!head.startsWith('POST /v1/chat/completions ')) return void socket.write('HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n');
		socket.write(`${eventsHead}${event({ role: 'assistant', content: '' })}`);
		if (body.includes('"tools"')) {
			socket.write(event({ tool_calls: [{ index: 0, id: 'call_up', type: 'function', function: { name: 'add', arguments: '' } }] }));
			for (const part of ['{"a": 1,', ' "b": 2}']) socket.write(event({ tool_calls: [{ index: 0, function: { arguments: part } }] }));
			socket.write(`${event({}, 'tool_calls')}${done}`);
		} else {
			for (const word of ['one "quoted"', ' two\n', 'dréi 🦊']) socket.write(event({ content: word }));
			socket.write(`${event({}, 'stop')}${done}`);
		}
	};
	const daemon = await startDaemon({
		config: {
			pools: [
				{ id: 'tiny', aliases: ['default'], slots: 2 },
				{
					id: 'demo',
					engine: 'scripted',
					model: 'scripted:demo',
					slots: 8,
					scripted: {
						decode_tokens_per_s: 1_000_000,
						tokens: 24,
						faults: [{ kind: 'error', after_tokens: 3, prompt_contains: 'please break' }],
					},
				},
				{
					id: 'slow',
					engine: 'scripted',
					model: 'scripted:slow',
					slots: 1,
					queue: { capacity: 1 },
					scripted: { decode_tokens_per_s: 100, tokens: 100_000 },
					ctx: 200_000,
				},
				{ id: 'up', engine: 'openai', provider: 'external', url, model: 'remote', slots: 2 },
			],
		},
	});
	const asked = async (path: string): Promise<unknown> => (await fetch(`${daemon.url}${path}`)).json();
	const until = async (holds: () => Promise<boolean>): Promise<void> => {
		while (!(await holds())) await new Promise((resolve) => setImmediate(resolve));
	};
	return {
		upstream,
		daemon,
		isFree: (pool) =>
			until(async () => {
				const { metrics } = (await asked(`/v2/pools/${pool}/health`)) as {
					metrics: { queue_depth: number; slots_total: number; slots_free: number };
				};
				return metrics.queue_depth === 0 && metrics.slots_free === metrics.slots_total;
			}),
		isBusy: (pool) =>
			until(async () => ((await asked(`/v2/tasks?state=running&pool_id=${pool}`)) as { tasks: unknown[] }).tasks.length > 0),
		async stop() {
			await daemon.stop();
			await upstream.close();
		},
	};
}
