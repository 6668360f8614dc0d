/** The native API over the real server: every path, its headers, its answers held to the published schemas. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { failure, failureCodes } from '../../src/actors/serving/failure.ts';
import { openaiErrorSchema } from '../../src/transport/api/openai/answer-schemas.ts';
import * as schemas from '../../src/transport/api/response-schemas.ts';
import { threadLog } from '../../src/transport/telemetry/logs.ts';
import { threadTelemetry } from '../../src/transport/telemetry/metrics.ts';
import { decisionRecord } from '../serving/summaries.ts';
import { standingAt, taskRequest } from './fake-task.ts';
import { json, refused } from './published-answers.ts';
import { dechunked } from './raw-client.ts';
import { poolView, startFront, type TestFront } from './test-front.ts';

let front: TestFront;
before(async () => {
	front = await startFront();
});
after(() => front.close());
afterEach(() => {
	front.tasks.answer = 'open';
	front.tasks.delivery = 'accepted';
	front.tasks.pools = [poolView()];
	front.tasks.controlReachable = true;
	assert.deepEqual(front.lines.filter(({ level }) => level === 'error').splice(0), []);
});

const body = { model_ref: 'default', prompt: 'hello' };
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

function newTask() {
	const id = crypto.randomUUID();
	return { id, task: front.tasks.add(taskRequest({ taskId: id })) };
}

describe('POST /v2/tasks', () => {
	it('answers 202 with the id, the place, the links and no preparation when the pool is ready', async () => {
		const accepted = await json(await front.post('/v2/tasks', body), 202, schemas.acceptedSchema);
		const id = String(accepted['task_id']);
		assert.match(id, uuid);
		assert.deepEqual(accepted, {
			task_id: id,
			queue_position: 3,
			predicted_start_ms: 300,
			predicted_end_ms: 350,
			predicted_start_p90_ms: 600,
			predicted_end_p90_ms: 700,
			estimated: 'prior',
			backoff_ms: 0,
			pool_id: 'p1',
			streams: { sse: `/v2/tasks/${id}/events`, sse_verbose: `/v2/tasks/${id}/events?verbose=true`, websocket: '/v2/ws' },
			preparation: { steps: [] },
		});
	});

	it('tells the probability of being on time when there is a deadline, and what a starting pool has to do', async () => {
		front.tasks.standing = { ...standingAt(3), warmUp: { status: 'waiting', leftMs: 2_345.6, fetch: null } };
		const accepted = await json(await front.post('/v2/tasks', { ...body, deadline_ms: 5000 }), 202, schemas.acceptedSchema);
		assert.equal(accepted['on_time_probability'], 0.5);
		const { steps } = accepted['preparation'] as { steps: Record<string, unknown>[] };
		assert.deepEqual(
			steps.map(({ kind, status, estimated_ms: ms }) => ({ kind, status, ms })),
			[{ kind: 'pool_warmup', status: 'waiting', ms: 2_346 }],
		);
		front.tasks.standing = { ...standingAt(3), warmUp: { status: 'running', leftMs: null, fetch: null } };
		const unknown = await json(await front.post('/v2/tasks', body), 202, schemas.acceptedSchema);
		assert.equal((unknown['preparation'] as { steps: Record<string, unknown>[] }).steps[0]?.['estimated_ms'], null);
		front.tasks.standing = standingAt(3);
	});

	it('takes the body of curl, which calls it a form', async () => {
		const response = await front.post('/v2/tasks', body, { 'content-type': 'application/x-www-form-urlencoded' });
		await json(response, 202, schemas.acceptedSchema);
	});

	it('counts what it refuses before any task has seen it', async () => {
		front.counted.length = 0;
		await refused(await front.post('/v2/tasks', { ...body, max_tokens: 0 }), 400, 'INVALID_PARAMS');
		await refused(await front.post('/v2/tasks', { ...body, deadline_ms: 0 }), 400, 'DEADLINE_UNMET');
		await refused(await front.post('/v2/tasks', { ...body, prompt: 'x'.repeat(1_000_001) }), 413, 'PAYLOAD_TOO_LARGE');
		front.tasks.delivery = 'full';
		await refused(await front.post('/v2/tasks', body), 503, 'POOL_UNREADY');
		await front.post('/v2/tasks/preview', { ...body, max_tokens: 0 });
		assert.deepEqual(
			front.counted,
			['INVALID_PARAMS', 'DEADLINE_UNMET', 'PAYLOAD_TOO_LARGE', 'POOL_UNREADY'].map((code) => `tasks_rejected_total ${code}`),
		);
	});

	it('hands over the headers that belong to the task', async () => {
		const headers = { 'idempotency-key': 'key-1', 'x-correlation-id': 'corr.1' };
		const response = await front.post('/v2/tasks', body, headers);
		assert.equal(response.headers.get('x-correlation-id'), 'corr.1');
		await response.json();
		const request = front.tasks.requests.at(-1);
		assert.equal(request?.idempotencyKey, 'key-1');
		assert.equal(request?.correlationId, 'corr.1');
	});

	it('gives every failure its status, its envelope, and its backoff where it may be tried again', async () => {
		const statuses = new Map<string, number>();
		for (const code of failureCodes) {
			front.tasks.answer = failure(code, 'as asked', { poolId: 'p1', engine: 'scripted', retryAfterMs: 1234, policyLabel: 'reject' });
			const response = await front.post('/v2/tasks', body);
			statuses.set(code, response.status);
			const envelope = await refused(response, response.status, code);
			assert.equal(envelope['pool_id'], 'p1');
			const backs = response.status === 429 || response.status === 503;
			assert.equal(response.headers.get('retry-after'), backs ? '2' : null, code);
			assert.equal(response.headers.get('x-backoff-ms'), backs ? '1234' : null);
			if (backs) assert.equal(envelope['retry_after_ms'], 1234);
		}
		const wanted = [400, 400, 401, 403, 404, 409, 410, 410, 409, 413, 400, 429, 429, 503, 503, 503, 504, 502, 500];
		assert.deepEqual([...statuses.values()], wanted);
		front.tasks.answer = failure('ADMISSION_REJECT', 'for long', { retryAfterMs: 100_000 });
		const long = await front.post('/v2/tasks', body);
		assert.equal(long.headers.get('retry-after'), '30');
		assert.equal(long.headers.get('x-backoff-ms'), '100000');
		await long.json();
		front.tasks.answer = failure('POOL_UNAVAILABLE', 'never fits', { retriable: false });
		assert.equal((await front.post('/v2/tasks', body)).headers.get('retry-after'), null);
	});

	it('says so when the scheduler is full or gone', async () => {
		for (const delivery of ['full', 'closed'] as const) {
			front.tasks.delivery = delivery;
			await refused(await front.post('/v2/tasks', body), 503, 'POOL_UNREADY');
		}
	});

	it('refuses broken, huge, empty and misnamed bodies in words', async () => {
		assert.match(String((await refused(await front.post('/v2/tasks', '{"model_ref"'), 400, 'INVALID_PARAMS'))['message']), /line 1/);
		await refused(await front.post('/v2/tasks', ''), 400, 'INVALID_PARAMS');
		await refused(await front.post('/v2/tasks', { ...body, prompt: 'x'.repeat(1_000_001) }), 413, 'PAYLOAD_TOO_LARGE');
		await refused(await front.post('/v2/tasks', { ...body, max_tokns: 1 }), 400, 'INVALID_PARAMS');
		await refused(await front.post('/v2/tasks', { ...body, deadline_ms: 0 }), 400, 'DEADLINE_UNMET');
	});

	it('answers any JSON with an envelope or a 202, and stays up', async () => {
		await fc.assert(
			fc.asyncProperty(fc.json(), fc.boolean(), async (text, cut) => {
				const response = await front.post('/v2/tasks', cut ? text.slice(0, -1) : text);
				const envelope = await json(response, response.status, schemas.envelopeSchema);
				assert.equal(response.status, 400);
				assert.ok(String(envelope['message']).length < 2000);
			}),
			{ numRuns: 60 },
		);
	});
});

describe('every answer', () => {
	it('carries a correlation id: the one that was sent when it is well-formed, else a new one', async () => {
		const paths = ['/health', '/nowhere', '/v2/tasks/x', '/v2/pools', '/openapi.json', '/ready', '/metrics'];
		for (const path of paths) {
			const own = await front.fetch(path);
			assert.match(own.headers.get('x-correlation-id') ?? '', uuid, path);
			await own.arrayBuffer();
			const given = await front.fetch(path, { headers: { 'x-correlation-id': 'A-b_c.9' } });
			assert.equal(given.headers.get('x-correlation-id'), 'A-b_c.9');
			await given.arrayBuffer();
		}
		for (const bad of ['', 'a b', 'x'.repeat(65), 'ä', '{}']) {
			const c = await front.raw();
			const answer = await c.exchange(
				Buffer.from(`GET /health HTTP/1.1\r\nHost: 127.0.0.1:${front.port}\r\nX-Correlation-Id: ${bad}\r\n\r\n`),
			);
			assert.match(/x-correlation-id: (.*)\r/i.exec(answer)?.[1] ?? '', uuid, bad);
		}
		const deleted = await front.fetch(`/v2/tasks/${crypto.randomUUID()}`, { method: 'DELETE', headers: { 'x-correlation-id': 'del' } });
		assert.equal(deleted.status, 204);
		assert.equal(deleted.headers.get('x-correlation-id'), 'del');
	});

	it('is 404 for unknown paths, 405 with Allow for unknown methods, 204 for OPTIONS, and HEAD where GET is', async () => {
		await json(await front.fetch('/v1/replicasets'), 404, openaiErrorSchema);
		for (const path of ['/', '/v2', '/v2/tasks/', '/v2/pools/none', '/v2/pools/none/health']) {
			await refused(await front.fetch(path), 404, 'NOT_FOUND');
		}
		const put = await front.fetch('/v2/tasks', { method: 'PUT', body: '{}', headers: { 'content-type': 'application/json' } });
		assert.equal(put.headers.get('allow'), 'POST, GET, HEAD, OPTIONS');
		await refused(put, 405, 'INVALID_PARAMS');
		const options = await front.fetch('/v2/tasks', { method: 'OPTIONS' });
		assert.equal(options.status, 204);
		assert.equal(options.headers.get('allow'), 'POST, GET, HEAD, OPTIONS');
		const head = await front.fetch('/v2/pools', { method: 'HEAD' });
		assert.equal(head.status, 200);
		assert.equal(await head.text(), '');
		assert.ok(Number(head.headers.get('content-length')) > 10);
	});

	it('is 403 for a foreign Host or Origin, and for a form of a web page', async () => {
		const ask = async (headers: string): Promise<string> => {
			const c = await front.raw();
			return await c.exchange(`GET /health HTTP/1.1\r\n${headers}\r\n\r\n`);
		};
		const own = `Host: localhost:${front.port}`;
		assert.match(await ask(own), /^HTTP\/1\.1 200/);
		assert.match(await ask('Host: evil.example'), /^HTTP\/1\.1 403[\s\S]*"code":"FORBIDDEN"/);
		assert.match(await ask(`${own}\r\nOrigin: http://evil.example`), /^HTTP\/1\.1 403/);
		assert.match(await ask(`${own}\r\nOrigin: null`), /^HTTP\/1\.1 403/);
		assert.match(await ask(`${own}\r\nOrigin: http://localhost:${front.port}`), /^HTTP\/1\.1 200/);
		assert.match(await ask(`${own}\r\nOrigin: http://localhost:${front.port}\r\nContent-Type: text/plain`), /^HTTP\/1\.1 403/);
		assert.match(await ask(`${own}\r\n${Array.from({ length: 60 }, (_, i) => `h${i}: v`).join('\r\n')}`), /^HTTP\/1\.1 400[\s\S]*headers/);
	});
});

describe('a known task', () => {
	it('is shown with its state and timings, never with its prompt', async () => {
		const { id, task } = newTask();
		const queued = await json(await front.fetch(`/v2/tasks/${id.toUpperCase()}`), 200, schemas.taskSchema);
		assert.equal(queued['state'], 'queued');
		assert.equal(queued['queue_position'], 0);
		await front.inTurn(() => {
			task.start();
			task.tokens('a', 'b');
			task.end();
		});
		const done = await json(await front.fetch(`/v2/tasks/${id}`), 200, schemas.taskSchema);
		assert.equal(done['state'], 'done');
		assert.equal(done['tokens_out'], 2);
		assert.equal(done['last_event_id'], 4);
		assert.equal((done['timings'] as Record<string, unknown>)['total_ms'], 20);
		assert.ok(!JSON.stringify(done).includes('prompt'));
		await refused(await front.fetch(`/v2/tasks/${crypto.randomUUID()}`), 404, 'NOT_FOUND');
		await refused(await front.fetch('/v2/tasks/none'), 404, 'NOT_FOUND');
		front.tasks.expired.add('00000000-0000-7000-8000-000000000001');
		await refused(await front.fetch('/v2/tasks/00000000-0000-7000-8000-000000000001'), 410, 'EVENTS_EXPIRED');
	});

	it('is listed, by pages and by filters', async () => {
		front.tasks.tasks.clear();
		for (let index = 0; index < 5; index++) newTask();
		const first = await json(await front.fetch('/v2/tasks?limit=3&state=queued'), 200, schemas.taskListSchema);
		assert.equal((first['tasks'] as unknown[]).length, 3);
		const second = await json(await front.fetch(`/v2/tasks?limit=3&cursor=${String(first['next_cursor'])}`), 200, schemas.taskListSchema);
		assert.equal((second['tasks'] as unknown[]).length, 2);
		assert.equal(second['next_cursor'], null);
		assert.deepEqual((await json(await front.fetch('/v2/tasks?pool_id=other'), 200, schemas.taskListSchema))['tasks'], []);
		for (const query of ['limit=0', 'limit=x', 'limit=1001', 'state=gone', 'pool=p1', 'limit=1&limit=2', 'tenant=']) {
			await refused(await front.fetch(`/v2/tasks?${query}`), 400, 'INVALID_PARAMS');
		}
		for (const cursor of ['x', '0', 'a.b', '1.2.3.4', '..', 'A.B.C', '%20']) {
			const { message } = await refused(await front.fetch(`/v2/tasks?cursor=${cursor}`), 400, 'INVALID_PARAMS');
			assert.match(String(message), /query parameter cursor is .*; it must be next_cursor of the page before/);
		}
	});

	it('is cancelled by POST and by DELETE, as often as one likes, with 204', async () => {
		for (const [method, suffix] of [
			['POST', '/cancel'],
			['DELETE', ''],
		] as const) {
			const { id, task } = newTask();
			for (let times = 0; times < 3; times++) {
				const response = await front.fetch(`/v2/tasks/${id}${suffix}`, { method });
				assert.equal(response.status, 204);
				assert.equal(response.headers.get('content-length'), null);
			}
			assert.equal(task.state, 'canceled');
			assert.equal(task.told.filter(({ type }) => type === 'cancel').length, 1);
		}
		assert.equal((await front.post(`/v2/tasks/${crypto.randomUUID()}/cancel`, {})).status, 204);
		assert.equal((await front.fetch('/v2/tasks/none/cancel', { method: 'POST' })).status, 204);
	});

	it('is explained: why it waits, and what each pool is to it', async () => {
		front.tasks.pools = [poolView(), poolView({ poolId: 'p2', model: 'other', aliases: [] }), poolView({ poolId: 'p3' })];
		const { id } = newTask();
		const explained = await json(await front.fetch(`/v2/tasks/${id}/explain`), 200, schemas.explainSchema);
		assert.match(String(explained['human']), /Queued in pool p1: next to start/);
		assert.deepEqual(
			(explained['pools'] as { pool_id: string; chosen: boolean; reason: string }[]).map((pool) => [
				pool.pool_id,
				pool.chosen,
				pool.reason,
			]),
			[
				['p1', true, 'the task waits for one of its 2 slots, chosen because the task ends there first'],
				['p2', false, 'it serves other, not default'],
				['p3', false, 'ctx is too large'],
			],
		);
		const { stages, total_us: total } = explained['decision'] as { stages: { us: number }[]; total_us: number };
		assert.equal(
			stages.reduce((sum, { us }) => sum + us, 0),
			total,
		);
	});
});

describe('the rest of the API', () => {
	it('previews a task with the dispatcher and enqueues nothing', async () => {
		const before = front.tasks.requests.length;
		const answering = front.post('/v2/tasks/preview', { ...body, deadline_ms: 9000 });
		while (front.dispatched.length === 0) await front.fetch('/health').then((response) => response.arrayBuffer());
		const command = front.dispatched.pop();
		assert.ok(command?.type === 'preview');
		assert.equal(command.summary.modelRef, 'default');
		assert.ok(!JSON.stringify(command.summary).includes('hello'), 'a summary holds no prompt');
		command.replyTo.tell({
			type: 'would-queue',
			poolId: 'p1',
			engine: 'scripted',
			standing: {
				position: 1,
				at: 0,
				predictedStartMs: 2,
				predictedEndMs: 3,
				predictedStartP90Ms: 4,
				predictedEndP90Ms: 6,
				estimated: 'measured',
				queueDepth: 1,
				warmUp: null,
			},
			onTimeProbability: 1,
			decision: decisionRecord,
		});
		assert.equal((await json(await answering, 200, schemas.previewSchema))['feasible'], true);
		assert.equal(front.tasks.requests.length, before);
		await refused(await front.post('/v2/tasks/preview', { prompt: 'x' }), 400, 'INVALID_PARAMS');
	});

	it('tokenizes with a running replica of the model', async () => {
		const tokenized = await json(await front.post('/v2/tokenize', { model_ref: 'default', text: 'hi' }), 200, schemas.tokenizedSchema);
		assert.deepEqual(tokenized, { model_ref: 'default', pool_id: 'p1', count: 1, tokens: [{ id: 5, text: 'hi' }] });
		await refused(await front.post('/v2/tokenize', { model_ref: 'nobody', text: 'hi' }), 404, 'NOT_FOUND');
		await refused(await front.post('/v2/tokenize', { model_ref: 'default', txt: 'hi' }), 400, 'INVALID_PARAMS');
		front.tasks.pools = [poolView({ state: 'starting', replicas: [] })];
		await refused(await front.post('/v2/tokenize', { model_ref: 'default', text: 'hi' }), 503, 'POOL_UNREADY');
	});

	it('shows pools, their health and what the engines can do, but not how to reach them', async () => {
		const pools = await json(await front.fetch('/v2/pools'), 200, schemas.poolListSchema);
		assert.ok(!JSON.stringify(pools).includes('SECRET'));
		await json(await front.fetch('/v2/pools/p1'), 200, schemas.poolSchema);
		const health = await json(await front.fetch('/v2/pools/p1/health'), 200, schemas.poolHealthSchema);
		assert.deepEqual(health, {
			live: true,
			ready: true,
			ready_in_ms: null,
			draining: false,
			metrics: { queue_depth: 3, slots_total: 2, slots_free: 1 },
			last_error: null,
		});
		const capabilities = await json(await front.fetch('/v2/meta/capabilities'), 200, schemas.capabilitiesSchema);
		assert.equal(capabilities['api_version'], '2.0.0');
		assert.equal((capabilities['engines'] as { slots_total: number }[])[0]?.slots_total, 2);
		const version = await json(await front.fetch('/v2/meta/version'), 200, schemas.versionSchema);
		assert.equal(version['version'], '1.2.3');
	});

	it('is ready while a pool is, and says why when none is', async () => {
		assert.equal((await json(await front.fetch('/ready'), 200, schemas.readySchema))['ready'], true);
		front.tasks.pools = [poolView({ state: 'failed', lastError: 'no such file' })];
		const failed = await front.fetch('/ready');
		assert.equal(failed.headers.get('retry-after'), '1');
		assert.match(String((await refused(failed, 503, 'POOL_UNREADY'))['message']), /pool p1 has failed: no such file/);
		front.tasks.controlReachable = false;
		assert.match(String((await refused(await front.fetch('/ready'), 503, 'POOL_UNREADY'))['message']), /scheduler/);
		await json(await front.fetch('/health'), 200, schemas.healthSchema);
	});

	it('gives the metrics of all threads as Prometheus reads them', async () => {
		const log = threadLog({ thread: 't', level: 'error' });
		const threads = ['a', 'b'].map((thread) => threadTelemetry({ thread, log }));
		for (const telemetry of threads) telemetry.count('tasks_rejected_total', { engine: '', reason: 'NOT_FOUND' }, 2);
		front.metrics = () => Promise.all(threads.map((telemetry) => telemetry.snapshot()));
		const response = await front.fetch('/metrics');
		assert.equal(response.status, 200);
		assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
		const text = await response.text();
		assert.match(text, /^tasks_rejected_total\{engine="",reason="NOT_FOUND"\} 4$/m);
		assert.match(text, /^# TYPE latency_first_token_ms histogram$/m);
		assert.equal(await (await front.fetch('/metrics')).text(), text, 'a scrape changes nothing');
		for (const telemetry of threads) telemetry.close();
	});

	it('publishes what it checks as OpenAPI 3.1', async () => {
		const document = (await (await front.fetch('/openapi.json')).json()) as {
			openapi: string;
			paths: Record<string, Record<string, { requestBody?: { content: Record<string, { schema: unknown }> } }>>;
		};
		assert.equal(document.openapi, '3.1.0');
		const schema = document.paths['/v2/tasks']?.['post']?.requestBody?.content['application/json']?.schema as {
			properties: Record<string, unknown>;
			required: string[];
		};
		assert.deepEqual(schema.required, ['model_ref']);
		assert.equal(Object.keys(schema.properties).length, 29);
		assert.ok(!JSON.stringify(document).includes('"secret"'));
		assert.ok(document.paths['/v2/tasks/{id}/events']?.['get'] !== undefined);
	});
});

describe('a front', () => {
	it('answers 500 to a bug, says nothing of it, logs it under the correlation id, and goes on', async () => {
		const own = await startFront();
		own.metrics = () => Promise.reject(new Error('SECRET-BUG'));
		const later = await own.fetch('/metrics', { headers: { 'x-correlation-id': 'bug-1' } });
		assert.doesNotMatch(JSON.stringify(await refused(later, 500, 'INTERNAL')), /SECRET/);
		own.tasks.lookup = () => {
			throw new Error('SECRET-BUG');
		};
		await refused(await own.fetch(`/v2/tasks/${crypto.randomUUID()}`), 500, 'INTERNAL');
		assert.deepEqual(
			own.lines.map(({ event, fields }) => [event, fields['correlation_id'] === undefined]),
			[
				['bug', false],
				['bug', false],
			],
		);
		assert.equal(own.lines[0]?.fields['correlation_id'], 'bug-1');
		await json(await own.fetch('/health'), 200, schemas.healthSchema);
		own.close();
	});

	it('that drains takes no new tasks and is not ready, but serves the old ones', async () => {
		const own = await startFront();
		own.front.drain();
		await refused(await own.post('/v2/tasks', body), 503, 'POOL_UNREADY');
		await refused(await own.fetch('/ready'), 503, 'POOL_UNREADY');
		const task = own.tasks.add(taskRequest());
		await json(await own.fetch(`/v2/tasks/${task.request.taskId}`), 200, schemas.taskSchema);
		own.close();
	});

	it('leaves no edge or timer of a request behind', async () => {
		const own = await startFront();
		await (await own.post('/v2/tasks', body)).json();
		await own.fetch(`/v2/tasks/${[...own.tasks.tasks.keys()][0]}`, { method: 'DELETE' });
		assert.equal(own.system.stats.edges, 0);
		own.close();
	});

	it('streams over the same connection that answered before', async () => {
		const { id, task } = newTask();
		task.start();
		task.end();
		const c = await front.raw();
		const host = `Host: 127.0.0.1:${front.port}`;
		await c.exchange(`GET /health HTTP/1.1\r\n${host}\r\n\r\n`);
		const from = c.received.length;
		await c.send(`GET /v2/tasks/${id}/events HTTP/1.1\r\n${host}\r\n\r\n`);
		const answer = (await c.until((received) => received.endsWith('0\r\n\r\n'))).slice(from);
		assert.match(dechunked(answer), /^id: 1\nevent: started/);
	});
});
