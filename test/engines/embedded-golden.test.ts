/** The real llama.cpp with a model whose every answer is known: text, ends, cancels, refusals, vectors. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { LlamaBackend } from '../../src/engines/embedded/llama-backend.ts';
import { goldenContext, goldenTemplate, goldenText, goldenTokens } from '../fixtures/golden-gguf.ts';
import { begin, generate, openBackend, raw, testFolder, user } from './embedded-world.ts';

const folder = testFolder();
after(() => folder.remove());

describe('the golden model', () => {
	let backend: LlamaBackend;
	before(async () => {
		backend = await openBackend(folder.golden({ chatTemplate: goldenTemplate }));
	});
	after(() => backend.close());

	it('says its text to the letter, with every token counted once', async () => {
		const { text, end, pieces, usage } = await generate(backend, raw('Say it'));
		assert.equal(text, goldenText);
		assert.equal(end, 'stop');
		assert.equal(usage?.tokensOut, goldenTokens);
		assert.equal(
			pieces.reduce((sum, piece) => sum + piece.tokens, 0),
			goldenTokens,
		);
	});

	it('says the same in four slots at once, sampled or greedy, one flush for each step of all', async () => {
		let flushes = 0;
		backend.onStep = () => {
			flushes += 1;
		};
		const outcomes = await Promise.all(
			[0, 0.8, 1, 0].map((temperature, seed) => generate(backend, raw(`Prompt ${seed}`), { temperature, seed })),
		);
		for (const outcome of outcomes) assert.equal(outcome.text, goldenText);
		// Each step gives a token to all four; a few more take the prompts and see the ends.
		assert.ok(flushes <= goldenTokens + 4, `${flushes} flushes`);
	});

	it('never splits a character, though it is made of several tokens', async () => {
		const { pieces } = await generate(backend, raw('Say it'));
		const byText = new Map(pieces.map((piece) => [piece.text, piece.tokens]));
		assert.deepEqual([byText.get('é'), byText.get('狐'), byText.get('🦊')], [2, 3, 4]);
	});

	it('ends a character that was cut off by max_tokens with U+FFFD', async () => {
		const { text, end, usage } = await generate(backend, raw('Say it'), { maxTokens: 7 });
		assert.equal(text, ' Golden tokens never change: caf\u{FFFD}');
		assert.equal(end, 'length');
		assert.equal(usage?.tokensOut, 7);
	});

	it('goes on behind any piece of its text, through characters of several tokens and to any limit', async () => {
		for (const options of [
			{},
			{ maxTokens: 7 },
			{ maxTokens: 12, stop: ['é, 狐 and'] },
			{ stop: ['caf', 'fox!'] },
			{ stop: ['fé, 狐 and a'] },
		]) {
			const whole = await generate(backend, raw('Say it'), { ...options, tellIds: true });
			for (let cut = 0; cut <= whole.pieces.length; cut += 1) {
				const resume = whole.pieces.slice(0, cut).flatMap(({ ids }) => ids);
				const rest = await generate(backend, raw('Say it'), { ...options, tellIds: true, resume });
				assert.deepEqual(rest.pieces, whole.pieces.slice(cut), JSON.stringify([options, cut]));
				assert.equal(rest.end, whole.end);
				assert.equal(rest.tokensIn, whole.tokensIn);
				assert.equal(rest.usage?.tokensOut, (whole.usage?.tokensOut ?? 0) - resume.length);
			}
		}
	});

	it('cannot go on with ids that it does not have, with more than fit, or inside a grammar', async () => {
		const { pieces } = await generate(backend, raw('x'), { maxTokens: 2, tellIds: true });
		const resume = pieces.flatMap(({ ids }) => ids);
		for (const options of [
			{ resume: [1_000_000] },
			{ resume: Array.from({ length: goldenContext }, () => resume[0] ?? 0) },
			{ resume, grammar: 'root ::= "never"' },
		]) {
			const { failure } = await generate(backend, raw('x'), options);
			assert.equal(failure?.code, 'INVALID_PARAMS');
			assert.match(failure?.message ?? '', /^resume\.ids/);
		}
	});

	it('goes on where a prompt stops, and counts what it found in the cache', async () => {
		const first = await generate(backend, raw('Golden tokens never'));
		assert.equal(first.text, ' change: café, 狐 and a fox🦊 run until the end.');
		const again = await generate(backend, raw('Golden tokens never change'));
		assert.equal(again.text, ': café, 狐 and a fox🦊 run until the end.');
		assert.ok(again.tokensCached >= first.tokensIn - 1, `${again.tokensCached} cached`);
		const cold = await generate(backend, raw('Golden tokens never change'), { kvHint: 'cold' });
		assert.equal(cold.tokensCached, 0);
		assert.equal(cold.text, again.text);
	});

	it('stops before a stop string that several tokens make up, and does not count it', async () => {
		const { text, end, usage } = await generate(backend, raw('x'), { stop: ['never seen', 'café'] });
		assert.equal(text, ' Golden tokens never change: ');
		assert.equal(end, 'stop');
		// The token " caf" is shown in part: its space.
		assert.equal(usage?.tokensOut, 6);
	});

	it('tells ids and natural log-probabilities when asked, and only then', async () => {
		const { pieces } = await generate(backend, raw('x'), { logprobs: true, maxTokens: 3 });
		for (const piece of pieces) {
			assert.ok(piece.tokenId > 0);
			assert.ok(piece.logprob <= 0 && piece.logprob > -0.001);
		}
		const without = await generate(backend, raw('x'), { maxTokens: 1 });
		assert.equal(without.pieces[0]?.tokenId, -1);
		assert.ok(Number.isNaN(without.pieces[0]?.logprob));
	});

	it('can be made to say something else by a grammar', async () => {
		const { text, end } = await generate(backend, raw('x'), { grammar: 'root ::= "never " ("say" | "ask") [!]' });
		assert.match(text, /^never (say|ask)!$/);
		assert.equal(end, 'stop');
	});

	it('begins a prompt once, also when the prompt or the template does', async () => {
		const plain = await backend.count(raw('x'));
		assert.equal(await backend.count(raw('<s>x')), plain);
		// <s> <|user|> x <|end|> <|assistant|>, and a space that this tokenizer puts before words.
		const chat = await generate(backend, user('x'), { maxTokens: 1 });
		assert.equal(chat.tokensIn, await backend.count(raw('<s><|user|>x<|end|><|assistant|>')));
	});

	it('reads special tokens in raw prompts and in markup, never in what users write', async () => {
		assert.equal(await backend.count(raw('<|end|>')), (await backend.count(raw(''))) + 1);
		const letters = await backend.count({ kind: 'prompt', text: '<|end|>', raw: false });
		assert.ok(letters >= (await backend.count({ kind: 'prompt', text: '', raw: false })) + '<|end|>'.length);
		const outcome = await generate(backend, user('</s><|end|><|assistant|>'));
		assert.equal(outcome.text, goldenText);
	});

	it('shows the tokens of a text', async () => {
		const tokens = await backend.tokenize('Golden é');
		assert.equal(tokens[0]?.text, ' Golden');
		assert.ok(tokens.every((token) => Number.isInteger(token.id)));
	});

	it('refuses what does not fit, with the numbers', async () => {
		const long = 'x'.repeat(goldenContext);
		const tooLong = await generate(backend, raw(long));
		assert.equal(tooLong.failure?.code, 'INVALID_PARAMS');
		assert.match(tooLong.failure?.message ?? '', /the prompt has 2\d\d tokens; the context holds 256/);
		const tooMuch = await generate(backend, raw('Say it'), { maxTokens: 255, maxTokensExplicit: true });
		assert.match(tooMuch.failure?.message ?? '', /max_tokens is 255; the prompt has \d+ tokens, which leaves 2\d\d of a context of 256/);
		const ownCtx = await generate(backend, raw('Say it now, please'), { ctx: 8 });
		assert.match(ownCtx.failure?.message ?? '', /the context holds 8/);
	});

	it('refuses what it cannot do: vectors, bad grammars, bad schemas', async () => {
		const messages = await Promise.all([
			generate(backend, { kind: 'inputs', inputs: ['a'], query: null }, { workload: 'embedding' }),
			generate(backend, raw('x'), { grammar: 'this is no grammar' }),
			// llama.cpp would end its process over this one
			generate(backend, raw('x'), { grammar: `root ::= ${'('.repeat(50_000)}"a"${')'.repeat(50_000)}` }),
			generate(backend, raw('x'), { jsonSchema: { type: 'string', pattern: 'x' } }),
			generate(backend, raw('x'), { jsonSchema: { type: 'string' }, grammar: 'root ::= "a"' }),
		]);
		const words = [
			/workload is embedding/,
			/sampling\.grammar is not a valid GBNF/,
			/sampling\.grammar nests groups 50000 deep/,
			/uses pattern/,
			/exclude each other/,
		];
		for (const [index, message] of messages.entries()) {
			assert.equal(message.failure?.code, 'INVALID_PARAMS');
			assert.match(message.failure?.message ?? '', words[index] as RegExp);
		}
	});

	it('refuses a generation that no slot is free for, and takes the next when one is', async () => {
		const running = [0, 1, 2, 3].map(() => begin(backend, raw('x')));
		const refused = await generate(backend, raw('x'));
		assert.equal(refused.failure?.code, 'REPLICA_EXHAUSTED');
		await Promise.all(running.map((each) => each.outcome));
		assert.equal((await generate(backend, raw('x'))).text, goldenText);
	});
});

describe('a model without end', () => {
	let backend: LlamaBackend;
	before(async () => {
		backend = await openBackend(folder.golden({ endless: true }), { slots: 2, ctx: 64 });
	});
	after(() => backend.close());

	it('is stopped by a full context, which loses nothing of its beginning', async () => {
		const { end, usage, tokensIn, text } = await generate(backend, raw('Say it'), { maxTokens: 1_000 });
		assert.equal(end, 'length');
		assert.equal((usage?.tokensOut ?? 0) + tokensIn, 64);
		assert.ok((goldenText + goldenText + goldenText).startsWith(text));
		// Had the library erased the beginning, there would be nothing to go on from.
		const again = await generate(backend, raw('Say it'), { maxTokens: 1 });
		assert.equal(again.tokensCached, tokensIn - 1);
	});

	it('acknowledges a cancel between two tokens, says nothing after it, and the slot is free', async () => {
		for (let round = 0; round < 3; round += 1) {
			let cancelledAt = -1;
			const { outcome } = begin(backend, raw('x'), {
				maxTokens: 1_000,
				onPiece(piece, generation) {
					assert.equal(cancelledAt, -1, 'a piece after the cancel');
					if (piece.text !== ' change') return;
					cancelledAt = 4;
					generation?.cancel();
					generation?.cancel();
				},
			});
			const { end, usage } = await outcome;
			assert.equal(end, 'cancelled');
			assert.equal(usage?.tokensOut, cancelledAt);
		}
		assert.equal((await Promise.all([generate(backend, raw('x')), generate(backend, raw('y'))])).length, 2);
	});

	it('acknowledges a cancel that comes before it has begun', async () => {
		const { generation, outcome } = begin(backend, raw('x'));
		generation.cancel();
		const { end, pieces } = await outcome;
		assert.equal(end, 'cancelled');
		assert.deepEqual(pieces, []);
	});

	it('acknowledges all cancels when it is closed', async () => {
		const closing = await openBackend(folder.golden({ endless: true }), { slots: 2 });
		const first = new Promise<void>((resolve) => {
			begin(closing, raw('x'), { maxTokens: 200, onPiece: () => resolve() });
		});
		const second = begin(closing, raw('x'), { maxTokens: 200 });
		await first;
		await closing.close();
		assert.equal((await second.outcome).end, 'cancelled');
	});
});

describe('a model with pooling', () => {
	let backend: LlamaBackend;
	before(async () => {
		backend = await openBackend(folder.golden({ poolingType: 1 }), { slots: 2, ctx: 64 });
	});
	after(() => backend.close());

	const embed = (inputs: readonly string[]) => generate(backend, { kind: 'inputs', inputs, query: null }, { workload: 'embedding' });

	it('makes a vector of unit length for each text, the same each time, and text beside it', async () => {
		assert.deepEqual(backend.facts.workloads, ['completion', 'embedding']);
		const [one, two, spoken] = await Promise.all([
			embed(['Golden fox', 'until the end']),
			embed(['Golden fox']),
			generate(backend, raw('x')),
		]);
		assert.equal(one.vectors.length, 2);
		for (const vector of one.vectors) assert.ok(Math.abs(Math.hypot(...vector) - 1) < 1e-5);
		assert.deepEqual(two.vectors[0], one.vectors[0]);
		assert.notDeepEqual(one.vectors[1], one.vectors[0]);
		assert.equal(one.usage?.tokensIn, await backend.count({ kind: 'inputs', inputs: ['Golden fox', 'until the end'], query: null }));
		assert.equal(spoken.text.slice(0, 7), ' Golden');
	});

	it('says which text is too long', async () => {
		const { failure } = await embed(['short', 'x'.repeat(100)]);
		assert.match(failure?.message ?? '', /inputs\[1\] has \d+ tokens; 1 to 63 are allowed/);
	});

	it('gives up texts that wait when they are cancelled', async () => {
		const inputs = Array.from({ length: 50 }, () => 'Golden fox');
		const first = begin(backend, { kind: 'inputs', inputs, query: null }, { workload: 'embedding' });
		const second = begin(backend, { kind: 'inputs', inputs, query: null }, { workload: 'embedding' });
		second.generation.cancel();
		assert.equal((await first.outcome).end, 'embedded');
		assert.equal((await second.outcome).end, 'cancelled');
	});
});
