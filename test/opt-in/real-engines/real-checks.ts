/**
 * What only a real engine can show, beside the conformance suite: it says the same when it is asked directly and in one piece, it is free
 * soon after a cancel by its own account, and it refuses what is too much for it.
 */
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { assertSound, type EngineUnderTest, endless } from '../../engines/conformance.ts';
import { begin, generate, raw, type SeenTask } from '../../engines/decode-world.ts';
import { busyOf, wholeAnswer } from './own-account.ts';
import type { RealEngineKit, RealSuite } from './real-engine-kits.ts';
import type { RealPromises } from './real-promises.ts';

const freeWithinMs = 3_000;
/** So hot that its bytes are often no characters. */
const hot = { temperature: 2, topP: 1, topK: 0 } as const;
/** What `run.ts` tells of the engine that it has started. */
export interface Told extends Pick<RealSuite, 'adapter' | 'model'> {
	readonly engine: RealEngineKit['name'];
	readonly url: string;
	/** Where its metrics are. */
	readonly accounts: string;
	readonly pid: number;
}

export function realChecks(
	start: () => Promise<EngineUnderTest>,
	{ engine: name, adapter, url, accounts }: Told,
	promises: RealPromises,
): void {
	let engine: EngineUnderTest;
	before(async () => {
		engine = await start();
	});
	after(() => engine.close());

	it('streams what it says in one piece when it is asked directly, with the same usage', async (test) => {
		for (const { prompt, stop } of [
			{ prompt: 'Once upon a time', stop: [] },
			{ prompt: 'ünïcödé 日本 🦊 "quoted"\\n\n', stop: [] },
			{ prompt: 'Once upon a time', stop: ['day'] },
		]) {
			const sampling = { temperature: 0, top_p: 1, top_k: 1, min_p: 0 };
			const whole = await wholeAnswer(name, url, { prompt, max_tokens: 60, seed: 7, stop, ...sampling });
			if (whole === null) return test.skip('it has no such path');
			const task = await generate(engine.port, engine.replica, { prompt, maxTokens: 60, sampling: { stop }, kvHint: 'cold' });
			assertSound(task, promises);
			assert.ok(task.end?.type === 'decode-ended');
			assert.deepEqual(
				[task.text, task.usage.tokensIn, task.usage.tokensOut, task.end.finishReason],
				[whole.text, whole.tokensIn, whole.tokensOut, whole.finishReason],
			);
		}
	});

	it('is read to its end where it makes bytes that are no characters', async () => {
		for (let seed = 1; seed <= 4; seed += 1) {
			const task = await generate(engine.port, engine.replica, { maxTokens: 200, seed, sampling: hot });
			assertSound(task, promises);
			assert.equal(task.end?.type, 'decode-ended');
		}
	});

	it('is free by its own account soon after a cancel: waiting, before the first token, and between two', async (test) => {
		const freed = async (stage: string, task: SeenTask | undefined, busy: number, notices: true | string): Promise<void> => {
			assert.ok(task?.end === null, `${stage}: still at work`);
			const from = performance.now();
			task.generation?.cancel();
			const end = await task.hasEnded();
			const told = performance.now() - from;
			if (notices !== true && end.type === 'decode-failed') {
				assert.equal(end.slot, 'unknown', stage);
				return test.diagnostic(`${stage}: not noticed in ${told.toFixed(0)} ms, and told so: ${notices}`);
			}
			assert.equal(end.type, 'decode-cancelled', stage);
			while ((await busyOf(name, accounts)) > busy) assert.ok(performance.now() - from < freeWithinMs, `${stage}: it is not free`);
			test.diagnostic(`${stage}: told ${told.toFixed(1)} ms, free ${(performance.now() - from).toFixed(1)} ms after the cancel`);
		};
		/** Its account shows more than `busy` before any of these has ended: on a loaded machine it may not, and nothing is shown then. */
		const isCounted = async (busy: number, tasks: readonly SeenTask[]): Promise<boolean> => {
			while ((await busyOf(name, accounts)) <= busy) {
				if (tasks.every(({ end }) => end === null)) continue;
				test.diagnostic('one had ended before the engine counted all of them: not shown');
				return false;
			}
			return true;
		};
		const { slots } = engine.replica;
		const running = Array.from({ length: slots }, (_, seed) => begin(engine.port, engine.replica, { ...endless, seed }));
		await Promise.all(running.map((task) => task.hasPieces(1)));
		const waiting = begin(engine.port, engine.replica, endless);
		if (await isCounted(slots, running)) await freed('waiting', waiting, slots, promises.noticesEarly);
		else {
			waiting.generation?.cancel();
			await waiting.hasEnded();
		}
		for (const task of running) task.generation?.cancel();
		await Promise.all(running.map((task) => task.hasEnded()));
		for (let round = 0; round < 2; round += 1) {
			const task = begin(engine.port, engine.replica, endless);
			await task.hasPieces(1);
			await freed('decode', task, 0, true);
		}
		const early = begin(engine.port, engine.replica, { ...endless, prompt: 'a b '.repeat(200), maxTokens: 400, kvHint: 'cold' });
		if (await isCounted(0, [early])) await freed('prefill', early, 0, promises.noticesEarly);
	});

	it('finds the prompts of sessions that begin alike in the slots that are named for them', async (test) => {
		if (adapter !== 'llamacpp') return test.skip('it lets nobody name a slot');
		const turns = 4;
		const shareCached = async (named: boolean): Promise<number> => {
			const begins = `${named ? 'Tom' : 'Ben'} and Lily went to the park. `.repeat(8);
			const said = Array.from({ length: engine.replica.slots }, (_, session) => `${begins}Day ${session}. `);
			let [cached, all] = [0, 0];
			for (let turn = 0; turn < turns; turn += 1) {
				for (const [slot, prompt] of said.entries()) {
					const lease = { epoch: 1, id: 1_000 + slot, poolId: 'up', replicaId: 'up-0', exclusive: false, ...(named ? { slot } : {}) };
					const task = await generate(engine.port, engine.replica, { prompt, maxTokens: 16, lease });
					said[slot] = `${prompt}${task.text} Then ${slot}. `;
					if (turn === 0) continue;
					cached += task.usage.tokensCached;
					all += task.usage.tokensIn;
				}
			}
			return cached / all;
		};
		const [chosen, named] = [await shareCached(false), await shareCached(true)];
		test.diagnostic(
			`of later turns ${(100 * named).toFixed(0)} % of the prompt was held, ${(100 * chosen).toFixed(0)} % where the server chooses`,
		);
		assert.ok(named > 0.8, 'each finds its own');
	});

	it('refuses a prompt beyond its context with INVALID_PARAMS, and serves the next', async () => {
		const { failure } = await generate(engine.port, engine.replica, { input: raw('word '.repeat(3_000)), maxTokens: 4 });
		assert.equal(failure?.code, 'INVALID_PARAMS', failure?.message);
		assert.equal((await generate(engine.port, engine.replica, { maxTokens: 4 })).tokens, 4);
	});
}
