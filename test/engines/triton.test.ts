/** The Triton adapter, against a server that is what its documents say, with models of each backend. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { EngineOptions } from '../../src/engines/upstream/adapter.ts';
import { allPromised, conformance, type EnginePromises } from './conformance.ts';
import { raw } from './decode-world.ts';
import { FakeTriton, type FakeTritonOptions } from './fakes/fake-triton.ts';
import { LookedWorld } from './looked-world.ts';
import { upstreamConformance } from './upstream-conformance.ts';
import { upstreamSettings } from './upstream-world.ts';

const noTokenizer = 'Triton has no tokenizer that is asked';
const promises: EnginePromises = {
	...allPromised,
	aloneOrTogether: 'a batch of another size may change the last digits',
	tokensInAtStart: 'num_input_tokens comes with a text',
	logprobs: 'the ids of tokens are not among its outputs',
	tops: 'no likeliest tokens are among its outputs',
	resume: 'it takes text only, and tells no ids',
	resumeChat: 'it takes text only, and tells no ids',
	chats: 'it has no chat path',
	counts: noTokenizer,
	tokenizes: noTokenizer,
	refusesBeyondSlots: 'what is too much waits in the engine',
	judgesCtx: 'the engine judges by itself, with 400',
};
const unmarked: EnginePromises = { ...promises, marksEnd: 'the end of a text is the end of its body' };

/** As models have it: with what a tokenizer puts before a text, and the end of each answer. */
const template =
	"{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}[assistant]{{ mood }}";
const templated = { chat_template: template, eos_token: '</s>' };

const triton = (options: FakeTritonOptions = {}, text = 'auto', more: EngineOptions = {}): LookedWorld<FakeTriton> =>
	new LookedWorld('triton', new FakeTriton(options), { model: options.kind ?? 'ensemble', options: { text, ...more } });

describe('Triton with tensorrt_llm_bls', () => {
	conformance(() => triton({ kind: 'tensorrt_llm_bls', slots: 4, stepMs: 1 }).underTest(), unmarked);
});

describe('Triton with vllm_model', () => {
	const chats: EnginePromises = { ...promises, chats: true };
	conformance(() => triton({ kind: 'vllm_model', slots: 4, stepMs: 1 }, 'auto', templated).underTest(), chats);

	upstreamConformance({
		promises: chats,
		start: () => new FakeTriton({ kind: 'vllm_model', slots: 2, endsAfter: 60 }),
		settings: (url, key) => upstreamSettings('triton', url, { key, model: 'vllm_model', slots: 2, options: templated }),
		facts: {
			engine: 'triton',
			engineVersion: '2.60.0',
			modelName: 'vllm_model',
			slots: 2,
			workloads: ['completion'],
			features: ['ignore_eos', 'min_tokens'],
			chatTemplate: { baseBytes: 1_024, perMessageBytes: 64 },
			modelDigest: null,
		},
		generates: /generate_stream$/,
		looks: /ready$/,
		error: (_status, quoted) => JSON.stringify({ error: `Bad: ${quoted}` }),
		loading: { kind: 'status', status: 400 },
	});
});

describe('Triton', () => {
	it('is asked for what the model has inputs for, in the names of its backend', async () => {
		const sampling = { temperature: 0.5, topP: 0.9, topK: 7, repeatPenalty: 1.1, stop: ['x'] };
		const ensemble = await triton().start();
		await ensemble.run({ maxTokens: 3, seed: 9, sampling });
		assert.deepEqual(ensemble.body(/generate/), {
			text_input: 'Once upon a time',
			stream: true,
			exclude_input_in_output: true,
			return_num_input_tokens: true,
			max_tokens: 3,
			temperature: 0.5,
			top_p: 0.9,
			seed: 9,
			top_k: 7,
			repetition_penalty: 1.1,
			stop_words: ['x'],
		});
		await ensemble.run({ maxTokens: 3, sampling: { jsonSchema: { type: 'object' } } });
		const { guided_decoding_guide: guide, top_k: topK, temperature } = ensemble.body(/generate/) as Record<string, unknown>;
		assert.deepEqual([guide, topK, temperature], ['{"type":"object"}', 1, undefined]);
		await ensemble.close();
		const vllm = await triton({ kind: 'vllm_model' }).start();
		await vllm.run({ maxTokens: 3, seed: 9, sampling });
		const { sampling_parameters: parameters, ...body } = vllm.body(/generate/) as Record<string, unknown>;
		assert.deepEqual(body, {
			text_input: 'Once upon a time',
			stream: true,
			exclude_input_in_output: true,
			return_num_input_tokens: true,
			return_num_output_tokens: true,
			return_finish_reason: true,
		});
		assert.deepEqual(JSON.parse(String(parameters)), {
			max_tokens: 3,
			seed: 9,
			temperature: 0.5,
			top_p: 0.9,
			top_k: 7,
			min_p: 0,
			repetition_penalty: 1.1,
			presence_penalty: 0,
			frequency_penalty: 0,
			stop: ['x'],
		});
		await vllm.close();
	});

	it('is refused messages and fields for which its model has no input, in words', async () => {
		const world = await triton({ without: ['repetition_penalty', 'guided_decoding_guide', 'guided_decoding_guide_type'] }).start();
		for (const [options, words] of [
			[{ input: { kind: 'messages', messages: [{ role: 'user', content: 'x' }] } }, /^messages are given; Triton has no chat template/],
			[{ sampling: { repeatPenalty: 1.5 } }, /^sampling\.repeat_penalty is given/],
			[{ sampling: { jsonSchema: {} } }, /^sampling\.json_schema is given/],
			[{ sampling: { grammar: 'root ::= "a"' } }, /^sampling\.grammar is given/],
			[{ sampling: { logprobs: true } }, /^sampling\.logprobs is given/],
		] as const) {
			const { failure } = await world.run(options);
			assert.equal(failure?.code, 'INVALID_PARAMS');
			assert.match(failure.message, words);
		}
		await world.close();
	});

	it('is given messages by the template that the pool names, without what its tokenizer puts before a text', async () => {
		const world = await triton({}, 'auto', templated).start();
		const chat = {
			kind: 'messages',
			messages: [
				{ role: 'system', content: 'Be short.' },
				{ role: 'user', content: 'Hi' },
				{ role: 'assistant', content: 'Ho' },
				{ role: 'user', content: 'Bye' },
			],
			templateArgs: { mood: ' (glad)' },
		} as const;
		for (const [input, text] of [
			[chat, '[system] Be short.\n[user] Hi\n[assistant] Ho</s>\n[user] Bye\n[assistant] (glad)'],
			[{ kind: 'prompt', raw: false, text: 'Hi' }, '[user] Hi\n[assistant]'],
			[raw('Hi'), 'Hi'],
		] as const) {
			assert.equal((await world.run({ input, maxTokens: 2 })).tokens, 2);
			assert.equal(world.body(/generate/)['text_input'], text);
		}
		const tool = { type: 'function', function: { name: 'add' } } as const;
		const { failure } = await world.run({ input: { ...chat, toolUse: { tools: [tool], choice: 'auto', parallel: true } } });
		assert.match(failure?.message ?? '', /^tools are given/);
		await world.close();
		const picky = await triton({}, 'auto', {
			chat_template: "{{ raise_exception('No system role') if messages[0]['role'] == 'system' }}",
		}).start();
		const refused = await picky.run({ input: chat });
		assert.deepEqual([refused.failure?.code, /No system role/.test(refused.failure?.message ?? '')], ['INVALID_PARAMS', true]);
		await picky.close();
		const broken = await triton({}, 'auto', { chat_template: '{% for %}' }).start();
		assert.deepEqual([broken.looked.failure?.code, broken.looked.failure?.retriable], ['POOL_UNAVAILABLE', false]);
		assert.match(broken.looked.failure?.message ?? '', /^triton\.chat_template: the model's chat template cannot be read/);
		await broken.close();
	});

	it('says how full its KV cache is, where its metrics are at the same address', async () => {
		const world = triton();
		world.fake.blocks = [1_560, 6_240];
		await world.start();
		assert.deepEqual(world.replica.features, ['json_schema', 'grammar']);
		assert.equal(world.replica.tellsKvUsage, true);
		await world.looked.hasKvUsage(0.25);
		await world.close();
	});

	it('tells why a text ended by how many tokens came, where its backend does not say', async () => {
		const world = await triton({ endsAfter: 8 }).start();
		const ends = [];
		for (const maxTokens of [7, 8, 10]) {
			const { end, tokens, usage } = await world.run({ maxTokens });
			ends.push([end?.type === 'decode-ended' && end.finishReason, tokens, usage.tokensIn > 1]);
		}
		assert.deepEqual(ends, [
			['length', 7, true],
			['length', 8, true],
			['stop', 9, true],
		]);
		await world.close();
	});

	it('that tells the whole text each time is not read as if it told what is new, and the other way round', async () => {
		const whole = await triton({ kind: 'tensorrt_llm_bls' }).start();
		const said = await whole.run({ maxTokens: 40 });
		assert.doesNotMatch(said.text, /\ufffd(?!$)/, 'no character is told before it is whole');
		await whole.close();
		const wrong = triton({ kind: 'ensemble' }, 'whole');
		await wrong.start();
		assert.match((await wrong.run({ maxTokens: 12 })).failure?.message ?? '', /is triton\.text delta\?/);
		await wrong.close();
	});

	it('is cut at a stop string that it does not see, for its own are tokens', async () => {
		const world = await triton({ kind: 'tensorrt_llm_bls' }).start();
		const whole = await world.run({ input: raw('Once upon a time'), maxTokens: 40 });
		const word = / (\w{4,})/.exec(whole.text)?.[1] ?? '';
		const cut = await world.run({ maxTokens: 40, sampling: { stop: [word.slice(0, -1)] } });
		assert.deepEqual(
			[cut.text, cut.usage.tokensOut, cut.usage.tokensIn],
			[whole.text.slice(0, whole.text.indexOf(word)), cut.tokens, whole.usage.tokensIn],
		);
		while (world.fake.slots.busy > 0) await new Promise(setImmediate);
		await world.close();
	});

	it('with several models wants one named; a model that is not for text is refused with what it has', async () => {
		const several = await new LookedWorld('triton', new FakeTriton()).start();
		assert.match(several.looked.failure?.message ?? '', /name one with model: ensemble, postprocessing/);
		await several.close();
		const other = await triton({ without: ['max_tokens'] }).start();
		assert.match(
			other.looked.failure?.message ?? '',
			/needs the inputs text_input and max_tokens, or sampling_parameters; it has text_input/,
		);
		await other.close();
	});
});
