/**
 * What every engine must do behind a decode port, whatever makes its tokens. A suite for each engine is one call of
 * `conformance`, with how to start one and what it promises. Engines over HTTP pass `upstream-conformance.ts` too.
 */
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import type { DecodePort } from '../../src/actors/serving/decode.ts';
import type { ReplicaFacts } from '../../src/actors/serving/messages.ts';
import type { PromptInput } from '../../src/actors/serving/task-request.ts';
import { begin, count, generate, raw, type SeenPiece, type SeenTask, tokenize } from './decode-world.ts';

/** True, or why an engine does not do it: the suite prints that beside what it leaves out. */
export type Promised = true | string;

/** What not every engine does; all else every engine does. */
export interface EnginePromises {
	/** At temperature 0 it says the same again, whatever the seed. */
	readonly greedy: Promised;
	/** The same seed says the same again. */
	readonly seeds: Promised;
	/** Beside others a greedy text is the same as alone. */
	readonly aloneOrTogether: Promised;
	/** `started` says how many tokens the prompt has; else only the end does. */
	readonly tokensInAtStart: Promised;
	/** Every token has a log-probability where that is asked for, and an id unless its API names none. */
	readonly logprobs: Promised;
	/** Beside each token it tells the likeliest in its place, where they are asked for. */
	readonly tops: Promised;
	/** It goes on behind the ids of tokens. */
	readonly resume: Promised;
	/** The same for a chat. */
	readonly resumeChat: Promised;
	/** It takes messages, and has a template for them. */
	readonly chats: Promised;
	/** It marks the end of an answer: one that breaks off where it might have ended is told from one that has ended. */
	readonly marksEnd: Promised;
	/** It counts a prompt before it takes it. */
	readonly counts: Promised;
	readonly tokenizes: Promised;
	/** A request beyond its slots is refused at once; else it waits in the engine. */
	readonly refusesBeyondSlots: Promised;
	/** A prompt or a `max_tokens` above its context is refused. */
	readonly judgesCtx: Promised;
	/** It embeds where it says that it does. */
	readonly embeds: Promised;
}

export const allPromised: EnginePromises = {
	greedy: true,
	seeds: true,
	aloneOrTogether: true,
	tokensInAtStart: true,
	logprobs: true,
	tops: true,
	resume: true,
	resumeChat: true,
	chats: true,
	marksEnd: true,
	counts: true,
	tokenizes: true,
	refusesBeyondSlots: true,
	judgesCtx: true,
	embeds: true,
};

export interface EngineUnderTest {
	readonly replica: ReplicaFacts;
	readonly port: DecodePort & { readonly inFlight: number };
	/** Its process goes, without a word. */
	kill(): void;
	close(): Promise<void>;
}

/** The small models that there are repeat themselves here, up to any length: a quick engine must not be done before it is stopped. */
export const endless = { prompt: 'a a a a a a a a', maxTokens: 900 } as const;

function toldBy(pieces: readonly SeenPiece[]): { readonly text: string; readonly ids: readonly number[] } {
	return { text: pieces.map(({ text }) => text).join(''), ids: pieces.flatMap(({ ids }) => ids) };
}

/** Rules that hold for every generation. */
export function assertSound(task: SeenTask, promises: EnginePromises): void {
	assert.deepEqual(task.afterEnd, [], 'nothing follows the end');
	if (task.pieces.length > 0) assert.ok(task.started !== null, 'pieces came before started');
	if (task.end?.type === 'decode-ended' || task.end?.type === 'decode-cancelled') {
		if (task.started !== null && promises.tokensInAtStart === true) assert.equal(task.usage.tokensIn, task.started.tokensIn);
		assert.ok(task.usage.prefillMs >= 0 && task.usage.decodeMs >= 0);
		if (task.end.type === 'decode-ended') assert.equal(task.tokens, task.usage.tokensOut);
	}
}

export function conformance(start: () => Promise<EngineUnderTest>, promises: EnginePromises = allPromised): void {
	/** A test of what is promised; else the reason stands beside its name. */
	const promised = (promise: keyof EnginePromises, name: string, test: () => Promise<void>): void => {
		const reason = promises[promise];
		it(name, reason === true ? {} : { skip: `not promised: ${reason}` }, test);
	};
	let engine: EngineUnderTest;
	before(async () => {
		engine = await start();
	});
	after(() => engine.close());
	const run = async (options: Parameters<typeof generate>[2]): Promise<SeenTask> => {
		const task = await generate(engine.port, engine.replica, options);
		assertSound(task, promises);
		return task;
	};
	const slots = (): number => engine.replica.slots;

	it('says what it is and what it can do, in step with what it promises', () => {
		const { replica } = engine;
		assert.ok(replica.engineVersion.length > 0 && replica.modelName.length > 0 && replica.slots > 0 && replica.ctx > 0);
		assert.ok(replica.workloads.length > 0);
		assert.equal(replica.features.includes('resume'), promises.resume === true, 'resume');
		assert.equal(replica.features.includes('logprobs'), promises.logprobs === true, 'logprobs');
		assert.equal(replica.features.includes('top_logprobs'), promises.tops === true, 'top_logprobs');
	});

	it('makes as many tokens as it may, and says that this was why it ended', async () => {
		const task = await run({ maxTokens: 12 });
		assert.ok(task.end?.type === 'decode-ended');
		assert.equal(task.tokens, 12);
		assert.equal(task.end.finishReason, 'length');
		assert.ok(task.started !== null && task.usage.tokensIn > 0);
	});

	promised('greedy', 'says the same again at temperature 0', async () => {
		const options = { maxTokens: 24, seed: 1, kvHint: 'cold', strict: true } as const;
		const first = await run(options);
		assert.ok(first.text.length > 0);
		assert.equal((await run({ ...options, seed: 2 })).text, first.text);
	});

	promised('seeds', 'says the same again for the same seed', async () => {
		const options = { maxTokens: 16, seed: 42, sampling: { temperature: 1, topP: 1, topK: 0 }, kvHint: 'cold' } as const;
		assert.equal((await run(options)).text, (await run(options)).text);
	});

	it('never shows a stop string, nor a part of it, nor anything behind', async () => {
		const whole = await run({ maxTokens: 24 });
		const words = whole.text.split(' ').filter((word) => word.length > 2);
		const stop = words[Math.floor(words.length / 2)] ?? ' ';
		const cut = await run({ maxTokens: 24, sampling: { stop: [stop] } });
		assert.ok(cut.end?.type === 'decode-ended' && cut.end.finishReason === 'stop');
		assert.equal(cut.text, whole.text.slice(0, whole.text.indexOf(stop)));
	});

	/** Cut behind any of its pieces, the rest of a run is what it would have been. */
	const assertGoesOn = async (options: NonNullable<Parameters<typeof generate>[2]>): Promise<void> => {
		const whole = await run({ ...options, tellIds: true });
		assert.ok(whole.end?.type === 'decode-ended');
		for (const { ids, tokens } of whole.pieces) assert.equal(ids.length, tokens);
		for (let cut = 0; cut <= whole.pieces.length; cut += cut < 3 || cut > whole.pieces.length - 4 ? 1 : 3) {
			const said = whole.pieces.slice(0, cut);
			const resume = { ids: said.flatMap(({ ids }) => ids) };
			const rest = await run({ ...options, tellIds: true, resume });
			// How many tokens come at once is a matter of moments.
			assert.deepEqual(toldBy(rest.pieces), toldBy(whole.pieces.slice(cut)), `cut behind ${cut} of ${whole.pieces.length} pieces`);
			assert.ok(rest.end?.type === 'decode-ended');
			assert.equal(rest.end.finishReason, whole.end.finishReason);
			assert.equal(rest.usage.tokensIn, whole.usage.tokensIn);
			assert.equal(rest.usage.tokensOut, whole.usage.tokensOut - resume.ids.length);
		}
	};

	promised('resume', 'goes on behind any of its tokens with those that would have come', () => assertGoesOn({ maxTokens: 20 }));

	promised('resumeChat', 'goes on behind any token of a chat', () =>
		assertGoesOn({ maxTokens: 12, input: { kind: 'messages', messages: [{ role: 'user', content: 'A story, please' }] } }),
	);

	promised('resume', 'goes on to the same end with a stop string of which a part had been made', async () => {
		const { pieces, text } = await run({ maxTokens: 20 });
		const before = pieces
			.slice(0, 7)
			.map((piece) => piece.text)
			.join('');
		const stop = text.slice(before.length - 2, before.length + (pieces[7]?.text.length ?? 0) + 1);
		assert.equal(text.indexOf(stop), before.length - 2, 'it spans three tokens, there for the first time');
		await assertGoesOn({ maxTokens: 20, sampling: { stop: [stop, 'never said'] } });
		// One that never becomes whole, and tokens that end while it is looked for.
		await assertGoesOn({ maxTokens: 8, sampling: { stop: [`${stop}no`] } });
	});

	promised('resume', 'goes on with a sampled text, up to the same number of tokens', async () => {
		const options = { maxTokens: 12, tellIds: true, sampling: { temperature: 1, topP: 1, topK: 0 } } as const;
		const ids = (await run(options)).pieces.flatMap((piece) => piece.ids).slice(0, 5);
		const rest = await run({ ...options, resume: { ids } });
		assert.ok(rest.tokens > 0 && rest.tokens <= 7);
	});

	promised('logprobs', 'gives each token its log-probability when asked, and its id where it is named by one', async () => {
		const task = await run({ maxTokens: 8, sampling: { logprobs: true } });
		for (const piece of task.pieces) assert.ok(piece.tokenId !== null && piece.logprob !== null && piece.logprob <= 0);
		for (const piece of (await run({ maxTokens: 8 })).pieces) assert.equal(piece.tokenId, null);
	});

	promised(
		'tops',
		'tells the likeliest tokens beside each where they are asked for, likeliest first, the one that was taken among them',
		async () => {
			const chat: PromptInput = { kind: 'messages', messages: [{ role: 'user', content: 'Once upon a time' }] };
			for (const input of [raw('Once upon a time'), ...(promises.chats === true ? [chat] : [])]) {
				const options = { input, maxTokens: 12, sampling: { temperature: 0, topK: 0 } };
				const asked = await run({ ...options, sampling: { ...options.sampling, logprobs: true, topLogprobs: 3 } });
				assert.equal(asked.text, (await run(options)).text);
				const scored = asked.pieces.filter(({ logprob }) => logprob !== null);
				assert.ok(scored.length > 3 && scored.some(({ tops }) => tops.length === 3));
				for (const { tops, logprob, text, tokens } of scored) {
					// Those of one text are one, where tokens are named by their texts.
					assert.ok(tops.length > 0 && tops.length <= 3);
					assert.deepEqual(
						tops.map((top) => top.logprob),
						tops.map((top) => top.logprob).sort((a, b) => b - a),
					);
					// Parts of characters may all have the same name.
					if (tokens > 1 || tops.some(({ t, bytes }) => bytes !== undefined || t.includes('\u{fffd}'))) continue;
					assert.ok(Math.abs((tops[0]?.logprob ?? 1) - (logprob ?? 0)) < 1e-4, 'greedily the likeliest is taken');
					// Some tokenizers put no space before the first word.
					assert.equal(tops[0]?.t.trim(), text.trim());
				}
				const without = await run({ ...options, sampling: { ...options.sampling, logprobs: true } });
				for (const piece of without.pieces) assert.deepEqual(piece.tops, []);
			}
		},
	);

	it('serves all its slots at once, each its own text, and one more as it promises', async () => {
		const prompts = Array.from({ length: slots() }, (_, index) => `Story number ${index}: once upon a time`);
		const alone = await Promise.all(prompts.slice(0, 2).map((prompt) => run({ prompt, maxTokens: 10, strict: true, kvHint: 'cold' })));
		const together = prompts.map((prompt) => begin(engine.port, engine.replica, { prompt, maxTokens: 60 }));
		await Promise.all(together.map((task) => task.hasStarted()));
		const more = await generate(engine.port, engine.replica, { maxTokens: 2 });
		await Promise.all(together.map((task) => task.hasEnded()));
		for (const task of together) {
			assertSound(task, promises);
			assert.ok(task.tokens > 0);
		}
		if (promises.aloneOrTogether === true) alone.forEach((task, index) => assert.ok(together[index]?.text.startsWith(task.text)));
		// It came while all were taken, or one had just ended.
		if (promises.refusesBeyondSlots !== true) assert.equal(more.tokens, 2);
		else if (more.failure !== null) assert.deepEqual([more.failure.code, more.tokens], ['REPLICA_EXHAUSTED', 0]);
	});

	it('acknowledges a cancel within a second, and its slot serves the next', async () => {
		for (let round = 0; round < 3; round++) {
			const tasks = Array.from({ length: slots() }, () => begin(engine.port, engine.replica, endless));
			await Promise.all(tasks.map((task) => task.hasPieces(1)));
			const from = performance.now();
			for (const task of tasks) task.generation?.cancel();
			for (const task of tasks) {
				const end = await task.hasEnded();
				assert.ok(end.type === 'decode-cancelled' || end.type === 'decode-ended');
				assertSound(task, promises);
			}
			assert.ok(performance.now() - from < 1_000);
		}
	});

	it('takes a cancel at any moment: before it has begun, twice, and after the end', async () => {
		const early = begin(engine.port, engine.replica, { maxTokens: 200 });
		early.generation?.cancel();
		early.generation?.cancel();
		assert.equal((await early.hasEnded()).type, 'decode-cancelled');
		early.generation?.cancel();
		assertSound(early, promises);
		assert.equal((await run({ maxTokens: 2 })).tokens, 2);
	});

	it('tells an abandoned task nothing more', async () => {
		const task = begin(engine.port, engine.replica, { maxTokens: 200 });
		await task.hasPieces(1);
		task.generation?.abandon();
		const { messages } = task;
		// Answers come in order with its end, or between its pieces.
		while (engine.port.inFlight > 0) await tokenize(engine.port, engine.replica, 'x').then(turn);
		assert.equal(task.messages, messages);
	});

	promised('counts', 'counts a prompt as it then takes it', async () => {
		for (const text of ['Once upon a time', 'ünïcödé 日本 🦊', 'a']) {
			const counted = await count(engine.port, engine.replica, raw(text));
			assert.ok(counted.type === 'prompt-counted');
			assert.equal((await run({ input: raw(text), maxTokens: 1 })).usage.tokensIn, counted.tokens);
			assert.deepEqual(await count(engine.port, engine.replica, raw(text)), counted);
		}
	});

	promised('tokenizes', 'gives the tokens of a text, which together are the text where no character is split', async () => {
		const news = await tokenize(engine.port, engine.replica, 'Once upon a time, a fox.');
		assert.ok(news.type === 'tokenized' && news.tokens.length > 3);
		assert.equal(
			news.tokens
				.map((token) => token.text)
				.join('')
				.trim(),
			'Once upon a time, a fox.',
		);
	});

	it('refuses what it cannot do with a code and words, and goes on', async () => {
		const inputs: PromptInput = { kind: 'inputs', inputs: ['x'], query: 'y' };
		const { workloads } = engine.replica;
		const tooLong = [
			{ maxTokens: 1_000_000, maxTokensExplicit: true, ctx: 128 },
			{ input: raw('word '.repeat(5_000)), ctx: 64 },
		] as const;
		for (const options of [
			...(workloads.includes('rerank') ? [] : [{ workload: 'rerank', input: inputs } as const]),
			...(promises.judgesCtx === true ? tooLong : []),
		]) {
			const task = await run(options);
			assert.deepEqual([task.failure?.code, task.pieces.length], ['INVALID_PARAMS', 0]);
			assert.ok((task.failure?.message.length ?? 0) > 10);
		}
		const embedding = await run({ workload: 'embedding', input: { kind: 'inputs', inputs: ['a', 'b'], query: null } });
		if (promises.embeds !== true) assert.ok(embedding.failure !== null && !embedding.failure.retriable, 'it is refused for good');
		else if (workloads.includes('embedding')) assert.ok(embedding.end?.type === 'embedded' && embedding.end.vectors.length === 2);
		else assert.equal(embedding.failure?.code, 'INVALID_PARAMS');
		if (!workloads.includes('rerank')) return;
		const ranking = await run({ workload: 'rerank', input: { kind: 'inputs', inputs: ['a', 'b'], query: 'y' } });
		assert.ok(
			ranking.end?.type === 'embedded' && ranking.end.vectors.every(({ length }) => length === 1) && ranking.end.vectors.length === 2,
		);
	});

	it('fails every stream once when its process dies', async () => {
		const tasks = Array.from({ length: slots() }, () => begin(engine.port, engine.replica, endless));
		await Promise.all(tasks.map((task) => task.hasPieces(1)));
		engine.kill();
		for (const task of tasks) {
			const end = await task.hasEnded();
			assert.ok(end.type === 'decode-failed');
			assert.deepEqual([end.failure.code, end.slot, task.afterEnd.length], ['WORKER_RESET', 'unknown', 0]);
		}
		assert.equal(engine.port.inFlight, 0);
	});
}

/** What has come is handled. */
export function turn(): Promise<void> {
	return new Promise((resolve) => {
		setImmediate(resolve);
	});
}
