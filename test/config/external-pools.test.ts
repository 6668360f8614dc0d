/** Pools whose engine is elsewhere, as their users write them: url, key, replicas, and what a slip is answered. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadConfig, type World } from '../../src/config.ts';
import { ConfigError } from '../../src/config-check.ts';
import { externalEngines } from '../../src/config-pool.ts';
import { upstreamEngines } from '../../src/engines/upstream/adapter.ts';
import { upstreamAdapters } from '../../src/engines/upstream-adapters.ts';
import { load, refusal, world } from './loading.ts';

test('an engine elsewhere has a replica for each url, and its key from the environment or a file', () => {
	const one = load(
		[],
		'pools: [{ id: a, engine: openai, provider: external, url: ["http://x:1", "unix:/run/e.sock:/base"], key_env: KEY }]',
		{
			KEY: ' sk-1 ',
		},
	).pools[0];
	assert.deepEqual(
		[one?.replicas, one?.upstream],
		[2, { urls: ['http://x:1', 'unix:/run/e.sock:/base'], key: 'sk-1', model: null, connectMs: 3_000, options: {} }],
	);
	assert.deepEqual(
		externalEngines,
		upstreamEngines.filter((engine) => upstreamAdapters[engine] !== undefined),
	);
});

test('a section of an engine holds what is said of that engine alone', () => {
	const pool = 'id: a, provider: external, url: "http://x:1"';
	const options = (more: string): unknown => load([], `pools: [{ ${pool}, ${more} }]`).pools[0]?.upstream?.options;
	assert.deepEqual(options('engine: vllm, vllm: { sleep: true }'), { task: 'generate', priority_scheduling: false, sleep: true });
	assert.deepEqual(options('engine: vllm'), {});
	assert.deepEqual(options('engine: llamacpp, llamacpp: { session_slots: false }'), { session_slots: false });
	assert.deepEqual(options('engine: openai, openai: { dialect: vllm }'), { dialect: 'vllm', max_tokens: 'max_tokens' });
	assert.match(
		refusal([], 'pools: [{ id: a, engine: llamacpp, model: "file:/m.gguf", llamacpp: {} }]'),
		/provider is embedded; it belongs to a llama-server/,
	);
	assert.deepEqual(options('engine: triton, triton: {}'), { text: 'auto' });
	assert.match(refusal([], `pools: [{ ${pool}, engine: openai, vllm: {} }]`), /^pools\[0\]\.vllm is set, .*belongs to engine: vllm$/);
	assert.match(refusal([], `pools: [{ ${pool}, engine: vllm, vllm: { slep: true } }]`), /did you mean pools\[0\]\.vllm\.sleep/);
	assert.match(refusal([], `pools: [{ ${pool}, engine: vllm, vllm: { task: x } }]`), /vllm\.task is "x"; .*generate, embed/);
	assert.match(
		refusal([], 'pools: [{ id: a, provider: managed, engine: vllm, preset: vllm, model: m, vllm: { sleep: true } }]'),
		/vllm\.sleep is true, but .*provider is managed/,
	);
});

test('the chat template of a Triton is read from its file, or from the tokenizer configuration of its model', () => {
	const files: Readonly<Record<string, string>> = {
		'/m/chat_template.jinja': '{{ messages }}',
		'/m/tokenizer_config.json': JSON.stringify({ chat_template: 'old', eos_token: { content: '</s>' } }),
		'/srv/fox/alone.jinja': 'alone',
		'/m/several.json': JSON.stringify({
			chat_template: [
				{ name: 'tool_use', template: 't' },
				{ name: 'default', template: 'd' },
			],
			eos_token: '<|end|>',
		}),
		'/m/none.json': '{}',
		'/m/wrong.json': '{',
		'/m/empty.jinja': '\n',
	};
	const readFile = (path: string): string => {
		const text = files[path];
		if (text === undefined) throw Object.assign(new Error(path), { code: 'ENOENT' });
		return text;
	};
	const around = (file: string): World => {
		const pool = { id: 'a', engine: 'triton', provider: 'external', url: 'http://x:1', triton: { chat_template: file } };
		const config = JSON.stringify({ pools: [pool] });
		return { ...world(config), readFile: (path) => (path === '/etc/orchestratord.yaml' ? config : readFile(path)) };
	};
	for (const [file, source, eos] of [
		['/m/chat_template.jinja', '{{ messages }}', '</s>'],
		['/m/tokenizer_config.json', 'old', '</s>'],
		['alone.jinja', 'alone', ''],
		['/m/several.json', 'd', '<|end|>'],
	] as const) {
		const { upstream } = loadConfig([], around(file)).pools[0] ?? {};
		assert.deepEqual(upstream?.options, { text: 'auto', chat_template: source, eos_token: eos });
	}
	for (const [file, words] of [
		['/m/gone.jinja', /^pools\[0\]\.triton\.chat_template is \/m\/gone\.jinja, which cannot be read \(ENOENT\)/],
		['/m/none.json', /which has no chat_template; newer models have it in a file beside it, chat_template\.jinja/],
		['/m/wrong.json', /which is no JSON/],
		['/m/empty.jinja', /which is empty/],
	] as const)
		assert.throws(
			() => loadConfig([], around(file)),
			(error: unknown) => error instanceof ConfigError && words.test(error.problems[0] ?? ''),
		);
});

const refusals: readonly (readonly [name: string, flags: readonly string[], file: string, env: World['env'], said: RegExp])[] = [
	[
		'a url of an engine that is ours',
		[],
		'pools: [{ id: a, url: "http://x" }]',
		{},
		/^pools\[0\]\.url is set, but .*belongs to provider: external$/,
	],
	['an engine elsewhere without its url', [], 'pools: [{ id: a, engine: openai, provider: external }]', {}, /^pools\[0\]\.url is missing/],
	[
		'an engine elsewhere that is called ours',
		[],
		'pools: [{ id: a, engine: openai }]',
		{},
		/^pools\[0\]\.engine is openai, which runs elsewhere/,
	],
	[
		'an engine that is nowhere else',
		[],
		'pools: [{ id: a, engine: scripted, provider: external, url: "http://x" }]',
		{},
		/^pools\[0\]\.engine is scripted; with provider: external it is one of llamacpp, vllm, tgi, triton, openai/,
	],
	...['ftp://x', 'http://user:secret@x', 'http://x?a=b', 'unix:relative', 'x'].map(
		(url) =>
			[
				`the url ${url}`,
				[],
				`pools: [{ id: a, engine: openai, provider: external, url: "${url}" }]`,
				{},
				/^pools\[0\]\.url is ".*"; it must be http:\/\/host:port, https:\/\/host or unix:\/path\/to\.sock$/,
			] as const,
	),
	[
		'a key that is not there',
		[],
		'pools: [{ id: a, engine: openai, provider: external, url: "http://x", key_env: NO_SUCH }]',
		{},
		/^pools\[0\]\.key_env is NO_SUCH, which is not set in the environment$/,
	],
	[
		'a key that no header takes',
		[],
		'pools: [{ id: a, engine: openai, provider: external, url: "http://x", key_env: KEY }]',
		{ KEY: 'two words' },
		/^pools\[0\]\.key_env holds a key with characters that no header takes$/,
	],
	[
		'fewer urls than replicas',
		[],
		'pools: [{ id: a, engine: openai, provider: external, url: ["http://x", "http://y"], replicas: 3 }]',
		{},
		/^pools\[0\]\.replicas is 3, but pools\[0\]\.url names 2/,
	],
];
for (const [name, flags, file, env, said] of refusals) {
	test(`${name} is refused in words`, () => assert.match(refusal(flags, file, env), said));
}
