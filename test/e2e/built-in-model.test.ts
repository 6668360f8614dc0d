/** The main job with the real llama.cpp and the built-in model: submit, watch from any moment, resume, cancel, read. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { checkOrder, pieces, postJson, submit, textOf, Watch } from './client.ts';
import { type Daemon, startDaemon } from './daemon.ts';

const story = { model_ref: 'default', prompt: 'Tell me a story about a fox and a lantern', sampling: { temperature: 0 } };

describe('the built-in model', () => {
	let daemon: Daemon;
	before(async () => {
		daemon = await startDaemon();
	});
	after(async () => {
		assert.equal(await daemon.stop(), 0);
	});

	it('tells a story token by token, to an early watcher, a late one and one that comes after the end', async () => {
		const { task_id } = await submit(daemon.url, story);
		const early = await Watch.open(daemon.url, task_id);
		const first = await early.until('token');
		const late = await Watch.open(daemon.url, task_id);
		const seenEarly = [...first, ...(await early.all())];
		const seenLate = await late.all();
		const seenAfter = await (await Watch.open(daemon.url, task_id)).all();
		for (const seen of [seenEarly, seenLate, seenAfter]) checkOrder(seen);
		assert.match(textOf(seenEarly), /fox.*lantern/s);
		assert.equal(textOf(seenLate), textOf(seenEarly));
		assert.equal(textOf(seenAfter), textOf(seenEarly));
		const end = seenAfter.at(-1);
		assert.equal(end?.name, 'end');
		assert.equal(end?.data['finish_reason'], 'stop');
		assert.equal(end?.data['canceled'], false);
		assert.ok(Number(end?.data['tokens_in']) > 0);
		assert.match(String(end?.data['model_digest']), /^sha256:f160817b/);
		const started = seenAfter[0];
		assert.equal(started?.data['engine'], 'llamacpp');
		assert.equal(started?.data['pool_id'], 'default');
	});

	it('gives the same text again at temperature 0, and the whole of it as a result', async () => {
		const one = await submit(daemon.url, story);
		const two = await submit(daemon.url, story);
		const [a, b] = await Promise.all([one, two].map(async ({ task_id }) => (await Watch.open(daemon.url, task_id)).all()));
		assert.equal(textOf(a ?? []), textOf(b ?? []));
		const result = (await (await fetch(`${daemon.url}/v2/tasks/${one.task_id}/result`)).json()) as { text: string };
		assert.equal(result.text, textOf(a ?? []));
	});

	it('resumes after any event id without a gap or a repeat', async () => {
		const { task_id } = await submit(daemon.url, { ...story, max_tokens: 24 });
		const whole = await (await Watch.open(daemon.url, task_id)).all();
		const lastId = whole.at(-1)?.id ?? 0;
		for (let after = 0; after <= lastId; after += 5) {
			const rest = await (await Watch.open(daemon.url, task_id, { after })).all();
			assert.deepEqual(pieces(rest), pieces(whole.filter((event) => (event.id ?? 0) > after)));
		}
		const beyond = await fetch(`${daemon.url}/v2/tasks/${task_id}/events`, { headers: { 'last-event-id': String(lastId + 1) } });
		assert.equal(beyond.status, 400);
		await beyond.body?.cancel();
	});

	it('runs eight tasks at once over four slots and ends each exactly once', async () => {
		const tasks = await Promise.all(
			Array.from({ length: 8 }, (_, index) =>
				submit(daemon.url, { model_ref: 'default', prompt: `Tell me a story about a cat and ${index} birds`, seed: index, max_tokens: 60 }),
			),
		);
		const seen = await Promise.all(tasks.map(async ({ task_id }) => (await Watch.open(daemon.url, task_id)).all()));
		for (const events of seen) {
			checkOrder(events);
			assert.equal(events.at(-1)?.name, 'end');
		}
	});

	it('cancels a running task: 204, then the log gains no token', async () => {
		const { task_id } = await submit(daemon.url, {
			...story,
			sampling: { temperature: 1.5 },
			seed: 4,
			max_tokens: 900,
			prompt: 'Tell me a long story',
		});
		const watch = await Watch.open(daemon.url, task_id);
		await watch.until('token');
		assert.equal((await postJson(daemon.url, `/v2/tasks/${task_id}/cancel`, {})).status, 204);
		const atCancel = await (await Watch.open(daemon.url, task_id)).all();
		const seen = await watch.all();
		assert.equal(seen.at(-1)?.data['finish_reason'], 'canceled');
		assert.equal(seen.at(-1)?.data['canceled'], true);
		const again = await (await Watch.open(daemon.url, task_id)).all();
		assert.deepEqual(again, atCancel);
		checkOrder(again);
		assert.equal((await fetch(`${daemon.url}/v2/tasks/${task_id}`, { method: 'DELETE' })).status, 204);
		assert.equal((await fetch(`${daemon.url}/v2/tasks/00000000-0000-7000-8000-000000000000`, { method: 'DELETE' })).status, 204);
	});

	it('stops at a stop string without ever showing a part of it', async () => {
		const whole = textOf(await (await Watch.open(daemon.url, (await submit(daemon.url, story)).task_id)).all());
		const stop = whole.slice(40, 49);
		const cut = await (
			await Watch.open(daemon.url, (await submit(daemon.url, { ...story, sampling: { temperature: 0, stop: [stop] } })).task_id)
		).all();
		checkOrder(cut);
		assert.equal(textOf(cut), whole.slice(0, whole.indexOf(stop)));
		assert.equal(cut.at(-1)?.data['finish_reason'], 'stop');
	});

	it('counts and reads a text with its own tokenizer', async () => {
		const response = await postJson(daemon.url, '/v2/tokenize', { model_ref: 'default', text: 'Hello, fox!' });
		assert.equal(response.status, 200);
		const { tokens } = (await response.json()) as { tokens: { id: number; text: string }[] };
		assert.ok(tokens.length > 1);
		assert.ok(tokens.every((token) => Number.isInteger(token.id)));
	});

	it('refuses an explicit max_tokens above the room, and a model that nobody serves', async () => {
		const tooLong = await postJson(daemon.url, '/v2/tasks', { ...story, max_tokens: 100_000 });
		assert.equal(tooLong.status, 400);
		const envelope = (await tooLong.json()) as Record<string, unknown>;
		assert.equal(envelope['code'], 'INVALID_PARAMS');
		assert.match(String(envelope['message']), /max_tokens.*100000/);
		assert.match(String(envelope['correlation_id']), /^[A-Za-z0-9._-]{1,64}$/);
		const unknown = await postJson(daemon.url, '/v2/tasks', { ...story, model_ref: 'gpt-9' });
		assert.equal(unknown.status, 404);
		assert.equal(((await unknown.json()) as Record<string, unknown>)['code'], 'NOT_FOUND');
	});
});
