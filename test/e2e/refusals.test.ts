/**
 * Each code of failure, as a client of a real daemon meets it: over HTTP, where an event stream was asked for or runs, and over a
 * WebSocket. A code that is missing here does not compile.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type FailureCode, failureCodes } from '../../src/actors/serving/failure.ts';
import { signerKey } from '../fixtures/signed-model.ts';
import { postJson, submit, Watch } from './client.ts';
import { type Daemon, repository, startDaemon } from './daemon.ts';
import { SocketClient } from './socket-client.ts';

type Json = Readonly<Record<string, unknown>>;

/** An answer that refuses. A message of a WebSocket has neither a status nor headers. */
interface Refusal {
	readonly status: number | null;
	readonly headers: Headers | null;
	readonly body: Json;
}

/** What brings the code about; `prepare` comes first, once. */
interface Provoked {
	readonly status: number;
	readonly retriable: boolean;
	readonly policy?: string;
	readonly prepare?: () => Promise<void>;
	/** A submission that is refused with it. */
	readonly refused?: () => Json;
	/** A submission that is taken, and ends with it. */
	readonly inStream?: () => Json;
	/** Ways of its own. */
	readonly ways?: Readonly<Record<string, () => Promise<Refusal>>>;
}

let daemon: Daemon;
let socket: SocketClient;
let refs = 0;

/** A model that nobody has signed, and the key of whoever would have to. */
const folder = mkdtempSync(join(tmpdir(), 'orchestratord-refusals-'));
cpSync(join(repository, 'models', 'tiny-chat.gguf'), join(folder, 'unsigned.gguf'));
writeFileSync(join(folder, 'team.pub'), signerKey);

const endless = { prefill_tokens_per_s: 1e6, decode_tokens_per_s: 20, tokens: 60_000 };
const one = { engine: 'scripted', slots: 1, max_tokens_out: 60_000, ctx: 65_536 };
const config = {
	pools: [
		{
			id: 'plain',
			engine: 'scripted',
			model: 'scripted:plain',
			slots: 8,
			timeouts: { first_token_ms: 1_000 },
			scripted: {
				prefill_tokens_per_s: 1e6,
				decode_tokens_per_s: 1e6,
				tokens: 4,
				faults: [
					{ kind: 'stall', prompt_contains: 'stall' },
					{ kind: 'error', prompt_contains: 'error' },
				],
			},
		},
		{ ...one, id: 'reject', model: 'scripted:reject', scripted: endless, queue: { capacity: 8, bytes_max: 12_000 } },
		{ ...one, id: 'drop', model: 'scripted:drop', scripted: endless, queue: { capacity: 1, full_policy: 'drop-lru' } },
		{ id: 'chat' },
		{ id: 'unsigned', model: `file:${join(folder, 'unsigned.gguf')}`, slots: 1 },
		{ ...one, id: 'broken', model: 'scripted:broken', scripted: { ...endless, faults: [{ kind: 'error' }] } },
	],
	// What comes with the program is its own.
	catalog: { trust: { mode: 'strict', require_signature: true, public_keys: [join(folder, 'team.pub')] } },
	tasks: { retention_count: 30 },
	limits: { body_bytes: 100_000, ws_message_bytes: 100_000 },
	shutdown: { grace_ms: 100 },
};

const plain = { model_ref: 'plain', prompt: 'x' };

async function refusalOf(response: Response): Promise<Refusal> {
	const text = await response.text();
	assert.notEqual(text, '', `status ${response.status}`);
	return { status: response.status, headers: response.headers, body: JSON.parse(text) as Json };
}

const get = async (path: string, headers: Record<string, string> = {}): Promise<Refusal> =>
	refusalOf(await fetch(`${daemon.url}${path}`, { headers }));
const post = async (body: unknown, headers: Record<string, string> = {}, path = '/v2/tasks'): Promise<Refusal> =>
	refusalOf(await postJson(daemon.url, path, body, headers));
const wantsEvents = { accept: 'text/event-stream' };

/** OpenAI paths have the same envelope in one of theirs. */
function unwrapped({ body, ...refusal }: Refusal): Refusal {
	return { ...refusal, body: body['error'] as Json };
}

async function rejected(message: Json): Promise<Refusal> {
	const ref = `r${++refs}`;
	socket.say({ ...message, ref });
	const answer = await socket.until((heard) => heard.ref === ref && heard.event !== 'pong');
	assert.equal(answer.event, 'rejected', JSON.stringify(answer));
	return { status: null, headers: null, body: answer.data ?? {} };
}

async function upgradeRefused(options: ConstructorParameters<typeof SocketClient>[1]): Promise<Refusal> {
	const client = new SocketClient(daemon.url, options);
	const [, response] = (await once(client.socket, 'unexpected-response')) as [
		unknown,
		AsyncIterable<Buffer> & { readonly statusCode: number; readonly headers: Record<string, string> },
	];
	const parts: Buffer[] = [];
	for await (const part of response) parts.push(part);
	return {
		status: response.statusCode,
		headers: new Headers(response.headers),
		body: JSON.parse(Buffer.concat(parts).toString('utf8')) as Json,
	};
}

/** The last event of the stream that a submission is answered with. */
async function streamed(task: Json): Promise<Json> {
	const response = await postJson(daemon.url, '/v2/tasks', task, wantsEvents);
	assert.equal(response.status, 200, 'after it has opened, the status stays 200');
	const text = await response.text();
	const events = [...text.matchAll(/^event: (\w+)\ndata: (.*)$/gm)].filter(([, name]) => name !== 'metrics');
	const [, name, data] = events.at(-1) ?? [];
	assert.equal(name, 'error', text);
	assert.ok(!events.slice(0, -1).some(([, each]) => each === 'error' || each === 'end'));
	return JSON.parse(data ?? '') as Json;
}

async function socketError(task: Json): Promise<Json> {
	const ref = `r${++refs}`;
	socket.say({ op: 'submit', ref, task });
	const { task_id: id } = await socket.until((heard) => heard.ref === ref);
	const last = await socket.until((heard) => heard.task_id === id && (heard.event === 'error' || heard.event === 'end'));
	assert.equal(last.event, 'error', JSON.stringify(last));
	return last.data ?? {};
}

/** A task that succeeds: failures in a row would have its replica left alone. */
async function succeeds(): Promise<string> {
	const { task_id: id } = await submit(daemon.url, plain);
	assert.equal((await (await Watch.open(daemon.url, id)).all()).at(-1)?.name, 'end');
	return id;
}

let known = '';
let expired = '';

const provoked: Readonly<Record<FailureCode, Provoked | string>> = {
	INVALID_PARAMS: {
		status: 400,
		retriable: false,
		refused: () => ({ ...plain, max_tokens: 60_000 }),
		ways: {
			'a pin to no pool': () => post({ ...plain, placement: { pin_pool_id: 'nobody' } }),
			'a pin without a pool': () => post({ ...plain, placement: { mode: 'pin' } }),
			'a pin to a pool that is to be avoided': () => post({ ...plain, placement: { pin_pool_id: 'plain', avoid_pools: ['plain'] } }),
			'ws submit with a pin to no pool': () => rejected({ op: 'submit', task: { ...plain, placement: { pin_pool_id: 'nobody' } } }),
			'GET events': () => get(`/v2/tasks/${known}/events`, { 'last-event-id': '999' }),
			'ws watch': () => rejected({ op: 'watch', task_id: known, after: 999 }),
			'ws upgrade': () => upgradeRefused({ protocol: 'soap' }),
		},
	},
	DEADLINE_UNMET: {
		status: 400,
		retriable: false,
		refused: () => ({ ...plain, deadline_ms: 0 }),
		// Behind one that does not end, in a pool of which nothing is measured.
		prepare: async () => {
			const { task_id: id } = await submit(daemon.url, { model_ref: 'reject', prompt: 'x' });
			await (await Watch.open(daemon.url, id)).until('token');
		},
		// Long enough to be let in on a busy machine.
		inStream: () => ({ model_ref: 'reject', prompt: 'x', deadline_ms: 400 }),
	},
	UNAUTHORIZED: {
		status: 401,
		retriable: false,
		ways: {
			'POST register': async () =>
				refusalOf(
					await fetch(`${daemon.url}/v2/workers/register`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' }),
				),
		},
	},
	FORBIDDEN: {
		status: 403,
		retriable: false,
		ways: {
			POST: () => post(plain, { origin: 'https://evil.example' }),
			'GET events': () => get(`/v2/tasks/${known}/events`, { origin: 'https://evil.example' }),
			'ws upgrade': () => upgradeRefused({ headers: { origin: 'https://evil.example' } }),
		},
	},
	NOT_FOUND: {
		status: 404,
		retriable: false,
		refused: () => ({ ...plain, model_ref: 'nobody' }),
		ways: {
			'GET events': () => get(`/v2/tasks/${crypto.randomUUID()}/events`),
			'ws watch': () => rejected({ op: 'watch', task_id: crypto.randomUUID() }),
			'GET a pool': () => get('/v2/pools/nobody'),
			'GET /v1/replicasets': async () => unwrapped(await get('/v1/replicasets')),
			'POST /v1/replicasets': async () => unwrapped(await post({}, {}, '/v1/replicasets')),
		},
	},
	CONFLICT: { status: 409, retriable: false, refused: () => ({ ...plain, task_id: known, prompt: 'another' }) },
	EVENTS_EXPIRED: {
		status: 410,
		retriable: false,
		prepare: async () => {
			expired = await succeeds();
			// Those of the last second are kept, however many they are; and each front thread keeps its share of them.
			const until = performance.now() + 20_000;
			do {
				assert.ok(performance.now() < until, 'it is kept for ever');
				await Promise.all(Array.from({ length: 16 }, succeeds));
				await new Promise((resolve) => setTimeout(resolve, 300));
			} while ((await fetch(`${daemon.url}/v2/tasks/${expired}`)).status === 200);
		},
		ways: {
			'GET the task': () => get(`/v2/tasks/${expired}`),
			'GET events': () => get(`/v2/tasks/${expired}/events`),
			'GET result': () => get(`/v2/tasks/${expired}/result`),
			'ws watch': () => rejected({ op: 'watch', task_id: expired }),
		},
	},
	CANCELED: 'is for other APIs, which have no end for it: test/e2e/openai-sdk.test.ts',
	MODEL_DEPRECATED: {
		status: 409,
		retriable: false,
		prepare: async () => {
			const state = '/v2/catalog/models/builtin%3Atiny-chat/state';
			assert.equal((await postJson(daemon.url, state, { state: 'Retired', deadline_ms: 0 })).status, 202);
			// The control thread is told behind the answer.
			while ((await postJson(daemon.url, '/v2/tasks', { model_ref: 'chat', prompt: 'x', max_tokens: 1 })).status === 202);
		},
		refused: () => ({ model_ref: 'chat', prompt: 'x', max_tokens: 1 }),
		ways: { undrain: () => post({}, {}, '/v2/pools/chat/undrain') },
	},
	PAYLOAD_TOO_LARGE: {
		status: 413,
		retriable: false,
		// On a WebSocket it is no answer but its end, with 1009.
		ways: {
			POST: () => post({ ...plain, prompt: 'x '.repeat(60_000) }),
			'POST for events': () => post({ ...plain, prompt: 'x '.repeat(60_000) }, wantsEvents),
		},
	},
	UNTRUSTED_ARTIFACT: {
		status: 400,
		retriable: false,
		// Its bytes are read first.
		prepare: async () => {
			while ((await postJson(daemon.url, '/v2/tasks', { model_ref: 'unsigned', prompt: 'x', max_tokens: 1 })).status !== 400)
				await new Promise((resolve) => setTimeout(resolve, 50));
		},
		refused: () => ({ model_ref: 'unsigned', prompt: 'x', max_tokens: 1 }),
	},
	ADMISSION_REJECT: {
		status: 429,
		retriable: true,
		policy: 'reject',
		// Its queue has room for eight tasks, but not for so many bytes.
		prepare: async () => {
			await submit(daemon.url, { model_ref: 'reject', prompt: 'x '.repeat(4_000) });
		},
		refused: () => ({ model_ref: 'reject', prompt: 'x '.repeat(2_000) }),
	},
	QUEUE_FULL_DROP_LRU: {
		status: 429,
		retriable: true,
		policy: 'drop-lru',
		prepare: async () => {
			const { task_id: id } = await submit(daemon.url, { model_ref: 'drop', prompt: 'x' });
			await (await Watch.open(daemon.url, id)).until('started');
			await submit(daemon.url, { model_ref: 'drop', prompt: 'waits' });
		},
		refused: () => ({ model_ref: 'drop', prompt: 'x', priority: 'batch' }),
		inStream: () => {
			// Dropped for a newcomer, once it is there.
			const task = { model_ref: 'drop', prompt: 'x', task_id: crypto.randomUUID() };
			void newcomerBehind(task.task_id);
			return task;
		},
	},
	POOL_UNREADY: {
		status: 503,
		retriable: true,
		prepare: async () => {
			assert.equal((await postJson(daemon.url, '/v2/pools/reject/drain', { deadline_ms: 60_000 })).status, 202);
		},
		refused: () => ({ model_ref: 'reject', prompt: 'x' }),
	},
	POOL_UNAVAILABLE: { status: 503, retriable: true, refused: () => ({ ...plain, placement: { avoid_pools: ['plain'] } }) },
	REPLICA_EXHAUSTED: {
		status: 503,
		retriable: true,
		prepare: async () => {
			for (let failures = 0; failures < 5; failures += 1) {
				assert.equal((await streamed({ model_ref: 'broken', prompt: 'x' }))['code'], 'WORKER_RESET');
			}
			// A front that hears of it may be another than the one that is asked.
			const until = performance.now() + 20_000;
			for (let times = 0; times < 10; times += 1) {
				while (!(await (await fetch(`${daemon.url}/v2/pools/broken`)).text()).includes('"breaker":"open"'))
					assert.ok(performance.now() < until);
			}
		},
		refused: () => ({ model_ref: 'broken', prompt: 'x' }),
	},
	DECODE_TIMEOUT: { status: 504, retriable: true, inStream: () => ({ ...plain, prompt: 'stall' }) },
	WORKER_RESET: { status: 502, retriable: true, inStream: () => ({ ...plain, prompt: 'error' }) },
	INTERNAL: 'only a bug makes one: test/transport/native-api.test.ts, and in a stream test/serving/task-endings.test.ts',
};

async function newcomerBehind(taskId: string): Promise<void> {
	const until = performance.now() + 20_000;
	while ((await fetch(`${daemon.url}/v2/tasks/${taskId}`)).status !== 200) {
		assert.ok(performance.now() < until);
		await new Promise((resolve) => setTimeout(resolve, 5));
	}
	await submit(daemon.url, { model_ref: 'drop', prompt: 'newcomer' });
}

/** Whole seconds, rounded up, and never more than half a minute: what is longer is asked for again. */
function checkBackoff(headers: Headers, status: number, body: Json): void {
	const wanted = status === 429 || (status === 503 && body['retriable'] === true);
	if (!wanted) {
		assert.deepEqual([headers.get('retry-after'), headers.get('x-backoff-ms')], [null, null]);
		return;
	}
	const backoffMs = Number(body['retry_after_ms']);
	assert.ok(Number.isInteger(backoffMs) && backoffMs >= 0, JSON.stringify(body));
	assert.equal(headers.get('x-backoff-ms'), String(backoffMs));
	assert.equal(headers.get('retry-after'), String(Math.min(30, Math.max(1, Math.ceil(backoffMs / 1000)))));
}

function checkBody(body: Json, code: FailureCode, { retriable, status, policy }: Provoked): void {
	assert.deepEqual([body['code'], body['retriable']], [code, retriable], JSON.stringify(body));
	assert.ok(typeof body['message'] === 'string' && body['message'].length > 0);
	if (status === 429 || (status === 503 && retriable)) assert.ok(Number(body['retry_after_ms']) >= 0, JSON.stringify(body));
	if (policy !== undefined && body['correlation_id'] !== undefined) assert.equal(body['policy_label'], policy);
}

function check({ status, headers, body }: Refusal, code: FailureCode, wanted: Provoked): void {
	checkBody(body, code, wanted);
	assert.equal(typeof body['correlation_id'], 'string');
	if (status === null || headers === null) return;
	assert.equal(status, wanted.status, JSON.stringify(body));
	assert.equal(headers.get('x-correlation-id'), body['correlation_id']);
	assert.equal(headers.get('content-type'), 'application/json');
	checkBackoff(headers, status, body);
}

describe('a failure', () => {
	before(async () => {
		daemon = await startDaemon({ config });
		socket = await SocketClient.open(daemon.url);
	});
	after(async () => {
		socket.socket.terminate();
		await daemon.stop();
		rmSync(folder, { recursive: true });
	});

	for (const code of failureCodes) {
		const wanted = provoked[code];
		if (typeof wanted === 'string') continue;
		it(`is ${code} with its status, envelope and time to come back, over each way that it is met on`, async () => {
			known = await succeeds();
			await wanted.prepare?.();
			if (wanted.refused !== undefined) {
				check(await post(wanted.refused()), code, wanted);
				check(await post(wanted.refused(), wantsEvents), code, wanted);
				check(await rejected({ op: 'submit', task: wanted.refused() }), code, wanted);
			}
			if (wanted.inStream !== undefined) {
				checkBody(await streamed(wanted.inStream()), code, wanted);
				await succeeds();
				checkBody(await socketError(wanted.inStream()), code, wanted);
				await succeeds();
				const { task_id: id } = await submit(daemon.url, wanted.inStream());
				check(await get(`/v2/tasks/${id}/result`), code, wanted);
				await succeeds();
			}
			for (const way of Object.values(wanted.ways ?? {})) check(await way(), code, wanted);
		});
	}

	it('of tasks leaves those alone who ask about the daemon: they wait in no queue', async () => {
		check(
			await post({ model_ref: 'drop', prompt: 'x', priority: 'batch' }),
			'QUEUE_FULL_DROP_LRU',
			provoked.QUEUE_FULL_DROP_LRU as Provoked,
		);
		const paths = ['/v2/pools', '/v2/pools/drop/health', '/v2/tasks', '/v2/meta/capabilities', '/v2/meta/version', '/health', '/metrics'];
		for (const path of paths) {
			const response = await fetch(`${daemon.url}${path}`);
			assert.equal(response.status, 200, path);
			await response.text();
		}
		const preview = await postJson(daemon.url, '/v2/tasks/preview', { model_ref: 'drop', prompt: 'x', priority: 'batch' });
		assert.deepEqual([preview.status, ((await preview.json()) as Json)['feasible']], [200, false]);
	});
});
