/** A front thread that is lost while durable tasks are its own: those that run, wait, have ended, were cancelled. The daemon lives on. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { taskSchema } from '../../src/transport/api/response-schemas.ts';
import { json } from '../transport/published-answers.ts';
import { checkOrder, numbered, pieces, postJson, type SeenEvent, submit, textOf, Watch } from './client.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { FrontConnection, frontOf } from './front-connection.ts';

const tokens = 60;
const pool = {
	id: 'demo',
	engine: 'scripted',
	model: 'scripted:demo',
	aliases: ['default'],
	slots: 4,
	scripted: { prefill_tokens_per_s: 1_000_000, decode_tokens_per_s: 60, tokens },
};
const batch = { model_ref: 'default', prompt: 'x', priority: 'batch', seed: 3, max_tokens: tokens };

const runsOf = (events: readonly SeenEvent[]): (number | null)[] => [...new Set(numbered(events).map(({ run }) => run))];

describe('durable tasks of a front thread that is lost', () => {
	let daemon: Daemon;
	before(async () => {
		daemon = await startDaemon({ config: { pools: [pool] }, fronts: 2, withCrashes: true });
	});
	after(() => daemon.stop());

	for (const lost of [1, 0]) {
		it(`end once each, as they were told or as a later run, when that is front ${lost}`, async () => {
			const own = await FrontConnection.open(daemon.url, lost);
			const other = await FrontConnection.open(daemon.url, 1 - lost);
			const state = async (id: string): Promise<unknown> =>
				(await json(await fetch(`${daemon.url}/v2/tasks/${id}`), 200, taskSchema))['state'];
			const { task_id: done } = await submit(own, { ...batch, max_tokens: 2 });
			const whole = numbered(await (await Watch.open(daemon.url, done)).all());
			const { task_id: neighbour } = await submit(other, batch);
			const beside = await Watch.open(other, neighbour);
			const running = await Promise.all([0, 1, 2].map(() => submit(own, batch)));
			const waiting = await Promise.all([0, 1, 2].map(() => submit(own, batch)));
			const { task_id: cancelled } = await submit(own, batch);
			assert.deepEqual([...new Set([...running, ...waiting].map(({ task_id: id }) => frontOf(id)))], [lost]);
			assert.equal((await postJson(own, `/v2/tasks/${cancelled}/cancel`, {})).status, 204);
			const keyed = { 'idempotency-key': `of front ${lost}` };
			const { task_id: keyedId } = (await (await postJson(own, '/v2/tasks', batch, keyed)).json()) as { task_id: string };
			const watch = await Watch.open(own, running[0]?.task_id ?? '');
			const seen = await watch.until('token');
			const begun = await beside.until('token');
			await daemon.crashFront(lost);
			await assert.rejects(watch.all());

			const ids = [...running, ...waiting].map(({ task_id: id }) => id);
			const again = await Promise.all([...ids, keyedId].map(async (id) => (await watchOf(daemon, id)).all()));
			for (const events of again) {
				checkOrder(events);
				assert.deepEqual(runsOf(events), [2]);
				assert.equal(pieces(events).length, tokens);
				assert.ok(textOf(events).startsWith(textOf(seen)));
			}
			const stale = await fetch(`${daemon.url}/v2/tasks/${running[0]?.task_id}/events`, { headers: { 'last-event-id': '1.2' } });
			assert.deepEqual([stale.status, ((await stale.json()) as { code: string }).code], [410, 'EVENTS_EXPIRED']);
			assert.deepEqual(numbered(await (await Watch.open(daemon.url, done)).all()), whole);
			assert.deepEqual([await state(done), await state(cancelled)], ['done', 'canceled']);
			const same = await postJson(daemon.url, '/v2/tasks', batch, keyed);
			assert.deepEqual([same.status, ((await same.json()) as { task_id: string }).task_id], [202, keyedId]);
			const undisturbed = [...begun, ...(await beside.all())];
			checkOrder(undisturbed);
			assert.deepEqual(runsOf(undisturbed), [1]);
			for (const connection of [own, other]) connection.close();
			// All four places are there again.
			const four = await Promise.all([0, 1, 2, 3].map(() => submit(daemon.url, batch)));
			await Promise.all(four.map(async ({ task_id: id }) => (await Watch.open(daemon.url, id)).until('token')));
			const phases = await Promise.all(four.map(({ task_id: id }) => state(id)));
			assert.deepEqual([...new Set(phases)], ['running']);
			await Promise.all(four.map(({ task_id: id }) => fetch(`${daemon.url}/v2/tasks/${id}`, { method: 'DELETE' })));
		});
	}
});

/** A front that has just come back may not know all of its tasks yet, and says so. */
async function watchOf({ url }: Daemon, id: string): Promise<Watch> {
	for (const deadline = performance.now() + 20_000; ; ) {
		try {
			return await Watch.open(url, id);
		} catch (error) {
			if (performance.now() > deadline || !(error instanceof Error) || !error.message.includes(' 503')) throw error;
			await new Promise((resolve) => setTimeout(resolve, 20));
		}
	}
}
