/** Streams whose engine is killed go on in another: nothing lost, nothing repeated, nothing out of order, no error. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { scriptedText } from '../../src/engines/scripted/scripted-text.ts';
import { checkOrder, pieces, postJson, type SeenEvent, submit, textOf, Watch } from './client.ts';
import { type Daemon, descendants, startDaemon } from './daemon.ts';

/** The process of a replica's engine. */
function hostOf(daemon: Daemon, replicaId: string): number {
	const found = descendants(daemon.pid).find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(replicaId));
	assert.ok(found !== undefined, `no process of ${replicaId}`);
	return found;
}

const replicaOf = (seen: readonly SeenEvent[]): string => String(seen.find((event) => event.name === 'started')?.data['replica_id']);
const hasMoved = (seen: readonly SeenEvent[]): boolean => seen.some(({ name, data }) => name === 'metrics' && data['phase'] === 'migrated');

async function seenByAll(url: string, bodies: readonly Readonly<Record<string, unknown>>[]): Promise<readonly [Watch, SeenEvent[]][]> {
	const tasks = await Promise.all(bodies.map((body) => submit(url, body)));
	const watches = await Promise.all(tasks.map(({ task_id }) => Watch.open(url, task_id)));
	return Promise.all(watches.map(async (watch) => [watch, await watch.until('token')] as const));
}

const fifty = { prefill_tokens_per_s: 1_000_000, decode_tokens_per_s: 20, tokens: 60 };
const eighty = { prefill_tokens_per_s: 1_000_000, decode_tokens_per_s: 100, tokens: 80 };
const same = { engine: 'scripted', model: 'scripted:same', slots: 1, scripted: eighty };

describe('a daemon whose engine is killed', () => {
	let daemon: Daemon;
	before(async () => {
		daemon = await startDaemon({
			config: {
				pools: [
					{ id: 'two', engine: 'scripted', replicas: 2, slots: 50, scripted: fifty },
					{ ...same, id: 'one', queue: { preemption: 'soft' } },
					{ ...same, id: 'other' },
					{ id: 'stories', engine: 'llamacpp', model: 'builtin', replicas: 2, slots: 2 },
				],
			},
		});
	});
	after(async () => {
		assert.equal(await daemon.stop(), 0);
	});

	it('goes on with each of fifty streams in another replica, as if nothing had been', async () => {
		const bodies = Array.from({ length: 50 }, (_, index) => ({ model_ref: 'two', prompt: `Stream ${index}`, seed: index, raw: true }));
		const begun = await seenByAll(daemon.url, bodies);
		process.kill(hostOf(daemon, 'two-0'), 'SIGKILL');
		const streams = await Promise.all(begun.map(async ([watch, first]) => [...first, ...(await watch.all())]));
		let moved = 0;
		for (const [index, seen] of streams.entries()) {
			checkOrder(seen);
			const expected = Array.from({ length: fifty.tokens }, (_, i) => scriptedText(`Stream ${index}`, index, i));
			assert.deepEqual(
				pieces(seen).map((piece) => piece.t),
				expected,
			);
			assert.deepEqual([seen.at(-1)?.data['tokens_out'], seen.at(-1)?.data['finish_reason']], [60, 'stop']);
			// One may have ended before the kill, where this machine has much else to do.
			if (hasMoved(seen)) assert.equal(replicaOf(seen), 'two-0');
			if (hasMoved(seen)) moved += 1;
		}
		assert.ok(moved > 10 && moved < 40, `${moved} of 50 moved`);
		const metrics = await (await fetch(`${daemon.url}/metrics`)).text();
		const counted = /^migrations_total\{pool_id="two",reason="replica-lost"\} (\d+)$/m.exec(metrics)?.[1];
		// Who is given a slot of the dead engine before its death is known moves twice.
		assert.ok(Number(counted) >= moved, `${counted} moves of ${moved} streams`);
		assert.match(daemon.output(), /"event":"task-migrated".*Goes on behind token \d+ in a slot of two-1/);
	});

	it('lets an interactive task have the slot of a batch task, and a drained pool give its streams to another, without a gap', async () => {
		const slow = { model_ref: 'one', prompt: 'Slow', seed: 3, raw: true, priority: 'batch' };
		const [begun] = await seenByAll(daemon.url, [slow]);
		assert.ok(begun !== undefined);
		const [watch, first] = begun;
		const quick = await submit(daemon.url, { model_ref: 'one', prompt: 'Quick', max_tokens: 5 });
		const quickSeen = await (await Watch.open(daemon.url, quick.task_id)).all();
		const { state } = (await (await fetch(`${daemon.url}/v2/tasks/${quick.task_id}`)).json()) as { state: string };
		assert.deepEqual([quickSeen.at(-1)?.name, state], ['end', 'done']);
		first.push(...(await watch.until('token')));
		assert.equal((await postJson(daemon.url, '/v2/pools/one/drain', { deadline_ms: 1 })).status, 202);
		const seen = [...first, ...(await watch.all())];
		checkOrder(seen);
		assert.ok(hasMoved(seen));
		const expected = Array.from({ length: eighty.tokens }, (_, i) => scriptedText('Slow', 3, i));
		assert.deepEqual(
			pieces(seen).map((piece) => piece.t),
			expected,
		);
		const metrics = await (await fetch(`${daemon.url}/metrics`)).text();
		assert.match(metrics, /^preemptions_total\{pool_id="one",reason="interactive"\} 1$/m);
		for (const reason of ['preempted', 'drained'])
			assert.ok(metrics.includes(`migrations_total{pool_id="one",reason="${reason}"} 1\n`), reason);
		assert.match(daemon.output(), /"event":"task-migrated".*in a slot of other-0 in other \(drained\)/);
	});

	it('tells the same story to its end with the real llama.cpp', async () => {
		const bodies = ['a fox and a lantern', 'a bird', 'the sea'].map((about) => ({
			model_ref: 'stories',
			prompt: `Tell me a story about ${about}`,
			sampling: { temperature: 0, stop: ['never said'] },
		}));
		const undisturbed = await Promise.all(
			(await seenByAll(daemon.url, bodies)).map(async ([watch, first]) => [...first, ...(await watch.all())]),
		);
		const begun = await seenByAll(daemon.url, bodies);
		process.kill(hostOf(daemon, replicaOf(begun[0]?.[1] ?? [])), 'SIGKILL');
		const disturbed = await Promise.all(begun.map(async ([watch, first]) => [...first, ...(await watch.all())]));
		assert.ok(hasMoved(disturbed[0] ?? []));
		for (const [index, seen] of disturbed.entries()) {
			const whole = undisturbed[index] ?? [];
			checkOrder(seen);
			assert.equal(textOf(seen), textOf(whole));
			for (const field of ['tokens_in', 'tokens_out', 'finish_reason'])
				assert.equal(seen.at(-1)?.data[field], whole.at(-1)?.data[field], field);
		}
	});

	it('tells each of the answers of one request to its end, whichever of them ran on the engine that was killed', async () => {
		const ready = async (): Promise<boolean> =>
			((await (await fetch(`${daemon.url}/v2/pools/stories`)).json()) as { slots_total: number }).slots_total === 4;
		while (!(await ready())) await new Promise((resolve) => setTimeout(resolve, 50));
		const body = { model: 'stories', prompt: 'Tell me a story about a fox', max_tokens: 120, temperature: 0, n: 3 };
		const whole = (await (await postJson(daemon.url, '/v1/completions', { ...body, n: 1 })).json()) as { choices: { text: string }[] };
		const response = await postJson(daemon.url, '/v1/completions', { ...body, stream: true });
		const texts = ['', '', ''];
		const reasons: (string | null)[] = [];
		let unread = '';
		let killed = false;
		for await (const bytes of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
			const lines = (unread + bytes).split('\n\n');
			unread = lines.pop() ?? '';
			for (const line of lines) {
				if (!line.startsWith('data: {')) continue;
				const { choices, error } = JSON.parse(line.slice('data: '.length)) as {
					choices: { index: number; text: string; finish_reason: string | null }[];
					error?: unknown;
				};
				assert.equal(error, undefined);
				for (const { index, text, finish_reason: reason } of choices) {
					texts[index] += text;
					if (reason !== null) reasons[index] = reason;
				}
			}
			if (killed || texts.includes('')) continue;
			killed = true;
			process.kill(hostOf(daemon, 'stories-0'), 'SIGKILL');
		}
		assert.ok(killed, 'all three had begun');
		assert.deepEqual(
			texts,
			Array.from({ length: 3 }, () => whole.choices[0]?.text),
		);
		assert.equal(new Set(reasons).size, 1);
		assert.match(daemon.output(), /"event":"task-migrated".*in a slot of stories-1/);
	});
});
