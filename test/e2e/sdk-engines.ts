/**
 * Every engine that the daemon speaks to, for the official clients: our llama.cpp, the scripted engine, and a fake of each engine over HTTP, as
 * pools of one daemon; and what each of them can do. What it cannot has the words that it is refused with.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { testFolder } from '../engines/embedded-world.ts';
import { FakeLlamaServer } from '../engines/fakes/fake-llama-server.ts';
import { FakeOpenai } from '../engines/fakes/fake-openai.ts';
import type { FakeServer } from '../engines/fakes/fake-server.ts';
import { FakeTgi } from '../engines/fakes/fake-tgi.ts';
import { FakeTriton } from '../engines/fakes/fake-triton.ts';
import { FakeVllm } from '../engines/fakes/fake-vllm.ts';
import { goldenTemplate } from '../fixtures/golden-gguf.ts';
import { type Daemon, startDaemon } from './daemon.ts';

export interface SdkEngine {
	readonly name: string;
	/** What a client calls its model, and its pool. */
	readonly pool: string;
	/** A pool whose model was taught to call tools; a pattern: how they are refused. */
	readonly tools: string | RegExp;
	/** Where one tool has to be called: OpenAI and vLLM say `stop`, others that it is a call. */
	readonly namedEnd: 'stop' | 'tool_calls';
	readonly schema: true | RegExp;
	readonly logprobs: true | RegExp;
	/** A pool that makes vectors, or scores. */
	readonly embeds: string | RegExp;
	readonly ranks: string | RegExp;
	/** Whether tokens of a prompt are counted before it is run. */
	readonly counts: true | RegExp;
	/** Null: it is the daemon's own. */
	readonly fake: keyof Fakes | null;
}

interface Fakes {
	readonly llama: FakeLlamaServer;
	readonly vllm: FakeVllm;
	readonly tgi: FakeTgi;
	readonly triton: FakeTriton;
	readonly openai: FakeOpenai;
}

const noVectors = /workload|embed/;
const noRanking = /workload|rerank/;

export const sdkEngines: readonly SdkEngine[] = [
	{
		...{ name: 'our llama.cpp', pool: 'tiny', tools: 'caller', namedEnd: 'tool_calls', schema: true, logprobs: true },
		...{ embeds: 'embeds', ranks: noRanking, counts: true, fake: null },
	},
	{
		...{ name: 'the scripted engine', pool: 'demo', tools: 'demo', namedEnd: 'tool_calls', schema: true, logprobs: true },
		...{ embeds: 'demo', ranks: 'demo', counts: true, fake: null },
	},
	{
		...{ name: 'llama-server', pool: 'llama', tools: 'llama', namedEnd: 'tool_calls', schema: true, logprobs: true },
		...{ embeds: 'llama-embeds', ranks: 'llama-ranks', counts: true, fake: 'llama' },
	},
	{
		...{ name: 'vLLM', pool: 'vllm', tools: 'vllm', namedEnd: 'stop', schema: true, logprobs: true },
		...{ embeds: 'vllm-embeds', ranks: 'vllm-ranks', counts: true, fake: 'vllm' },
	},
	{
		...{ name: 'TGI', pool: 'tgi', tools: 'tgi', namedEnd: 'tool_calls', schema: true, logprobs: true },
		...{ embeds: noVectors, ranks: noRanking, counts: true, fake: 'tgi' },
	},
	{
		...{ name: 'Triton', pool: 'triton', tools: /tools/, namedEnd: 'stop', schema: true, logprobs: /logprobs/ },
		...{ embeds: noVectors, ranks: noRanking, counts: /count/, fake: 'triton' },
	},
	{
		...{ name: 'an OpenAI endpoint', pool: 'openai', tools: 'openai', namedEnd: 'stop', schema: true, logprobs: true },
		...{ embeds: 'openai', ranks: noRanking, counts: /count/, fake: 'openai' },
	},
];

/** Tokens of every pool's context. */
export const contextTokens = 2_048;

export interface SdkEngineWorld {
	readonly daemon: Daemon;
	readonly fakes: Fakes;
	/** Until the engine works on nothing: it has been told of whoever left. */
	isFree(engine: SdkEngine): Promise<void>;
	stop(): Promise<void>;
}

const toolTemplate = goldenTemplate.replace('{% for', '{% if tools %}<|system|>{{ tools | tojson }} call as <tool_call>{% endif %}{% for');
const calling = ['<tool_call>', '{"name": "add",', ' "arguments":', ' {"a":', ' 1,', ' "b":', ' 2', '}}', '</tool_call>'];

export async function startSdkEngines(): Promise<SdkEngineWorld> {
	const folder = testFolder();
	// A millisecond a token: one that is left has not ended by itself.
	const paced = { stepMs: 1, endsAfter: 1_000_000 };
	const fakes: Fakes = {
		llama: new FakeLlamaServer({ ...paced, ctx: contextTokens }),
		vllm: new FakeVllm({ ...paced, maxModelLen: contextTokens }),
		tgi: new FakeTgi({ ...paced, maxTotalTokens: contextTokens }),
		triton: new FakeTriton({ ...paced, kind: 'tensorrt_llm_bls', maxInput: contextTokens }),
		openai: new FakeOpenai({ ...paced, ctx: contextTokens }),
	};
	const vectors = [
		new FakeLlamaServer({ mode: 'embedding' }),
		new FakeLlamaServer({ mode: 'rerank' }),
		new FakeVllm({ pools: true }),
		new FakeVllm({ pools: true }),
	] as const;
	const listening: readonly { readonly server: FakeServer }[] = [...Object.values(fakes), ...vectors];
	const urls = new Map(await Promise.all(listening.map(async (fake) => [fake, await fake.server.listen()] as const)));
	const template = join(folder.path, 'chat_template.jinja');
	writeFileSync(template, goldenTemplate);
	const external = (id: string, engine: string, fake: { readonly server: FakeServer }, more: object = {}): object => ({
		...{ id, engine, provider: 'external', url: urls.get(fake), slots: 4, max_tokens_out: contextTokens },
		...more,
	});
	const caller = folder.golden({
		chatTemplate: toolTemplate,
		words: calling,
		keys: { 'llama.context_length': { type: 'u32', value: contextTokens } },
	});
	const daemon = await startDaemon({
		config: {
			pools: [
				{ id: 'tiny', aliases: ['default'], slots: 4 },
				{ id: 'embeds', model: `file:${folder.golden({ poolingType: 1 })}`, slots: 1 },
				{ id: 'caller', model: `file:${caller}`, slots: 2, ctx: contextTokens },
				{
					...{ id: 'demo', engine: 'scripted', model: 'scripted:demo', slots: 4, ctx: contextTokens, max_tokens_out: contextTokens },
					scripted: { decode_tokens_per_s: 1_000, prefill_tokens_per_s: 1_000_000, tokens: 1_000_000 },
				},
				external('llama', 'llamacpp', fakes.llama),
				external('vllm', 'vllm', fakes.vllm),
				external('tgi', 'tgi', fakes.tgi),
				external('triton', 'triton', fakes.triton, { ctx: contextTokens, triton: { chat_template: template } }),
				external('openai', 'openai', fakes.openai, { ctx: contextTokens }),
				external('llama-embeds', 'llamacpp', vectors[0]),
				external('llama-ranks', 'llamacpp', vectors[1]),
				external('vllm-embeds', 'vllm', vectors[2], { vllm: { task: 'embed' } }),
				external('vllm-ranks', 'vllm', vectors[3], { vllm: { task: 'rerank' } }),
			],
		},
	});
	const health = async (pool: string): Promise<{ queue_depth: number; slots_total: number; slots_free: number }> => {
		const answer = (await (await fetch(`${daemon.url}/v2/pools/${pool}/health`)).json()) as { metrics: never };
		return answer.metrics;
	};
	return {
		daemon,
		fakes,
		async isFree({ pool, fake }) {
			for (;;) {
				const { queue_depth: waiting, slots_total: all, slots_free: free } = await health(pool);
				if (waiting === 0 && free === all && (fake === null || fakes[fake].slots.busy === 0)) return;
				await new Promise((resolve) => setImmediate(resolve));
			}
		},
		async stop() {
			await daemon.stop();
			for (const { server } of listening) await server.close();
			folder.remove();
			assert.deepEqual(
				listening.flatMap(({ server }) => server.strayed),
				[],
			);
		},
	};
}
