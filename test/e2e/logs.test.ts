/**
 * What a daemon logs of its tasks, and what it never logs: secrets are planted wherever a client can put one, in tasks of every
 * fate, and looked for in all that the daemon prints.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { postJson, submit, Watch } from './client.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { assertNothingLeaked, plantedKey, remember } from './leaks.ts';

type Line = Readonly<Record<string, unknown>>;

const scripted = { prefill_tokens_per_s: 1_000_000, decode_tokens_per_s: 200, tokens: 20, text: 'echo' };
const secret = 'SECRET-7d41-of-the-client-that-nobody-may-print';

function linesOf(daemon: Daemon): Line[] {
	return daemon
		.output()
		.split('\n')
		.filter((line) => line.startsWith('{'))
		.map((line) => JSON.parse(line) as Line);
}

/** The lines of one request, once the last of them is there. */
async function story(daemon: Daemon, correlationId: string, last: string): Promise<Line[]> {
	await daemon.said(new RegExp(`"event":"${last}","correlation_id":"${correlationId}"`));
	return linesOf(daemon).filter((line) => line['correlation_id'] === correlationId);
}

const eventsOf = (lines: readonly Line[]): unknown[] => lines.filter((line) => line['level'] !== 'debug').map((line) => line['event']);

describe('the log of a daemon', () => {
	let daemon: Daemon;
	before(async () => {
		daemon = await startDaemon({
			config: {
				pools: [
					{ id: 'quick', engine: 'scripted', model: 'scripted:quick', aliases: ['default'], slots: 4, scripted },
					{
						id: 'slow',
						engine: 'scripted',
						model: 'scripted:slow',
						slots: 1,
						queue: { capacity: 1 },
						scripted: { ...scripted, tokens: 1000, decode_tokens_per_s: 50 },
					},
					{
						id: 'faulty',
						engine: 'scripted',
						model: 'scripted:faulty',
						slots: 2,
						scripted: { ...scripted, faults: [{ kind: 'error', after_tokens: 3, prompt_contains: 'error' }] },
					},
				],
			},
		});
	});
	after(async () => {
		assert.equal(await daemon.stop(), 0);
	});

	it('tells the story of a task in one sentence a step, each with its ids, place, engine and counts', async () => {
		const headers = { 'x-correlation-id': 'story-1' };
		const session = '0192f0a0-0000-7000-8000-000000000001';
		const response = await postJson(daemon.url, '/v2/tasks', { model_ref: 'default', prompt: 'a b c', session_id: session }, headers);
		const { task_id } = (await response.json()) as { task_id: string };
		await (await Watch.open(daemon.url, task_id)).all();
		const lines = await story(daemon, 'story-1', 'task-ended');
		assert.deepEqual(eventsOf(lines), ['task-admitted', 'task-placed', 'task-started', 'task-ended']);
		for (const line of lines) {
			assert.equal(line['task_id'], task_id);
			assert.equal(line['session_id'], session);
			assert.match(String(line['human']), /^[A-Z].*\.$/);
		}
		assert.ok(new Set(lines.map((line) => line['thread'])).has('control'), 'the scheduler tells its part under the same id');
		const [admitted, placed, , ended] = lines.filter((line) => line['level'] === 'info');
		assert.deepEqual([admitted?.['pool_id'], admitted?.['queue_position'], admitted?.['predicted_start_ms']], ['quick', 0, 0]);
		assert.deepEqual([placed?.['engine'], placed?.['engine_version'], placed?.['replica_id']], ['scripted', 'scripted-1', 'quick-0']);
		assert.deepEqual([ended?.['tokens_in'], ended?.['tokens_out'], ended?.['finish_reason']], [3, 20, 'stop']);
		assert.equal(typeof ended?.['decode_time_ms'], 'number');
	});

	it('tells of a cancel, queued or running, and of refusals, each under the id of its request', async () => {
		const running = await submit(daemon.url, { model_ref: 'scripted:slow', prompt: 'x' });
		await (await Watch.open(daemon.url, running.task_id)).until('token');
		const headers = (id: string) => ({ 'x-correlation-id': id });
		const queued = await postJson(daemon.url, '/v2/tasks', { model_ref: 'scripted:slow', prompt: 'x' }, headers('queued-1'));
		const { task_id } = (await queued.json()) as { task_id: string };
		await postJson(daemon.url, '/v2/tasks', { model_ref: 'scripted:slow', prompt: 'x' }, headers('full-1'));
		await postJson(daemon.url, '/v2/tasks', { model_ref: 'default', prompt: 5 }, headers('wrong-1'));
		await postJson(daemon.url, '/v2/tasks', { model_ref: 'default', prompt: 'x', task_id: running.task_id }, headers('conflict-1'));
		for (const id of [task_id, running.task_id]) await fetch(`${daemon.url}/v2/tasks/${id}`, { method: 'DELETE' });
		const canceled = await story(daemon, 'queued-1', 'task-canceled');
		assert.deepEqual(eventsOf(canceled), ['task-admitted', 'task-canceled']);
		assert.deepEqual([canceled.at(-1)?.['reason'], canceled.at(-1)?.['human']], ['client', 'Cancelled (client): 0 tokens out.']);
		for (const [id, code] of Object.entries({ 'full-1': 'ADMISSION_REJECT', 'wrong-1': 'INVALID_PARAMS', 'conflict-1': 'CONFLICT' })) {
			const lines = await story(daemon, id, 'task-refused');
			assert.deepEqual(eventsOf(lines), ['task-refused'], id);
			assert.equal(lines.at(-1)?.['code'], code);
		}
	});

	it('holds no secret, wherever a client puts one and whatever becomes of its task', async () => {
		remember('a planted secret', secret);
		const post = (body: unknown, more: Readonly<Record<string, string>> = {}) =>
			postJson(daemon.url, `/v2/tasks?api_key=${secret}`, body, {
				cookie: `session=${secret}`,
				'x-api-key': secret,
				'user-agent': secret,
				'idempotency-key': `${secret}-${Math.random()}`,
				...more,
			});
		const bodies: readonly Readonly<Record<string, unknown>>[] = [
			{ model_ref: 'default', prompt: secret },
			{
				model_ref: 'default',
				messages: [
					{ role: 'system', content: secret },
					{ role: 'user', name: 'SECRET-7d41', content: secret },
				],
			},
			{ model_ref: 'default', prompt: secret, sampling: { stop: [`${secret}!`], logprobs: true } },
			{ model_ref: 'default', workload: 'embedding', inputs: [secret, secret] },
			{ model_ref: 'scripted:faulty', prompt: `error ${secret}` },
			{ model_ref: 'default', prompt: secret, deadline_ms: 5 },
			{ model_ref: 'default', prompt: secret, on_disconnect: 'cancel' },
			// refused, at one stage or another
			{ model_ref: 'default', workload: 'rerank', inputs: [secret], query: secret },
			{ model_ref: 'default', prompt: secret, sampling: { grammar: `root ::= "${secret}"` } },
			{ model_ref: 'default', prompt: secret, sampling: { json_schema: { const: secret } } },
			{ model_ref: 'default', prompt: secret.repeat(200), max_tokens: 2000 },
			{ model_ref: 'default', prompt: { text: secret } },
			{ model_ref: 'default', prompt: secret, [secret]: 1 },
			{ model_ref: 'default', prompt: secret, tenant: secret.repeat(3) },
			{ model_ref: 'default', prompt: secret, priority: secret },
			{ model_ref: 'default', prompt: secret, deadline_ms: 0 },
		];
		const answers = await Promise.all(bodies.map((body) => post(body)));
		const accepted: string[] = [];
		for (const answer of answers) {
			const { task_id } = (await answer.json()) as { task_id?: string };
			if (answer.status === 202 && task_id !== undefined) accepted.push(task_id);
		}
		assert.ok(accepted.length >= 6, `${accepted.length} were accepted`);
		const broken = `{"model_ref":"default","prompt":"${secret}`;
		const raw = { method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${plantedKey}` }, body: broken };
		assert.equal((await fetch(`${daemon.url}/v2/tasks`, raw)).status, 400);
		await fetch(`${daemon.url}/v2/${secret}?key=${secret}`);
		await fetch(`${daemon.url}/v2/tasks/${secret}`);
		await fetch(`${daemon.url}/v2/tasks/${accepted[0]}/events?verbose=${secret}`, { headers: { 'last-event-id': secret } });
		await postJson(daemon.url, '/v2/tokenize', { model_ref: 'default', text: secret });
		await postJson(daemon.url, '/v2/tasks/preview', { model_ref: 'default', prompt: secret });
		const texts = await Promise.all(accepted.map(async (id) => JSON.stringify(await (await Watch.open(daemon.url, id)).all())));
		assert.ok(
			texts.some((text) => text.includes(secret)),
			'an output held the secret',
		);
		const listed = await (await fetch(`${daemon.url}/v2/tasks?limit=1000`)).text();
		const metrics = await (await fetch(`${daemon.url}/metrics`)).text();
		assertNothingLeaked(listed);
		assertNothingLeaked(metrics);
		// Its last lines are there when one that came after them is.
		await postJson(daemon.url, '/v2/tasks', { model_ref: 'default', prompt: 5 }, { 'x-correlation-id': 'last-1' });
		await story(daemon, 'last-1', 'task-refused');
		assertNothingLeaked(daemon.output());
		assert.doesNotMatch(daemon.output(), /SECRET-7d41/);
	});

	it('has the correlation id in every line that has a task', () => {
		const lines = linesOf(daemon).filter((line) => line['task_id'] !== undefined);
		assert.ok(lines.length > 30);
		assert.deepEqual(
			lines.filter((line) => typeof line['correlation_id'] !== 'string'),
			[],
		);
	});
});
