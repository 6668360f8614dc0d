/**
 * Each engine over HTTP behind a daemon, and what goes wrong with it as a client sees it: the code of each kind of failure, when to come back,
 * what is freed, and that nothing of a request or of a key is printed, though the engine's own words repeat them.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { FakeLlamaServer } from '../engines/fakes/fake-llama-server.ts';
import { FakeOpenai } from '../engines/fakes/fake-openai.ts';
import type { FakeRequest } from '../engines/fakes/fake-server.ts';
import { FakeTgi } from '../engines/fakes/fake-tgi.ts';
import { FakeTriton } from '../engines/fakes/fake-triton.ts';
import { FakeVllm } from '../engines/fakes/fake-vllm.ts';
import type { FakeEngine } from '../engines/upstream-conformance.ts';
import { submit, Watch } from './client.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { planted } from './leaks.ts';

const key = planted('key');
const endless = { slots: 2, stepMs: 2, endsAfter: 1_000_000 };
/** The error of each, in its own form; it repeats the prompt and the key. */
const engines: readonly (readonly [engine: string, fake: FakeEngine, error: (words: string) => unknown])[] = [
	[
		'llamacpp',
		new FakeLlamaServer({ ...endless, whole: true, ctx: 1_000_000 }),
		(message) => ({ error: { code: 400, message, type: 'x' } }),
	],
	['vllm', new FakeVllm({ ...endless, maxModelLen: 1_000_000 }), (message) => ({ error: { message, type: 'BadRequestError', code: 400 } })],
	['tgi', new FakeTgi({ ...endless, maxTotalTokens: 1_000_000 }), (error) => ({ error, error_type: 'validation' })],
	['triton', new FakeTriton({ ...endless, kind: 'vllm_model' }), (error) => ({ error })],
	['openai', new FakeOpenai(endless), (message) => ({ error: { message, type: 'invalid_request_error', param: null, code: null } })],
];
const generates = ({ path, body }: FakeRequest): boolean => /completions?$|generate_stream$/.test(path) && body !== '{}';

describe('a daemon in front of each engine', () => {
	let daemon: Daemon;
	const until = async (reached: () => boolean): Promise<void> => {
		while (!reached()) await new Promise(setImmediate);
	};
	before(async () => {
		const pools = [];
		for (const [engine, { server }] of engines) {
			server.key = key;
			const model = engine === 'triton' ? { model: 'vllm_model' } : {};
			const own = { id: engine, engine, provider: 'external', url: await server.listen(), key_env: 'ENGINE_KEY', ...model };
			pools.push({ ...own, slots: 2, ctx: 100_000, max_tokens_out: 50_000, timeouts: { idle_ms: 400 } });
		}
		daemon = await startDaemon({ args: ['--log-level', 'debug'], config: { pools }, env: { ENGINE_KEY: key } });
	});
	after(async () => {
		assert.equal(await daemon.stop(), 0);
		for (const [, { server }] of engines) await server.close();
		assert.ok(!daemon.output().includes(key));
	});

	for (const [engine, { server, slots }, error] of engines) {
		const ask = (): Readonly<Record<string, unknown>> => ({
			model_ref: engine,
			prompt: `${planted('prompt')} Once upon a time`,
			raw: true,
			max_tokens: 40_000,
			sampling: { temperature: 0 },
		});
		/** The last event of a task, with the answer of the engine in place of its own. */
		const fails = async (
			task: Readonly<Record<string, unknown>>,
			status: number,
			retryAfter?: string,
		): Promise<Record<string, unknown>> => {
			const body = JSON.stringify(error(`no ${String(task['prompt'])} with ${key}`));
			server.fault({ kind: 'status', status, body, headers: retryAfter === undefined ? {} : { 'retry-after': retryAfter } }, generates);
			const { task_id: id } = await submit(daemon.url, task);
			const seen = await (await Watch.open(daemon.url, id)).all();
			assert.equal(seen.at(-1)?.name, 'error');
			return seen.at(-1)?.data ?? {};
		};

		it(`tells the failures of ${engine} by their codes, once, and when to come back`, async () => {
			const asked = server.asked.length;
			for (const [status, code, retriable] of [
				[400, 'INVALID_PARAMS', false],
				[401, 'POOL_UNAVAILABLE', false],
				[413, 'PAYLOAD_TOO_LARGE', false],
				[429, 'ADMISSION_REJECT', true],
				[500, 'WORKER_RESET', true],
			] as const) {
				const told = await fails(ask(), status, status === 429 ? '7' : undefined);
				assert.deepEqual([told['code'], told['retriable']], [code, retriable]);
				if (status === 429) assert.equal(told['retry_after_ms'], 7_000);
				assert.doesNotMatch(JSON.stringify(told), /planted|Once upon/);
			}
			assert.equal(server.asked.slice(asked).filter(generates).length, 5, 'none was asked for again');
		});

		it(`passes the time of ${engine} on to a client of OpenAI's API`, async () => {
			server.fault({ kind: 'status', status: 429, headers: { 'retry-after': '7' }, body: JSON.stringify(error('full')) }, generates);
			const body = JSON.stringify({ model: engine, prompt: 'Once', max_tokens: 4 });
			const answer = await fetch(`${daemon.url}/v1/completions`, { method: 'POST', body, headers: { 'content-type': 'application/json' } });
			assert.deepEqual([answer.status, answer.headers.get('retry-after'), answer.headers.get('x-backoff-ms')], [429, '7', '7000']);
		});

		it(`ends a task whose ${engine} stalls with DECODE_TIMEOUT, and one that breaks off with WORKER_RESET`, async () => {
			for (const [ending, code] of [
				['hold', 'DECODE_TIMEOUT'],
				['reset', 'WORKER_RESET'],
			] as const) {
				server.fault({ kind: 'cut', afterEvents: 6, ending }, generates);
				const { task_id: id } = await submit(daemon.url, { ...ask(), determinism: 'strict' });
				const seen = await (await Watch.open(daemon.url, id)).all();
				assert.ok(seen.some(({ name }) => name === 'token'));
				assert.deepEqual([seen.at(-1)?.name, seen.at(-1)?.data['code']], ['error', code]);
				await until(() => slots.busy === 0);
			}
		});

		it(`leaves ${engine} when its client leaves: the connection is closed, and the slot is free`, async () => {
			const away = new AbortController();
			const answer = await fetch(`${daemon.url}/v1/completions`, {
				method: 'POST',
				body: JSON.stringify({ model: engine, prompt: 'Once', max_tokens: 40_000, stream: true }),
				headers: { 'content-type': 'application/json' },
				signal: away.signal,
			});
			const reader = answer.body?.getReader();
			await reader?.read();
			await until(() => slots.busy === 1);
			away.abort();
			await until(() => slots.busy === 0);
			assert.ok(server.left.includes(server.asked.findLast(generates)?.connection ?? -1));
			const { task_id: id } = await submit(daemon.url, { ...ask(), max_tokens: 2 });
			assert.equal((await (await Watch.open(daemon.url, id)).all()).at(-1)?.name, 'end');
		});

		it(`has asked as ${engine} specifies`, () => assert.deepEqual(server.strayed, []));
	}
});
