/** The real llama.cpp with the built-in model: sampling, reproducibility, grammars, caches, many at once. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { PromptInput } from '../../src/actors/serving/task-request.ts';
import type { LlamaBackend } from '../../src/engines/embedded/llama-backend.ts';
import { begin, builtInModel, generate, openBackend, raw, user } from './embedded-world.ts';

describe('the built-in model', () => {
	let backend: LlamaBackend;
	before(async () => {
		backend = await openBackend(builtInModel);
	});
	after(() => backend.close());

	it('says what it is and what it can do', () => {
		const { facts } = backend;
		assert.match(facts.engineVersion, /^llama\.cpp \S+ via node-llama-cpp 3\.22\.1$/);
		assert.equal(facts.modelDigest, 'sha256:f160817b9255e7637293c1e68ba43b4e0c2048df9589b140bcad94092ee6c592');
		assert.equal(facts.ctx, 1024);
		assert.equal(facts.device, 'CPU (1 thread)');
		assert.deepEqual(facts.workloads, ['completion']);
		assert.ok((facts.chatTemplate?.perMessageBytes ?? 0) > 0);
	});

	const prompts: readonly PromptInput[] = ['a fox', 'a lantern in the rain', 'the sea', 'two friends and a kite'].map((about) =>
		user(`Tell me a story about ${about}`),
	);

	it('says the same greedily alone, beside others, and strictly, with the spaces before its full stops', async () => {
		const alone = [];
		for (const prompt of prompts) alone.push((await generate(backend, prompt, { maxTokens: 60, kvHint: 'cold' })).text);
		const together = await Promise.all(prompts.map((prompt) => generate(backend, prompt, { maxTokens: 60 })));
		assert.deepEqual(
			together.map((outcome) => outcome.text),
			alone,
		);
		const strict = await generate(backend, prompts[0] as PromptInput, { maxTokens: 60, strict: true });
		assert.equal(strict.tokensCached, 0);
		assert.equal(strict.text, alone[0]);
	});

	it('says the same again for the same seed, alone or beside others, and something else for another', async () => {
		const [prompt] = prompts as [PromptInput];
		const sampled = (seed: number) => generate(backend, prompt, { temperature: 1, topP: 1, topK: 0, seed, maxTokens: 50 });
		const first = await sampled(11);
		const [again, other] = await Promise.all([sampled(11), sampled(12)]);
		assert.equal(again.text, first.text);
		assert.notEqual(other.text, first.text);
		// The largest seed there is.
		assert.equal((await sampled(2 ** 32 - 2)).text, (await sampled(2 ** 32 - 2)).text);
	});

	it('keeps to its penalties and to the narrowest choice', async () => {
		const plain = await generate(backend, raw('Once upon a time'), { maxTokens: 40 });
		const narrow = await generate(backend, raw('Once upon a time'), { maxTokens: 40, temperature: 1, topK: 1, seed: 5 });
		assert.equal(narrow.text, plain.text);
		const noOther = await generate(backend, raw('Once upon a time'), { maxTokens: 40, temperature: 1, minP: 1, seed: 5 });
		assert.equal(noOther.text, plain.text);
		const free = await generate(backend, prompts[0] as PromptInput, { maxTokens: 40 });
		for (const penalty of [{ repeatPenalty: 1.8 }, { presencePenalty: 2 }, { frequencyPenalty: 2 }]) {
			const one = await generate(backend, prompts[0] as PromptInput, { maxTokens: 40, ...penalty });
			const two = await generate(backend, prompts[0] as PromptInput, { maxTokens: 40, ...penalty });
			assert.equal(one.text, two.text);
			assert.notEqual(one.text, free.text);
		}
	});

	it('tells log-probabilities of the tokens it chose', async () => {
		const { pieces, text } = await generate(backend, prompts[0] as PromptInput, { logprobs: true, maxTokens: 20 });
		const plain = await generate(backend, prompts[0] as PromptInput, { maxTokens: 20 });
		assert.equal(text, plain.text);
		for (const piece of pieces) assert.ok(piece.logprob <= 0 && piece.logprob > -10 && piece.tokenId >= 0);
		assert.ok(pieces.some((piece) => piece.logprob < -0.001));
	});

	it('writes JSON that keeps to a schema, for any seed, and nothing after it', async () => {
		const jsonSchema = {
			type: 'object',
			properties: {
				name: { type: 'string', minLength: 1, maxLength: 12 },
				age: { type: 'integer' },
				kind: { enum: ['fox', 'owl'] },
				tags: { type: 'array', items: { type: 'boolean' }, minItems: 1, maxItems: 2 },
				note: { anyOf: [{ type: 'null' }, { type: 'boolean' }] },
			},
			required: ['name', 'age', 'kind', 'tags', 'note'],
			additionalProperties: false,
		};
		const outcomes = await Promise.all(
			[1, 2, 3, 4].map((seed) =>
				generate(backend, user('Give me a small JSON object'), { jsonSchema, temperature: 0.7, seed, maxTokens: 300 }),
			),
		);
		for (const { text, end } of outcomes) {
			// A number may go on until the tokens are gone: then there is no end to check.
			if (end === 'length') continue;
			assert.equal(end, 'stop');
			assert.equal(text, text.trim());
			const value = JSON.parse(text) as Record<string, unknown>;
			assert.deepEqual(Object.keys(value), ['name', 'age', 'kind', 'tags', 'note']);
			assert.ok(Number.isInteger(value['age']));
			assert.ok(value['kind'] === 'fox' || value['kind'] === 'owl');
			assert.ok(Array.isArray(value['tags']) && value['tags'].every((tag) => typeof tag === 'boolean'));
		}
		assert.ok(outcomes.some((outcome) => outcome.end === 'stop'));
	});

	it('goes on behind the end of its text where that is to end nothing, and counts it as a token; no further than told', async () => {
		const plain = await generate(backend, raw('Once upon a time'), { maxTokens: 500 });
		const made = ({ usage }: typeof plain): number => usage?.tokensOut ?? 0;
		assert.equal(plain.end, 'stop');
		for (const [more, end, tokens] of [
			[{ ignoreEos: true }, 'length', 500],
			[{ minTokens: made(plain) + 20 }, 'stop', made(plain) + 20],
			[{ minTokens: made(plain) }, 'stop', made(plain)],
		] as const) {
			const on = await generate(backend, raw('Once upon a time'), { maxTokens: 500, ...more });
			assert.ok(on.text.startsWith(plain.text));
			assert.equal(on.end, end);
			assert.ok(made(on) >= tokens, `${made(on)} tokens`);
		}
		const ignored = await generate(backend, raw('Once upon a time'), { maxTokens: 500, ignoreEos: true, stop: ['the'] });
		assert.equal(ignored.end, 'stop');
	});

	it('finds a conversation that goes on in its cache, and says what it would have said without', async () => {
		const first = await generate(backend, user('My name is Mira. Tell me a story about a kite'), { maxTokens: 40 });
		const next: PromptInput = {
			kind: 'messages',
			messages: [
				{ role: 'user', content: 'My name is Mira. Tell me a story about a kite' },
				{ role: 'assistant', content: first.text },
				{ role: 'user', content: 'What is my name?' },
			],
		};
		const warm = await generate(backend, next, { maxTokens: 30 });
		const cold = await generate(backend, next, { maxTokens: 30, kvHint: 'cold' });
		assert.ok(warm.tokensCached >= first.tokensIn, `${warm.tokensCached} of ${warm.tokensIn} cached`);
		assert.equal(cold.tokensCached, 0);
		assert.equal(warm.text, cold.text);
	});

	const longPrompt = raw('The fox walked on and on through the wood. '.repeat(75));

	it('lets others decode while it takes a long prompt', async () => {
		const events: string[] = [];
		const long: Promise<unknown>[] = [];
		const short = begin(backend, prompts[1] as PromptInput, {
			maxTokens: 60,
			onPiece() {
				events.push('piece');
				if (long.length > 0) return;
				const other = generate(backend, longPrompt, {
					maxTokens: 1,
					kvHint: 'cold',
					onStarted: () => events.push('long started'),
					onPiece: () => events.push('long piece'),
				});
				long.push(other);
			},
		});
		await short.outcome;
		await Promise.all(long);
		const between = events.slice(events.indexOf('long started'), events.indexOf('long piece'));
		assert.ok(between.filter((event) => event === 'piece').length >= 1, events.join(', '));
	});

	it('acknowledges a cancel in the middle of a long prompt', async () => {
		assert.ok((await backend.count(longPrompt)) > 600);
		const { generation, outcome } = begin(backend, longPrompt, {
			kvHint: 'cold',
			onStarted: () => setImmediate(() => generation.cancel()),
		});
		const { end, pieces } = await outcome;
		assert.equal(end, 'cancelled');
		assert.deepEqual(pieces, []);
		assert.equal((await generate(backend, longPrompt, { maxTokens: 1 })).usage?.tokensOut, 1);
	});

	it('counts a long prompt as it would in one go, and lets others decode meanwhile', async () => {
		const sentence = 'The fox walked on, and on; through 12 woods! 狐 ran. ';
		const [one, two] = [await backend.count(raw(sentence)), await backend.count(raw(sentence.repeat(2)))];
		let pieces = 0;
		const counting: Promise<number>[] = [];
		const { outcome } = begin(backend, prompts[0] as PromptInput, {
			maxTokens: 20,
			onPiece() {
				pieces += 1;
				if (pieces === 1) counting.push(backend.count(raw(sentence.repeat(70))));
			},
		});
		await outcome;
		assert.equal(pieces, 20);
		assert.deepEqual(await Promise.all(counting), [one + 69 * (two - one)]);
	});

	it('refuses megabytes without reading them all', async () => {
		const { failure } = await generate(backend, raw('la '.repeat(1_000_000)));
		assert.match(failure?.message ?? '', /the prompt has at least \d+ tokens; the context holds 1024/);
		await assert.rejects(backend.tokenize('x'.repeat(600_000)), /text has 600000 bytes; at most 524288/);
	});

	it('survives many short lives: started, cancelled, stopped, in any order', async () => {
		const lives = Array.from({ length: 40 }, (_life, index) => index);
		const slots = 4;
		let next = 0;
		const ends = new Map<string, number>();
		const worker = async (): Promise<void> => {
			while (next < lives.length) {
				const index = next;
				next += 1;
				const { generation, outcome } = begin(backend, prompts[index % prompts.length] as PromptInput, {
					temperature: 0.9,
					seed: index,
					maxTokens: 1 + (index % 9),
					stop: index % 3 === 0 ? ['there', 'was'] : [],
					onPiece() {
						if (index % 5 === 0) generation.cancel();
					},
				});
				if (index % 7 === 0) generation.cancel();
				const { end, usage, pieces } = await outcome;
				ends.set(end, (ends.get(end) ?? 0) + 1);
				assert.equal(
					usage?.tokensOut,
					pieces.reduce((sum, piece) => sum + piece.tokens, 0),
				);
			}
		};
		await Promise.all(Array.from({ length: slots }, worker));
		assert.equal(ends.get('failed') ?? 0, 0);
		assert.ok((ends.get('cancelled') ?? 0) > 0 && (ends.get('length') ?? 0) > 0);
	});
});
