/** The OpenAI adapter, against an endpoint that is exactly what OpenAI specifies. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { noTokenId } from '../../src/actors/serving/decode.ts';
import { allPromised, conformance, type EnginePromises, type EngineUnderTest } from './conformance.ts';
import { begin, generate, raw } from './decode-world.ts';
import { FakeOpenai } from './fakes/fake-openai.ts';
import { upstreamConformance } from './upstream-conformance.ts';
import { lookAt, upstreamSettings } from './upstream-world.ts';

const noIds = 'the API names no token ids';
const promises: EnginePromises = {
	...allPromised,
	tokensInAtStart: 'usage comes with the end',
	resume: noIds,
	resumeChat: noIds,
	counts: 'the API has no tokenizer',
	tokenizes: 'the API has no tokenizer',
	refusesBeyondSlots: 'what is too much waits in the engine, or is refused with 429',
	judgesCtx: 'the engine judges by itself, with 400',
};

async function fakeOpenai(): Promise<EngineUnderTest> {
	const fake = new FakeOpenai({ slots: 4, stepMs: 1 });
	const looked = await lookAt(upstreamSettings('openai', await fake.server.listen()));
	assert.ok(looked.replica !== null, JSON.stringify(looked.failure));
	return {
		replica: looked.replica,
		port: looked.port,
		kill: () => fake.server.kill(),
		async close() {
			looked.close();
			await fake.server.close();
			assert.deepEqual(fake.server.strayed, []);
		},
	};
}

describe('an OpenAI endpoint', () => {
	conformance(fakeOpenai, promises);

	upstreamConformance({
		promises,
		start: () => new FakeOpenai({ slots: 2, endsAfter: 60 }),
		settings: (url, key) => upstreamSettings('openai', url, { key, slots: 2 }),
		facts: {
			engine: 'openai',
			engineVersion: 'unknown',
			modelName: 'gpt-fake',
			ctx: 2_048,
			slots: 2,
			workloads: ['completion', 'embedding'],
			features: ['json_schema', 'logprobs', 'top_logprobs', 'tools', 'images', 'logit_bias'],
			modelDigest: null,
		},
		generates: /completions$/,
		looks: /models$/,
		error: (status, quoted) =>
			JSON.stringify({ error: { message: `Bad: ${quoted}`, type: 'invalid_request_error', param: null, code: `e${status}` } }),
		loading: { kind: 'status', status: 503, headers: { 'retry-after': '2' } },
	});

	it('that does not notice that its client left is told of after two seconds: nobody knows of its slot', async () => {
		const fake = new FakeOpenai({ stepMs: 1, endsAfter: 100_000 });
		const looked = await lookAt(upstreamSettings('openai', await fake.server.listen()));
		assert.ok(looked.replica !== null);
		fake.server.fault({ kind: 'deaf' }, /completions/);
		const task = begin(looked.port, looked.replica, { maxTokens: 100_000 });
		await task.hasPieces(1);
		task.generation?.cancel();
		const end = await task.hasEnded();
		assert.ok(end.type === 'decode-failed');
		assert.deepEqual([end.slot, end.began], ['unknown', 'maybe']);
		looked.close();
		await fake.server.close();
	});

	it('is asked for no schema with a raw prompt, which engines would pass over, and for a penalty by the names of each', async () => {
		const fake = new FakeOpenai();
		fake.ownedBy = 'llamacpp';
		const looked = await lookAt(upstreamSettings('openai', await fake.server.listen()));
		assert.ok(looked.replica !== null);
		const { failure } = await generate(looked.port, looked.replica, { sampling: { jsonSchema: { type: 'array' } } });
		assert.deepEqual([failure?.code, /messages only/.test(failure?.message ?? '')], ['INVALID_PARAMS', true]);
		await generate(looked.port, looked.replica, { maxTokens: 2, sampling: { repeatPenalty: 1.5 } });
		const body = JSON.parse(fake.server.asked.at(-1)?.body ?? '{}') as Record<string, unknown>;
		assert.deepEqual([body['repetition_penalty'], body['repeat_penalty']], [undefined, 1.5]);
		looked.close();
		await fake.server.close();
	});

	it('is sent what only some engines have where its models are of such an engine, under their names; else a task that needs it is refused', async () => {
		for (const [ownedBy, sampling, extra] of [
			[
				'vllm',
				{ topK: 5, minP: 0.5, repeatPenalty: 1.5, ignoreEos: true, minTokens: 1 },
				{ top_k: 5, min_p: 0.5, repetition_penalty: 1.5, ignore_eos: true, min_tokens: 1 },
			],
			// What is off is said, too: for what is left out they have defaults of their own.
			['sglang', { topK: 0 }, { top_k: -1, min_p: 0, repetition_penalty: 1 }],
			[
				'llamacpp',
				{ topK: 0, repeatPenalty: 1.5, ignoreEos: true },
				{ ignore_eos: true, top_k: 0, min_p: 0, repeat_penalty: 1.5, presence_penalty: 0, frequency_penalty: 0 },
			],
			['system', { topK: 5 }, {}],
			['system', { minP: 0.5 }, null],
			['system', { repeatPenalty: 1.5 }, null],
		] as const) {
			const fake = new FakeOpenai();
			fake.ownedBy = ownedBy;
			const looked = await lookAt(upstreamSettings('openai', await fake.server.listen()));
			assert.ok(looked.replica !== null);
			const task = await generate(looked.port, looked.replica, { prompt: 'Once', maxTokens: 2, seed: 3, sampling });
			const known = {
				model: 'gpt-fake',
				stream: true,
				stream_options: { include_usage: true },
				max_tokens: 2,
				seed: 3,
				temperature: 0,
				top_p: 1,
			};
			if (extra === null) assert.match(task.failure?.message ?? '', /the OpenAI API has none/);
			else assert.deepEqual(JSON.parse(fake.server.asked.at(-1)?.body ?? ''), { ...known, ...extra, prompt: 'Once' });
			looked.close();
			await fake.server.close();
		}
	});

	it('is asked in the fields that the configuration names, whatever its models say', async () => {
		const chat = { kind: 'messages', messages: [{ role: 'user', content: 'Once' }], templateArgs: { enable_thinking: false } } as const;
		for (const [dialect, ownedBy, extra] of [
			['openai', 'vllm', {}],
			['vllm', 'system', { top_k: 40, min_p: 0.1, repetition_penalty: 1, chat_template_kwargs: { enable_thinking: false } }],
		] as const) {
			const fake = new FakeOpenai();
			fake.ownedBy = ownedBy;
			const options = { dialect, max_tokens: 'max_completion_tokens' };
			const looked = await lookAt(upstreamSettings('openai', await fake.server.listen(), { options }));
			assert.ok(looked.replica !== null);
			const sampling = { topK: 40, ...(dialect === 'vllm' ? { minP: 0.1 } : {}) };
			await generate(looked.port, looked.replica, { input: chat, maxTokens: 2, seed: 3, sampling });
			const { messages: _messages, ...body } = JSON.parse(fake.server.asked.at(-1)?.body ?? '') as Record<string, unknown>;
			const known = { model: 'gpt-fake', stream: true, stream_options: { include_usage: true }, seed: 3, temperature: 0, top_p: 1 };
			assert.deepEqual(body, { ...known, max_completion_tokens: 2, ...extra });
			looked.close();
			await fake.server.close();
		}
	});

	it('that knows OpenAI alone is sent no arguments for a template', async () => {
		const fake = new FakeOpenai();
		const looked = await lookAt(upstreamSettings('openai', await fake.server.listen()));
		const { replica, port } = looked;
		assert.ok(replica !== null);
		const chat = { kind: 'messages', messages: [{ role: 'user', content: 'Once' }] } as const;
		const done = await generate(port, replica, {
			input: { ...chat, templateArgs: { enable_thinking: true, reasoning_effort: 'low' } },
			maxTokens: 2,
		});
		assert.equal(done.tokens, 2);
		const { failure } = await generate(port, replica, { input: { ...chat, templateArgs: { date: 'today' } }, maxTokens: 2 });
		assert.deepEqual([failure?.code, failure?.message], ['INVALID_PARAMS', 'template_args.date is given; the OpenAI API has none']);
		looked.close();
		await fake.server.close();
		assert.deepEqual(fake.server.strayed, []);
	});

	it('tells the log-probability of each token, without an id, which the API has not; one that tells none has refused the task', async () => {
		const fake = new FakeOpenai();
		const looked = await lookAt(upstreamSettings('openai', await fake.server.listen()));
		const { replica, port } = looked;
		assert.ok(replica !== null);
		const chat = { kind: 'messages', messages: [{ role: 'user', content: 'Once' }] } as const;
		for (const input of [raw('Once'), chat]) {
			const plain = await generate(port, replica, { input, maxTokens: 60 });
			const task = await generate(port, replica, { input, maxTokens: 60, sampling: { logprobs: true } });
			assert.deepEqual([task.text, task.tokens, task.usage.tokensOut], [plain.text, plain.tokens, plain.usage.tokensOut]);
			const texts = task.pieces.filter(({ text }) => text !== '');
			assert.ok(
				texts.some(({ tokens }) => tokens > 1),
				'a character of several tokens is there',
			);
			assert.ok(texts.every(({ tokenId, logprob }) => tokenId === noTokenId && logprob !== null && logprob <= 0));
		}
		fake.scores = false;
		const { failure } = await generate(port, replica, { maxTokens: 4, sampling: { logprobs: true } });
		assert.deepEqual([failure?.code, failure?.message], ['INVALID_PARAMS', 'sampling.logprobs is given; the engine answers without them']);
		looked.close();
		await fake.server.close();
		assert.deepEqual(fake.server.strayed, []);
	});

	it('is to serve another model only where it has that, as it says itself before anything is stopped', async () => {
		const fake = new FakeOpenai();
		const url = await fake.server.listen();
		const looked = await lookAt(upstreamSettings('openai', url));
		const has = await looked.withModel('gpt-fake');
		assert.deepEqual(has.ok && has.settings, upstreamSettings('openai', url, { model: 'gpt-fake' }));
		const other = await looked.withModel('gpt-other');
		assert.match(other.ok ? '' : other.failure.message, /gpt-other/);
		looked.close();
		await fake.server.close();
		const away = await looked.withModel('gpt-fake');
		assert.match(away.ok ? '' : away.failure.message, /no answer from the engine/);
	});

	it('is read the same when each delta hides its length', async () => {
		const fake = new FakeOpenai();
		const looked = await lookAt(upstreamSettings('openai', await fake.server.listen()));
		assert.ok(looked.replica !== null);
		const input = { kind: 'messages', messages: [{ role: 'user', content: 'Once' }] } as const;
		const plain = await generate(looked.port, looked.replica, { input });
		fake.obfuscates = true;
		const hidden = await generate(looked.port, looked.replica, { input });
		assert.deepEqual([hidden.text, hidden.tokens], [plain.text, plain.tokens]);
		looked.close();
		await fake.server.close();
	});
});
