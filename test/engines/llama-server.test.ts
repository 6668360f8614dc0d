/** The adapter of llama-server, against a server that is what its README and source say. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ReplicaFacts } from '../../src/actors/serving/messages.ts';
import type { EngineOptions } from '../../src/engines/upstream/adapter.ts';
import { allPromised, conformance, type EnginePromises, type EngineUnderTest } from './conformance.ts';
import { begin, count, generate, type RequestOptions, raw, type SeenTask, tokenize } from './decode-world.ts';
import { type FakeLlamaOptions, FakeLlamaServer } from './fakes/fake-llama-server.ts';
import { upstreamConformance } from './upstream-conformance.ts';
import { type Looked, lookAt, upstreamSettings } from './upstream-world.ts';

const promises: EnginePromises = {
	...allPromised,
	aloneOrTogether: 'results of batches of other sizes may differ',
	tokensInAtStart: 'the count comes with the end',
	resumeChat: 'the chat path names no token ids',
	refusesBeyondSlots: 'what is too much waits in the engine',
};

interface LookedAt {
	readonly fake: FakeLlamaServer;
	readonly replica: ReplicaFacts;
	readonly port: Looked['port'];
	readonly looked: Looked;
	run(options: RequestOptions): Promise<SeenTask>;
	/** The body of its last request to a path. */
	body(path?: string): Readonly<Record<string, unknown>>;
	close(): Promise<void>;
}

async function lookedAt(options: FakeLlamaOptions = {}, slots = 4, set: EngineOptions = {}, lookEveryMs?: number): Promise<LookedAt> {
	const fake = new FakeLlamaServer(options);
	const looked = await lookAt(upstreamSettings('llamacpp', await fake.server.listen(), { slots, options: set }), lookEveryMs);
	const { port, replica } = looked;
	if (replica === null) throw new Error(JSON.stringify(looked.failure));
	return {
		fake,
		replica,
		port,
		looked,
		run: (request) => generate(port, replica, request),
		body: (path = '/completion') => JSON.parse(fake.server.asked.findLast((each) => each.path === path)?.body ?? '{}'),
		async close() {
			looked.close();
			await fake.server.close();
			assert.deepEqual(fake.server.strayed, []);
		},
	};
}

/** Characters of several tokens have no ids of their own: of them there is a test below. */
async function wholeTokens(): Promise<EngineUnderTest> {
	const { fake, ...engine } = await lookedAt({ slots: 4, stepMs: 1, whole: true });
	return { ...engine, kill: () => fake.server.kill() };
}

const message = (content: string) => ({ kind: 'messages', messages: [{ role: 'user', content }] }) as const;

describe('llama-server', () => {
	conformance(wholeTokens, promises);

	upstreamConformance({
		promises,
		start: () => new FakeLlamaServer({ slots: 2, endsAfter: 60 }),
		settings: (url, key) => upstreamSettings('llamacpp', url, { key, slots: 2 }),
		facts: {
			engine: 'llamacpp',
			engineVersion: 'b6840-0bf5f9a2',
			modelName: 'fake.gguf',
			ctx: 2_048,
			slots: 2,
			workloads: ['completion'],
			features: ['json_schema', 'grammar', 'logprobs', 'top_logprobs', 'tools', 'logit_bias', 'ignore_eos', 'resume'],
			modelDigest: null,
		},
		generates: /completions?$/,
		looks: /health$/,
		error: (code, quoted) => JSON.stringify({ error: { code, message: `Bad: ${quoted}`, type: 'invalid_request_error' } }),
		loading: {
			kind: 'status',
			status: 503,
			body: JSON.stringify({ error: { code: 503, message: 'Loading model', type: 'unavailable_error' } }),
		},
	});

	it('is asked to generate with every sampling field, for what is left out it takes from its command line', async () => {
		const { run, body, close } = await lookedAt();
		const sampling = { temperature: 0.5, topP: 0.9, topK: 0, minP: 0, repeatPenalty: 1.25, stop: ['x'], grammar: 'root ::= "a"' };
		await run({ prompt: 'Once', maxTokens: 3, seed: 9, sampling });
		assert.deepEqual(body(), {
			prompt: 'Once',
			stream: true,
			n_predict: 3,
			seed: 9,
			temperature: 0.5,
			top_p: 0.9,
			top_k: 0,
			min_p: 0,
			repeat_penalty: 1.25,
			presence_penalty: 0,
			frequency_penalty: 0,
			stop: ['x'],
			grammar: 'root ::= "a"',
			cache_prompt: true,
		});
		await run({ input: message('Once'), maxTokens: 3, sampling: { ...sampling, grammar: null, jsonSchema: { type: 'object' } } });
		const { messages, response_format: format, repeat_penalty: penalty, min_p: minP, cache_prompt: cache } = body('/v1/chat/completions');
		assert.deepEqual([messages, penalty, minP, cache], [[{ role: 'user', content: 'Once' }], 1.25, 0, true]);
		assert.deepEqual((format as { type: string }).type, 'json_schema');
		await close();
	});

	it('uses what a slot has of a prompt, unless the task is strict or wants it cold; a strict one is always in the same slot', async () => {
		const { run, body, close } = await lookedAt({ whole: true }, 1);
		await run({ prompt: 'Once upon a time', maxTokens: 2 });
		assert.ok((await run({ prompt: 'Once upon a time the fox', maxTokens: 2 })).usage.tokensCached >= 4);
		assert.equal((await run({ prompt: 'Once upon a time the fox', maxTokens: 2, kvHint: 'cold' })).usage.tokensCached, 0);
		assert.deepEqual([body()['cache_prompt'], body()['id_slot']], [false, undefined]);
		const lease = { epoch: 1, id: 900, poolId: 'up', replicaId: 'up-0', exclusive: true };
		await run({ prompt: 'Once upon a time', maxTokens: 2, strict: true, lease });
		assert.deepEqual([body()['cache_prompt'], body()['id_slot']], [false, 0]);
		await close();
	});

	it('is asked for the slot that the lease of a session names, by either path, unless it is to choose', async () => {
		const { run, body, close } = await lookedAt({ whole: true });
		const lease = { epoch: 1, id: 901, poolId: 'up', replicaId: 'up-0', exclusive: false, slot: 2 };
		await run({ prompt: 'Once upon a time', maxTokens: 2, lease });
		// The lowest that is idle is what the fake would have chosen.
		const { usage } = await run({ prompt: 'Once upon a time the fox', maxTokens: 2, lease });
		assert.ok(usage.tokensCached >= 4);
		assert.deepEqual([body()['cache_prompt'], body()['id_slot']], [true, 2]);
		await run({ input: message('Once'), maxTokens: 2, lease });
		assert.equal(body('/v1/chat/completions')['id_slot'], 2);
		await close();
		const chooses = await lookedAt({ whole: true }, 4, { session_slots: false });
		await chooses.run({ prompt: 'Once upon a time', maxTokens: 2, lease });
		assert.equal(chooses.body()['id_slot'], undefined);
		await chooses.close();
	});

	it('has a KV cache whose use is told where the server tells it, as older ones do', async () => {
		const { fake, looked, replica, close } = await lookedAt({ metricsPath: true, kvUsage: 0.25 }, 4, {}, 5);
		assert.equal(replica.tellsKvUsage, true);
		await looked.hasKvUsage(0.25);
		fake.kvUsage = 0.5;
		await looked.hasKvUsage(0.5);
		await close();
		const untold = await lookedAt({ metricsPath: true });
		assert.equal(untold.replica.tellsKvUsage, undefined);
		await untold.close();
	});

	it('tells the ids of tokens as far as a character of several tokens, and counts all of them', async () => {
		const { run, close } = await lookedAt();
		const { pieces, usage } = await run({ maxTokens: 60, tellIds: true });
		const first = pieces.findIndex(({ tokens }) => tokens > 1);
		assert.ok(first >= 0, 'there is such a character');
		assert.ok(pieces.slice(0, first).every(({ ids }) => ids.length === 1));
		assert.ok(pieces.slice(first).every(({ ids }) => ids.length === 0));
		assert.equal(usage.tokensOut, 60);
		await close();
	});

	it('counts a chat with its own template, and names the pieces of a text', async () => {
		const { run, replica, port, close } = await lookedAt({ whole: true });
		const input = message('Once upon a time');
		const counted = await count(port, replica, input);
		assert.ok(counted.type === 'prompt-counted');
		assert.equal((await run({ input, maxTokens: 1 })).usage.tokensIn, counted.tokens);
		const news = await tokenize(port, replica, 'Once é');
		assert.ok(news.type === 'tokenized');
		assert.deepEqual(
			news.tokens.map(({ text }) => text),
			['Once', ' ', '\u{fffd}', '\u{fffd}'],
		);
		await close();
	});

	it('gives log-probabilities of a chat by way of its template, for its chat path has no ids', async () => {
		const { run, body, close } = await lookedAt({ whole: true });
		const { pieces, end } = await run({ input: message('Once'), maxTokens: 5, sampling: { logprobs: true } });
		assert.equal(end?.type, 'decode-ended');
		assert.equal(body()['prompt'], '<|user|>Once\n<|assistant|>');
		assert.ok(pieces.length === 5 && pieces.every(({ tokenId, logprob }) => tokenId !== null && logprob !== null));
		await close();
	});

	it('that ranks gives each text its score, in the order of the texts', async () => {
		const { replica, run, body, close } = await lookedAt({ mode: 'rerank' });
		assert.deepEqual([replica.workloads, replica.features], [['rerank'], []]);
		const input = { kind: 'inputs', inputs: ['no', 'a fox ran', 'nothing'], query: 'fox' } as const;
		const { end, usage } = await run({ workload: 'rerank', input });
		assert.ok(end?.type === 'embedded');
		assert.deepEqual(
			end.vectors.map((vector) => [...vector]),
			[[-0.5], [4.25], [-1.75]],
		);
		assert.ok(usage.tokensIn > 0 && usage.tokensOut === 0);
		assert.deepEqual(body('/v1/rerank'), { model: 'fake.gguf', query: 'fox', documents: input.inputs });
		const refused = await run({ workload: 'completion' });
		assert.equal(refused.failure?.code, 'INVALID_PARAMS');
		await close();
	});

	it('that embeds gives vectors', async () => {
		const { replica, run, close } = await lookedAt({ mode: 'embedding' });
		assert.deepEqual(replica.workloads, ['embedding']);
		const { end } = await run({ workload: 'embedding', input: { kind: 'inputs', inputs: ['ab', 'abc'], query: null } });
		assert.ok(end?.type === 'embedded');
		assert.deepEqual(
			end.vectors.map(([length]) => length),
			[2, 3],
		);
		await close();
	});

	it('is given no more tasks than it has slots, whatever the pool says', async () => {
		const { replica, close } = await lookedAt({ slots: 2 }, 64);
		assert.equal(replica.slots, 2);
		await close();
	});

	for (const [what, options, knows] of [
		['by its slots', {}, true],
		['by its metrics, where it does not show its slots', { slotsPath: false, metricsPath: true }, true],
		['not, where it shows neither', { slotsPath: false }, false],
	] as const) {
		it(`says whether it is busy: ${what}`, async () => {
			const { fake, replica, port, looked, close } = await lookedAt({ ...options, stepMs: 1, endsAfter: 10_000 });
			assert.deepEqual(await looked.audit(['1.1']), knows ? [] : ['1.1'], 'idle');
			fake.slots.held = true;
			const task = begin(port, replica, { input: raw('Once'), maxTokens: 1_000 });
			while (fake.slots.busy === 0) await new Promise(setImmediate);
			assert.deepEqual(await looked.audit(['1.1']), ['1.1'], 'busy');
			task.generation?.cancel();
			await task.hasEnded();
			await close();
		});
	}

	it('is told apart from another server', async () => {
		const fake = new FakeLlamaServer();
		fake.server.on('GET', '/props', (exchange) => exchange.json(200, { total_slots: 1 }));
		const { failure, close } = await lookAt(upstreamSettings('llamacpp', await fake.server.listen()));
		close();
		await fake.server.close();
		assert.deepEqual([failure?.code, failure?.retriable], ['POOL_UNAVAILABLE', false]);
		assert.match(failure?.message ?? '', /no llama-server/);
	});
});
