/** The vLLM adapter, against a server that is what vLLM's source says. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { pieceIsReasoning } from '../../src/actors/serving/decode.ts';
import type { UpstreamSettings } from '../../src/engines/upstream/upstream-settings.ts';
import { pieceBytes } from '../../src/engines/vllm/vocabulary-text.ts';
import { allPromised, conformance, type EnginePromises } from './conformance.ts';
import { begin, raw } from './decode-world.ts';
import { FakeVllm, type FakeVllmOptions } from './fakes/fake-vllm.ts';
import { LookedWorld } from './looked-world.ts';
import { upstreamConformance } from './upstream-conformance.ts';
import { upstreamSettings } from './upstream-world.ts';

const promises: EnginePromises = {
	...allPromised,
	aloneOrTogether: 'only where it runs with VLLM_BATCH_INVARIANT=1',
	tokensInAtStart: 'usage comes with the end',
	refusesBeyondSlots: 'what is too much waits in the engine',
};

const vllm = (options: FakeVllmOptions = {}, settings: Partial<UpstreamSettings> = {}): LookedWorld<FakeVllm> =>
	new LookedWorld('vllm', new FakeVllm(options), settings);

describe('vLLM', () => {
	conformance(() => vllm({ slots: 4, stepMs: 1 }).underTest(), promises);

	upstreamConformance({
		promises,
		start: () => new FakeVllm({ slots: 2, endsAfter: 60 }),
		settings: (url, key) => upstreamSettings('vllm', url, { key, slots: 2 }),
		facts: {
			engine: 'vllm',
			engineVersion: '0.11.2',
			modelName: 'org/fake-7b',
			ctx: 2_048,
			slots: 2,
			workloads: ['completion'],
			features: [
				'json_schema',
				'grammar',
				'logprobs',
				'top_logprobs',
				'tools',
				'images',
				'logit_bias',
				'ignore_eos',
				'min_tokens',
				'resume',
			],
			modelDigest: null,
		},
		generates: /completions$/,
		looks: /health$/,
		error: (code, quoted) => JSON.stringify({ error: { message: `Bad: ${quoted}`, type: 'BadRequestError', param: null, code } }),
		loading: null,
	});

	describe('of the version 0.11.2', () => {
		const world = vllm({ priority: true }, { options: { priority_scheduling: true } });
		before(() => world.start());
		after(() => world.close());

		it('is sent every sampling field, for what is left out it takes from the model', async () => {
			await world.run({ sampling: { temperature: 0.5, topK: 0, grammar: 'root ::= "a"' }, seed: 9, maxTokens: 3 });
			assert.deepEqual(world.body(/completions/), {
				model: 'org/fake-7b',
				stream: true,
				stream_options: { include_usage: true },
				max_tokens: 3,
				seed: 9,
				temperature: 0.5,
				top_p: 1,
				top_k: -1,
				min_p: 0,
				repetition_penalty: 1,
				presence_penalty: 0,
				frequency_penalty: 0,
				structured_outputs: { grammar: 'root ::= "a"' },
				prompt: 'Once upon a time',
			});
			await world.run({
				sampling: { jsonSchema: { type: 'object' } },
				input: { kind: 'messages', messages: [{ role: 'user', content: 'x' }] },
			});
			assert.deepEqual(world.body(/completions/)['response_format'], {
				type: 'json_schema',
				json_schema: { name: 'answer', schema: { type: 'object' }, strict: true },
			});
		});

		it('that was not started for tools refuses them where it may choose, and calls one that it has to', async () => {
			const other = await vllm({ callsTools: false }).start();
			const tools = [{ type: 'function', function: { name: 'add', parameters: { type: 'object' } } }] as const;
			const messages = [{ role: 'user', content: 'x' }];
			const asked = (choice: 'auto' | 'required') =>
				other.run({ input: { kind: 'messages', messages, toolUse: { tools, choice, parallel: true } } });
			const { failure, pieces } = await asked('auto');
			assert.deepEqual([failure?.code, pieces.length], ['INVALID_PARAMS', 0]);
			assert.match(failure?.message ?? '', /BadRequestError/);
			const { end } = await asked('required');
			assert.ok(end?.type === 'decode-ended' && end.finishReason === 'tool_calls');
			await other.close();
		});

		it('is told which class a task is of, where it orders its work by that', async () => {
			world.fake.priorities.length = 0;
			await world.run({ priority: 'batch', maxTokens: 1 });
			await world.run({ priority: 'interactive', maxTokens: 1 });
			assert.deepEqual(world.fake.priorities, [1, undefined]);
		});

		it('tells several tokens in one chunk as one piece, with the ids of all', async () => {
			const alone = await world.run({ maxTokens: 13, tellIds: true });
			world.fake.merged = 3;
			try {
				const together = await world.run({ maxTokens: 13, tellIds: true });
				assert.equal(together.text, alone.text);
				assert.deepEqual(
					together.pieces.flatMap(({ ids }) => ids),
					alone.pieces.flatMap(({ ids }) => ids),
				);
				assert.deepEqual([together.tokens, together.pieces.length < alone.pieces.length], [13, true]);
				const untold = await world.run({ maxTokens: 13 });
				assert.deepEqual([untold.text, untold.tokens, untold.usage.tokensOut], [alone.text, 13, 13]);
			} finally {
				world.fake.merged = 1;
			}
		});

		it('tells more tokens in one chunk than a piece can count, with the ids of all', async () => {
			const options = { maxTokens: 400, tellIds: true } as const;
			const alone = await world.run(options);
			world.fake.merged = 300;
			try {
				const { pieces, text, tokens } = await world.run(options);
				assert.deepEqual([text, tokens], [alone.text, 400]);
				assert.ok(pieces.every((piece) => piece.ids.length === piece.tokens));
				assert.deepEqual(
					pieces.flatMap(({ ids }) => ids),
					alone.pieces.flatMap(({ ids }) => ids),
				);
			} finally {
				world.fake.merged = 1;
			}
		});

		it('is not begun with while its tokenizer is asked: a cancel is done at once, and what goes wrong there has begun nothing', async () => {
			const long = { input: raw('a'.repeat(3_000)), maxTokens: 10, ctx: 2_048 } as const;
			const generated = (): number => world.fake.server.asked.filter(({ path }) => path.endsWith('completions')).length;
			const before = generated();
			for (const leave of ['cancel', 'abandon'] as const) {
				world.fake.server.fault({ kind: 'bytes', bytes: '', ending: 'hold' }, /tokenize/);
				const task = begin(world.looked.port, world.replica, long);
				task.generation?.[leave]();
				task.generation?.[leave]();
				assert.equal(task.end?.type, leave === 'cancel' ? 'decode-cancelled' : undefined);
				assert.equal(world.looked.port.inFlight, 0);
			}
			world.fake.server.fault({ kind: 'status', status: 500 }, /tokenize/);
			const { end } = await world.run(long);
			assert.ok(end?.type === 'decode-failed');
			assert.deepEqual([end.failure.code, end.began, end.slot], ['WORKER_RESET', 'no', 'free']);
			assert.equal((await world.run(long)).failure?.code, 'INVALID_PARAMS', 'it does not fit');
			assert.equal(generated(), before);
		});

		it('makes no more than fits, where a task names no limit', async () => {
			const task = await world.run({ input: raw('a'.repeat(2_000)), maxTokens: 1_000, ctx: 2_048 });
			assert.ok(task.end?.type === 'decode-ended' && task.end.finishReason === 'length');
			assert.deepEqual([task.usage.tokensIn, task.tokens], [2_001, 47]);
		});

		it('says by its metrics whether it works on anything', () => world.tellsWhetherBusy());

		it('says how full its KV cache is', async () => {
			assert.equal(world.replica.tellsKvUsage, true);
			await world.looked.hasKvUsage(0.25);
		});

		it('tells thoughts apart, and no ids of them: nobody can go on behind them', async () => {
			const said = (delta: object, reason: string | null = null): string =>
				`data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: reason, token_ids: [300] }] })}\n\n`;
			const deltas = [
				said({ role: 'assistant', content: '' }),
				said({ reasoning_content: 'Hm' }),
				said({ reasoning: '.' }),
				said({ reasoning_content: '..', content: 'Well' }),
				said({ content: 'Yes' }, 'stop'),
			];
			const bytes = `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n${deltas.join('')}data: [DONE]\n\n`;
			world.fake.server.fault({ kind: 'bytes', bytes, ending: 'close' }, /completions/);
			const task = await world.run({ input: { kind: 'messages', messages: [{ role: 'user', content: 'x' }] }, tellIds: true });
			assert.deepEqual(
				task.pieces.map(({ text, channel, ids, tokens }) => [text, channel, ids.length, tokens]),
				[
					['Hm', pieceIsReasoning, 0, 1],
					['.', pieceIsReasoning, 0, 1],
					['..', pieceIsReasoning, 0, 0],
					['Well', 0, 0, 1],
					['Yes', 0, 1, 1],
				],
			);
		});

		it('that gives a request up has not ended it', async () => {
			world.fake.server.fault(
				{
					kind: 'bytes',
					bytes: `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {"choices":[{"index":0,"text":"","finish_reason":"abort"}]}\n\ndata: [DONE]\n\n`,
					ending: 'close',
				},
				/completions/,
			);
			assert.equal((await world.run({})).failure?.code, 'WORKER_RESET');
		});
	});

	it('of an older version is asked by the names that it has, and tells no ids', async () => {
		const world = await vllm({ version: '0.9.1' }).start();
		assert.ok(!world.replica.features.includes('resume'));
		await world.run({ sampling: { grammar: 'root ::= "a"' } });
		assert.equal(world.body(/completions/)['guided_grammar'], 'root ::= "a"');
		await world.close();
	});

	it('that can sleep is woken before it is used, and put to sleep when it is used no more', async () => {
		const world = vllm({ canSleep: true }, { options: { sleep: true } });
		world.fake.sleeping = true;
		await world.start();
		assert.equal((await world.run({ maxTokens: 2 })).tokens, 2);
		assert.deepEqual(world.fake.slept, ['/wake_up']);
		world.looked.close();
		while (world.fake.slept.length < 2) await new Promise(setImmediate);
		assert.deepEqual(world.fake.slept, ['/wake_up', '/sleep?level=1']);
		await world.close();
	});

	it('that was not started so that it can sleep is refused in words', async () => {
		const world = await vllm({}, { options: { sleep: true } }).start();
		assert.match(world.looked.failure?.message ?? '', /VLLM_SERVER_DEV_MODE=1/);
		await world.close();
	});

	it('has its pieces read as the bytes that they stand for, of byte-level vocabularies and of SentencePiece', () => {
		const texts = (pieces: readonly string[]): string => Buffer.concat([...pieceBytes(pieces)]).toString();
		assert.equal(texts(['Once', 'Ġupon', 'ĠÃ¼', 'Ċ', 'æ', 'Ĺ', '¥', '<|im_end|>']), 'Once upon ü\n日<|im_end|>');
		assert.equal(texts(['▁Once', '▁', '<0xE6>', '<0x97>', '<0xA5>', 'Ġ']), ' Once 日Ġ');
	});

	it('of a model that makes vectors embeds texts', async () => {
		const world = await vllm({ pools: true }, { options: { task: 'embed' } }).start();
		const task = await world.run({ workload: 'embedding', input: { kind: 'inputs', inputs: ['a', 'bcd'], query: null } });
		assert.ok(task.end?.type === 'embedded');
		assert.deepEqual(
			[task.end.vectors.map((vector) => [...vector]), task.usage.tokensIn],
			[
				[
					[1, 0.5],
					[3, 0.5],
				],
				7,
			],
		);
		assert.equal((await world.run({})).failure?.code, 'INVALID_PARAMS');
		await world.close();
	});

	it('of a model that ranks scores texts, in their own order', async () => {
		const world = await vllm({ pools: true }, { options: { task: 'rerank' } }).start();
		const task = await world.run({ workload: 'rerank', input: { kind: 'inputs', inputs: ['a', 'b'.repeat(50)], query: 'which' } });
		assert.ok(task.end?.type === 'embedded');
		assert.deepEqual(
			task.end.vectors.map((vector) => [...vector]),
			[[Math.fround(0.01)], [0.5]],
		);
		await world.close();
	});
});
