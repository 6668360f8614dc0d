/** The TGI adapter, against a server that is what TGI's source says. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { pieceIsToolCall } from '../../src/actors/serving/decode.ts';
import { allPromised, conformance, type EnginePromises } from './conformance.ts';
import { raw } from './decode-world.ts';
import { FakeTgi } from './fakes/fake-tgi.ts';
import { LookedWorld } from './looked-world.ts';
import { upstreamConformance } from './upstream-conformance.ts';
import { upstreamSettings } from './upstream-world.ts';

const noIds = 'it takes text only, so that nobody can go on behind ids';
const promises: EnginePromises = {
	...allPromised,
	aloneOrTogether: 'a batch of another size may change the last digits',
	tokensInAtStart: 'input_length comes with the end',
	resume: noIds,
	resumeChat: noIds,
	refusesBeyondSlots: 'what is too much waits in the engine, or is refused with 429',
};
const chat = { kind: 'messages', messages: [{ role: 'user', content: 'Once upon a time' }] } as const;

describe('TGI', () => {
	conformance(() => new LookedWorld('tgi', new FakeTgi({ slots: 4, stepMs: 1 })).underTest(), promises);

	upstreamConformance({
		promises,
		start: () => new FakeTgi({ slots: 2, endsAfter: 60 }),
		settings: (url, key) => upstreamSettings('tgi', url, { key, slots: 2 }),
		facts: {
			engine: 'tgi',
			engineVersion: '3.3.4',
			modelName: 'org/fake-7b-instruct',
			ctx: 2_048,
			slots: 2,
			workloads: ['completion'],
			features: ['json_schema', 'logprobs', 'top_logprobs', 'tools'],
			modelDigest: null,
		},
		generates: /generate_stream$|completions$/,
		looks: /health$/,
		error: (_status, quoted) => JSON.stringify({ error: `Input validation error: ${quoted}`, error_type: 'validation' }),
		loading: null,
	});

	describe('asked by its own names', () => {
		const world = new LookedWorld('tgi', new FakeTgi());
		before(() => world.start());
		after(() => world.close());

		it('has no sampling field that means off, for it refuses those', async () => {
			await world.run({ maxTokens: 3, sampling: { topP: 1, topK: 0 } });
			const off = { max_new_tokens: 3, details: true, decoder_input_details: false, return_full_text: false, do_sample: false };
			assert.deepEqual(world.body(/generate_stream/), { inputs: 'Once upon a time', parameters: off });
			await world.run({
				maxTokens: 3,
				seed: 0,
				sampling: { temperature: 0.5, topP: 0.9, topK: 7, repeatPenalty: 1.1, frequencyPenalty: 0.2, jsonSchema: { type: 'object' } },
			});
			assert.deepEqual(world.body(/generate_stream/)['parameters'], {
				...off,
				do_sample: true,
				temperature: 0.5,
				seed: 4_294_967_295,
				top_k: 7,
				top_p: 0.9,
				repetition_penalty: 1.1,
				frequency_penalty: 0.2,
				grammar: { type: 'json', value: { type: 'object' } },
			});
		});

		it('is given messages for its own template, and refused what its chat does not have', async () => {
			await world.run({ input: chat, seed: 5, maxTokens: 4, sampling: { temperature: 0.5, presencePenalty: 0.5 } });
			assert.deepEqual(world.body(/completions/), {
				model: 'tgi',
				messages: [{ role: 'user', content: 'Once upon a time' }],
				stream: true,
				stream_options: { include_usage: true },
				max_tokens: 4,
				temperature: 0.5,
				seed: 5,
				presence_penalty: 0.5,
			});
			for (const sampling of [{ repeatPenalty: 1.2 }, { minP: 0.1 }, { grammar: 'root ::= "a"' }]) {
				const { failure } = await world.run({ input: chat, sampling });
				assert.deepEqual([failure?.code, failure?.engine], ['INVALID_PARAMS', 'tgi']);
				assert.match(failure?.message ?? '', /^sampling\.\w+ is given; /);
			}
		});

		it('is given tools, and tells its one call as what it is, also one without arguments, or whose length cut it', async () => {
			const parameters = { type: 'object', properties: { a: { type: 'integer' }, b: { type: 'integer' } }, required: ['a', 'b'] };
			const tools = [
				{ type: 'function', function: { name: 'add', description: 'Adds', parameters } },
				{ type: 'function', function: { name: 'halt' } },
			] as const;
			const call = { id: 'c1', type: 'function', function: { name: 'halt', arguments: '{}' } } as const;
			const messages = [
				{ role: 'assistant', content: '', tool_calls: [call] },
				{ role: 'tool', content: 'done', tool_call_id: 'c1' },
			];
			const asked = (said: string, choice: 'auto' | 'required' | { readonly name: string }, maxTokens = 60) =>
				world.run({
					input: {
						kind: 'messages',
						messages: [...messages, { role: 'user', content: said }],
						toolUse: { tools, choice, parallel: false },
					},
					maxTokens,
				});
			const called = ({ pieces }: Awaited<ReturnType<typeof asked>>): [string | undefined, string] => {
				const deltas = pieces
					.filter(({ channel }) => channel === pieceIsToolCall)
					.map(({ text }) => JSON.parse(text) as { id?: string; function: { name?: string; arguments: string } });
				assert.deepEqual(
					deltas.map(({ id }) => id !== undefined),
					deltas.map((_, at) => at === 0),
				);
				return [deltas[0]?.function.name, deltas.map((delta) => delta.function.arguments).join('')];
			};
			const auto = await asked('call add {"a": 1, "b": [2, {"c": "}"}]}', 'auto');
			assert.deepEqual(called(auto), ['add', '{"a":1,"b":[2,{"c":"}"}]}']);
			assert.ok(auto.end?.type === 'decode-ended' && auto.end.finishReason === 'tool_calls');
			const body = world.body(/completions/);
			assert.deepEqual(body['tools'], [
				tools[0],
				{ type: 'function', function: { name: 'halt', parameters: { type: 'object', properties: {} } } },
			]);
			assert.deepEqual([body['tool_choice'], body['parallel_tool_calls']], [undefined, undefined]);
			assert.deepEqual((body['messages'] as readonly unknown[]).slice(0, 2), [{ role: 'assistant', tool_calls: [call] }, messages[1]]);
			assert.deepEqual(called(await asked('Hi', { name: 'halt' })), ['halt', '{}']);
			assert.deepEqual(world.body(/completions/)['tool_choice'], { type: 'function', function: { name: 'halt' } });
			assert.equal(
				(await asked('Hi', 'auto')).pieces.some(({ channel }) => channel === pieceIsToolCall),
				false,
			);
			const cut = await asked('call add {"a": 1, "b": [2, {"c": "}"}]}', 'auto', 45);
			assert.ok(cut.end?.type === 'decode-ended' && cut.end.finishReason === 'length', JSON.stringify(cut.end));
			const input = { ...chat, toolUse: { tools, choice: 'auto', parallel: true } } as const;
			for (const sampling of [{ jsonSchema: { type: 'object' } }, { logprobs: true }])
				assert.match((await world.run({ input, sampling })).failure?.message ?? '', /given with/);
		});

		it('is cut at a stop string that ends within a token, which it does not see itself', async () => {
			for (const input of [raw('Once upon a time'), chat]) {
				const whole = await world.run({ input, maxTokens: 40 });
				const word = / (\w{4,})/.exec(whole.text)?.[1] ?? '';
				const cut = await world.run({ input, maxTokens: 40, sampling: { stop: [word.slice(0, -1)] } });
				assert.ok(cut.end?.type === 'decode-ended' && cut.end.finishReason === 'stop');
				assert.equal(cut.text, whole.text.slice(0, whole.text.indexOf(word)));
				assert.deepEqual([cut.usage.tokensIn, cut.usage.tokensOut], [whole.usage.tokensIn, cut.tokens]);
				while (world.fake.slots.busy > 0) await new Promise(setImmediate);
			}
		});

		it('has the errors in its streams told by their kind, without their words', async () => {
			for (const [type, code] of [
				['validation', 'INVALID_PARAMS'],
				['overloaded', 'ADMISSION_REJECT'],
				['generation', 'WORKER_RESET'],
				['incomplete_generation', 'WORKER_RESET'],
			] as const) {
				world.fake.nextError = { error: 'quoted-secret', error_type: type };
				const { failure } = await world.run({});
				assert.equal(failure?.code, code);
				assert.doesNotMatch(failure.message, /quoted-secret/);
			}
		});

		it('makes no more than fits, where a task names no limit', async () => {
			const task = await world.run({ input: raw('a'.repeat(2_000)), maxTokens: 1_000, ctx: 2_048 });
			assert.deepEqual([task.usage.tokensIn, task.tokens], [2_001, 47]);
		});

		it('says by its metrics whether it works on anything', () => world.tellsWhetherBusy());
	});
});
