/**
 * The fakes themselves: what an adapter asks is right, and one thing wrong with it is seen. Each request that the adapters make is sent
 * again with a header missing, another content type, a field of another name or of another kind; a fake that lets it pass would let
 * an adapter stray.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, it } from 'node:test';
import type { PromptInput } from '../../src/actors/serving/task-request.ts';
import type { UpstreamEngine } from '../../src/engines/upstream/adapter.ts';
import { count, generate, type RequestOptions, raw, tokenize } from './decode-world.ts';
import { FakeLlamaServer } from './fakes/fake-llama-server.ts';
import { FakeOpenai } from './fakes/fake-openai.ts';
import type { FakeRequest } from './fakes/fake-server.ts';
import { FakeTgi } from './fakes/fake-tgi.ts';
import { FakeTriton } from './fakes/fake-triton.ts';
import { FakeVllm } from './fakes/fake-vllm.ts';
import type { FakeEngine } from './upstream-conformance.ts';
import { lookAt, upstreamSettings } from './upstream-world.ts';

const key = 'sk-secret';
const message: PromptInput = { kind: 'messages', messages: [{ role: 'user', content: 'Once' }] };
const tool = { type: 'function', function: { name: 'add', description: 'Adds.', parameters: { type: 'object' } } } as const;
const calls: PromptInput = { ...message, toolUse: { tools: [tool], choice: { name: 'add' }, parallel: false } };
const texts: PromptInput = { kind: 'inputs', inputs: ['a', 'b'], query: null };
const ranked: PromptInput = { kind: 'inputs', inputs: ['a', 'b'], query: 'q' };
const sampled = { temperature: 0.5, topP: 0.9, topK: 7, repeatPenalty: 1.1, presencePenalty: 0.1, frequencyPenalty: 0.2, minP: 0.01 };

/** All that some adapter has another request for; what an engine refuses is not sent. */
const tasks: readonly RequestOptions[] = [
	...[raw('Once'), message].flatMap((input) => [
		{ input },
		{ input, sampling: { logprobs: true, topLogprobs: 2, stop: ['never'] } },
		{ input, sampling: { temperature: 0.5, topP: 0.9, frequencyPenalty: 0.2 } },
		{ input, sampling: sampled },
		{ input, sampling: { jsonSchema: { type: 'object' } } },
		{ input, sampling: { grammar: 'root ::= "a"' } },
		{ input, sampling: { logitBias: { '7': 1 } } },
		{ input, maxTokens: 2, maxTokensExplicit: true, ctx: 64 },
		{ input, tellIds: true },
		{ input, tellIds: true, resume: { ids: [0x41] } },
	]),
	{ input: calls },
	{ input: { ...message, templateArgs: { reasoning_effort: 'low', enable_thinking: false } } },
	{ input: texts, workload: 'embedding' },
	{ input: ranked, workload: 'rerank' },
];

type Kind = readonly [name: string, engine: UpstreamEngine, make: () => FakeEngine, options?: Readonly<Record<string, string | boolean>>];
const kinds: readonly Kind[] = [
	['OpenAI endpoint', 'openai', () => new FakeOpenai()],
	['llama-server', 'llamacpp', () => new FakeLlamaServer()],
	['llama-server that embeds', 'llamacpp', () => new FakeLlamaServer({ mode: 'embedding' })],
	['llama-server that ranks', 'llamacpp', () => new FakeLlamaServer({ mode: 'rerank' })],
	['vLLM', 'vllm', () => new FakeVllm({ canSleep: true }), { sleep: true }],
	['vLLM of an older version', 'vllm', () => new FakeVllm({ version: '0.9.0' })],
	['vLLM that embeds', 'vllm', () => new FakeVllm({ pools: true }), { task: 'embed' }],
	['vLLM that ranks', 'vllm', () => new FakeVllm({ pools: true }), { task: 'rerank' }],
	['TGI', 'tgi', () => new FakeTgi()],
	['Triton with an ensemble', 'triton', () => new FakeTriton({ kind: 'ensemble' })],
	['Triton with vllm_model', 'triton', () => new FakeTriton({ kind: 'vllm_model' })],
];

/** What the adapter asks the fake for: each request once, of those that are alike. */
async function askedOf([, engine, , options = {}]: Kind, fake: FakeEngine, url: string): Promise<readonly FakeRequest[]> {
	const model = fake instanceof FakeTriton ? fake.model : null;
	const looked = await lookAt(upstreamSettings(engine, url, { key, model, options }));
	const { port, replica } = looked;
	assert.ok(replica !== null, JSON.stringify(looked.failure));
	const resumes = replica.features.includes('resume');
	for (const task of tasks) if (resumes || task.tellIds !== true) await generate(port, replica, { maxTokens: 3, ...task });
	for (const input of [raw('Once'), message, calls]) await count(port, replica, input);
	await tokenize(port, replica, 'Once');
	await looked.audit(['a lease']);
	looked.close();
	const seen = new Map<string, FakeRequest>();
	for (const request of fake.server.asked) seen.set(`${request.method} ${request.path} ${shapeOf(parsed(request.body))}`, request);
	return [...seen.values()];
}

type Fields = Readonly<Record<string, unknown>>;
const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value);

function parsed(body: string): unknown {
	return body === '' ? null : JSON.parse(body);
}

/** Names and kinds, without values. */
function shapeOf(value: unknown): string {
	if (Array.isArray(value)) return `[${shapeOf(value[0])}]`;
	if (!isFields(value)) return typeof value;
	return `{${Object.entries(value)
		.map(([name, each]) => `${name}:${shapeOf(each)}`)
		.join()}}`;
}

/** Their content is the client's own. */
const free = /^(schema|value|parameters|json_schema|logit_bias|chat_template_kwargs|template_args)$/;

/** The same body with one thing wrong with it: a field of another name, of another kind, and one too many. */
function* astray(value: unknown, where = ''): Generator<readonly [what: string, body: unknown]> {
	if (Array.isArray(value)) {
		if (isFields(value[0])) for (const [what, first] of astray(value[0], `${where}[0]`)) yield [what, [first, ...value.slice(1)]];
		return;
	}
	if (!isFields(value)) return;
	yield [`${where} with a field that is none`, { ...value, no_such_field: 1 }];
	for (const [name, each] of Object.entries(value)) {
		const at = `${where}.${name}`;
		const { [name]: _, ...others } = value;
		yield [`${at} as ${name}_`, { ...others, [`${name}_`]: each }];
		yield [`${at} of another kind`, { ...value, [name]: isFields(each) ? 7 : { no: 'such value' } }];
		// JSON within JSON.
		const inside = typeof each === 'string' && each.startsWith('{"') ? parsed(each) : null;
		if (inside !== null) for (const [what, more] of astray(inside, at)) yield [what, { ...value, [name]: JSON.stringify(more) }];
		else if (!free.test(name) || (name === 'parameters' && where === '') || (name === 'json_schema' && where.endsWith('response_format')))
			for (const [what, more] of astray(each, at)) yield [what, { ...value, [name]: more }];
	}
}

/** Sent as it is, on a connection of its own; the status of the answer. */
async function send(url: string, { method, path }: FakeRequest, headers: Readonly<Record<string, string>>, body: string): Promise<number> {
	const { port } = new URL(url);
	const socket = connect(Number(port), '127.0.0.1');
	const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
	socket.write(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`);
	const [bytes] = (await once(socket, 'data')) as [Buffer];
	socket.destroy();
	return Number(/^HTTP\/1\.1 (\d+)/.exec(bytes.toString('latin1'))?.[1]);
}

function headersOf(request: FakeRequest, body: string): Readonly<Record<string, string>> {
	return {
		...Object.fromEntries(request.headers),
		...(request.method === 'POST' ? { 'content-length': String(Buffer.byteLength(body)) } : {}),
	};
}

describe('a fake', () => {
	for (const kind of kinds) {
		it(`of ${kind[0]} sees each thing that is wrong with what its adapter asks`, async () => {
			const fake = kind[2]();
			const { server } = fake;
			server.key = key;
			const url = await server.listen();
			const requests = await askedOf(kind, fake, url);
			assert.deepEqual(server.strayed, [], 'all that the adapter asks is as the engine specifies');
			assert.ok(requests.length > 3);
			const passed: string[] = [];
			let sent = 0;
			/** It is noted, or refused. */
			const wrong = async (what: string, request: FakeRequest, headers: Readonly<Record<string, string>>, body: string): Promise<void> => {
				server.strayed.length = 0;
				sent += 1;
				const status = await send(url, request, headers, body);
				if (server.strayed.length === 0 && status < 400) passed.push(`${request.method} ${request.path}: ${what}`);
			};
			for (const request of requests) {
				const headers = headersOf(request, request.body);
				const { host: _host, ...homeless } = headers;
				await wrong('without host', request, homeless, request.body);
				const { authorization: _key, ...keyless } = headers;
				if (!server.keyless.has(request.path)) await wrong('without its key', request, keyless, request.body);
				if (request.method !== 'POST' || request.body === '') continue;
				const { 'content-type': _type, ...untyped } = headers;
				await wrong('without content-type', request, untyped, request.body);
				await wrong('as text', request, { ...headers, 'content-type': 'text/plain' }, request.body);
				if (headers['accept'] === 'text/event-stream')
					await wrong('for a page', request, { ...headers, accept: 'text/html' }, request.body);
				for (const [what, body] of astray(parsed(request.body))) {
					const text = JSON.stringify(body);
					await wrong(what, request, headersOf(request, text), text);
				}
			}
			await server.close();
			assert.deepEqual(passed, [], `of ${sent}`);
		});
	}
});
