/** The client library over made answers: what it asks, what it tries again, what it makes of a stream that breaks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ConnectionError, DaemonError, NotADaemonError, Orchestratord, type TaskEvent } from '../../src/client/index.ts';
import { backoffMs } from '../../src/client/waiting.ts';
import { type FakeAnswer, fakeFetch, frame } from './fake-fetch.ts';

const input = { model_ref: 'default', prompt: 'hi' };
const refused = (json: object, status = 429): FakeAnswer => ({
	status,
	json: { code: 'ADMISSION_REJECT', message: 'full', retriable: true, ...json },
});
const broken = (code: string): Error => new TypeError('fetch failed', { cause: Object.assign(new Error(code), { code }) });
const end = {
	tokens_in: 1,
	tokens_out: 2,
	decode_time_ms: 1,
	decode_ms: 1,
	finish_reason: 'stop',
	canceled: false,
	seed: 1,
	model_digest: null,
};

function client(...answers: FakeAnswer[]) {
	const fake = fakeFetch(...answers);
	return { api: new Orchestratord({ url: 'http://daemon.test', fetch: fake.fetch, retryMs: 0, apiKey: 'sk-1' }), asked: fake.asked };
}

async function all(events: AsyncIterable<TaskEvent>): Promise<TaskEvent[]> {
	const seen: TaskEvent[] = [];
	for await (const event of events) seen.push(event);
	return seen;
}

test('a task that is tried again is the same task: its id is made here, once', async () => {
	const { api, asked } = client({ fails: broken('ECONNRESET') }, refused({ retry_after_ms: 1 }), { status: 202, json: { task_id: 'T' } });
	const task = await api.submit(input);
	assert.equal(task.id, 'T');
	const ids = asked.map(({ body }) => (body as { task_id: string }).task_id);
	assert.deepEqual([ids.length, new Set(ids).size], [3, 1]);
	assert.match(ids[0] ?? '', /^[0-9a-f-]{36}$/);
	assert.deepEqual(
		asked.map(({ headers }) => headers.get('authorization')),
		['Bearer sk-1', 'Bearer sk-1', 'Bearer sk-1'],
	);
});

test('what is refused for good is not tried again; what is refused for now is, four times in all', async () => {
	const bad = client({
		status: 400,
		json: { code: 'INVALID_PARAMS', message: 'prompt is missing', retriable: false, correlation_id: 'c' },
	});
	await assert.rejects(bad.api.submit({ model_ref: 'x' }), (error) => {
		assert.ok(error instanceof DaemonError);
		assert.deepEqual(
			[error.status, error.code, error.message, error.retriable, error.correlationId],
			[400, 'INVALID_PARAMS', 'prompt is missing', false, 'c'],
		);
		return true;
	});
	assert.equal(bad.asked.length, 1);
	const full = client(...Array.from({ length: 4 }, () => refused({ retry_after_ms: 0, policy_label: 'reject' })));
	await assert.rejects(full.api.submit(input), (error) => error instanceof DaemonError && error.policyLabel === 'reject');
	assert.equal(full.asked.length, 4);
});

test('something that is no daemon, and nobody at all, are told apart', async () => {
	await assert.rejects(client({ status: 502, json: '<html>' }).api.pools(), NotADaemonError);
	const away = client(...Array.from({ length: 4 }, () => ({ fails: broken('ECONNREFUSED') })));
	await assert.rejects(away.api.pools(), (error) => error instanceof ConnectionError && error.code === 'ECONNREFUSED');
});

test('a stream that breaks is resumed behind the last event, and each event is given out once', async () => {
	const { api, asked } = client(
		{ frames: [frame(1, 'started', {}), frame(null, 'metrics', { phase: 'decode' }), frame(2, 'token', { t: 'a', i: 0 })], cut: true },
		{
			frames: [
				frame(2, 'token', { t: 'a', i: 0 }),
				frame(4, 'token', {
					batch: [
						{ t: 'b', i: 1 },
						{ t: 'c', i: 2 },
					],
				}),
			],
		},
		{ frames: [frame(5, 'end', end)] },
	);
	const reasons: string[] = [];
	const events = await all(api.task('T').events({ onRetry: (reason) => reasons.push(reason) }));
	assert.deepEqual(
		events.map(({ type, seq }) => [type, seq]),
		[
			['started', 1],
			['metrics', null],
			['token', 2],
			['token', 4],
			['end', 5],
		],
	);
	assert.deepEqual(
		asked.map(({ headers }) => headers.get('last-event-id')),
		[null, '2', '4'],
	);
	assert.equal(reasons.length, 2);
});

test('however a stream is cut, its reader gets every event once and in order', async () => {
	const frames = [
		frame(1, 'started', {}),
		...Array.from({ length: 8 }, (_, i) => frame(i + 2, 'token', { t: `${i}`, i })),
		frame(10, 'end', end),
	];
	await fc.assert(
		fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 4 }), async (cuts) => {
			const ends = [...new Set(cuts)].sort((a, b) => a - b);
			let from = 0;
			const answers = [...ends, frames.length].map((to): FakeAnswer => {
				const part = frames.slice(from, to);
				from = to;
				return { frames: part, cut: to < frames.length };
			});
			const events = await all(
				client(...answers)
					.api.task('T')
					.events(),
			);
			assert.deepEqual(
				events.map(({ seq }) => seq),
				[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
			);
		}),
		{ numRuns: 30 },
	);
});

test('the text of a task comes without what is of other channels, and an error is thrown', async () => {
	const pieces = [
		{ t: 'think', i: 0, c: 'reasoning' },
		{ t: 'Hel', i: 1 },
		{ t: 'lo', i: 2 },
	];
	const { api } = client({ frames: [frame(1, 'token', { batch: pieces }), frame(2, 'end', end)] });
	const texts: string[] = [];
	for await (const text of api.task('T').text()) texts.push(text);
	assert.deepEqual(texts, ['Hello']);
	const failing = client({ frames: [frame(1, 'error', { code: 'WORKER_RESET', message: 'the engine died', retriable: true })] });
	await assert.rejects(failing.api.task('T').text().next(), (error) => error instanceof DaemonError && error.code === 'WORKER_RESET');
});

test('a task that is unknown is not asked for again, and one that is forgotten says so', async () => {
	const { api, asked } = client({ status: 404, json: { code: 'NOT_FOUND', message: 'no such task', retriable: false } });
	await assert.rejects(all(api.task('T').events()), (error) => error instanceof DaemonError && error.status === 404);
	assert.equal(asked.length, 1);
	assert.equal(
		await client({ status: 404, json: { code: 'NOT_FOUND', message: 'no', retriable: false } })
			.api.task('T')
			.info(),
		null,
	);
});

test('a reader whose task began again is told so, and reads on in the new run, or gets the error', async () => {
	const first = { frames: [frame('1.1', 'started', {}), frame('1.10', 'token', { t: 'a', i: 0 })], cut: true };
	const gone = { status: 410, json: { code: 'EVENTS_EXPIRED', message: 'of an earlier run', retriable: false } };
	const second = { frames: [frame('2.1', 'started', {}), frame('2.2', 'token', { t: 'b', i: 0 }), frame('2.3', 'end', end)] };
	const { api, asked } = client(first, gone, second);
	let runs = 0;
	const events = await all(api.task('T').events({ onNewRun: () => (runs += 1) }));
	assert.deepEqual(
		events.map(({ id, seq }) => [id, seq]),
		[
			['1.1', 1],
			['1.10', 10],
			['2.1', 1],
			['2.2', 2],
			['2.3', 3],
		],
	);
	assert.equal(runs, 1);
	assert.deepEqual(
		asked.map(({ headers }) => headers.get('last-event-id')),
		[null, '1.10', null],
	);
	const unaware = client(first, gone);
	await assert.rejects(all(unaware.api.task('T').events()), (error) => error instanceof DaemonError && error.code === 'EVENTS_EXPIRED');
	// Of a task that is not durable it is no other run.
	const expired = client({ frames: [frame(1, 'started', {})], cut: true }, gone);
	await assert.rejects(all(expired.api.task('T').events({ onNewRun: () => assert.fail('no run') })), DaemonError);
});

test('a result is waited for however often the waiting is over', async () => {
	const { api, asked } = client({ status: 202, json: {} }, { status: 202, json: {} }, { status: 200, json: { text: 'done' } });
	assert.equal((await api.task('T').result()).text, 'done');
	assert.equal(asked.length, 3);
});

test('a signal ends whatever waits', async () => {
	const { api } = client(refused({ retry_after_ms: 60_000 }));
	const abort = new AbortController();
	const submitted = api.submit(input, { signal: abort.signal });
	setImmediate(() => abort.abort(new Error('enough')));
	await assert.rejects(submitted, { message: 'enough' });
});

test('who was refused together does not come back together, nor before the time that was said', () => {
	fc.assert(
		fc.property(
			fc.integer({ min: 1, max: 20 }),
			fc.option(fc.nat(60_000)),
			fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
			(attempt, said, random) => {
				const ms = backoffMs(attempt, said, random);
				if (said === null) assert.ok(ms >= 0 && ms <= 10_000);
				else assert.ok(ms >= said && ms <= said * 1.25);
			},
		),
	);
});
