/** An engine over HTTP that is looked at again and again: what makes it unwell, and what does not. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Failure } from '../../src/actors/serving/failure.ts';
import { generate } from './decode-world.ts';
import { FakeOpenai } from './fakes/fake-openai.ts';
import { type Looked, lookAt, upstreamSettings } from './upstream-world.ts';

describe('an engine over HTTP that is watched', () => {
	let fake: FakeOpenai;
	let looked: Looked;
	const looks = (): number => fake.server.asked.filter(({ path }) => path === '/v1/models').length;
	const hasBeenLookedAt = async (times: number): Promise<void> => {
		while (looks() < times) await new Promise(setImmediate);
	};
	const fail = (times: number): void => {
		for (let time = 0; time < times; time += 1) fake.server.fault({ kind: 'status', status: 500 }, /models$/);
	};

	beforeEach(async () => {
		fake = new FakeOpenai();
		looked = await lookAt(upstreamSettings('openai', await fake.server.listen()), 5);
		assert.ok(looked.replica !== null);
	});
	afterEach(async () => {
		looked.close();
		await fake.server.close();
	});

	it('is well as long as no three looks in a row fail, and serves meanwhile', async () => {
		let ended = false;
		void looked.ended.then(() => {
			ended = true;
		});
		for (let round = 0; round < 3; round += 1) {
			const before = looks();
			fail(2);
			await hasBeenLookedAt(before + 4);
		}
		assert.equal(ended, false);
		assert.ok(looked.replica !== null);
		assert.equal((await generate(looked.port, looked.replica, { maxTokens: 3 })).tokens, 3);
	});

	it('is given up at the third, and says why', async () => {
		fail(3);
		const why = await looked.ended;
		assert.deepEqual([why.code, why.retriable, why.engine, why.poolId], ['WORKER_RESET', true, 'openai', 'up']);
		assert.match(why.message, /500/);
	});

	it('is given up when it is there no more', async () => {
		await fake.server.close();
		let why: Failure | null = null;
		void looked.ended.then((failure) => {
			why = failure;
		});
		// Nothing else is left to wait for in this process.
		while (why === null) await new Promise(setImmediate);
		assert.match(JSON.stringify(why), /"code":"POOL_UNREADY".*"retriable":true/);
	});
});
