/**
 * The OpenAPI document against a daemon: it is valid, its examples are what it says, every example body is taken, and every answer has a
 * status, a type and a shape that the document names. Judged by validators of others, not by what the daemon checks with.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { type Daemon, repository, startDaemon } from './daemon.ts';
import { plantedKey } from './leaks.ts';

interface Content {
	readonly schema: object;
	readonly example?: unknown;
	readonly examples?: Readonly<Record<string, { readonly value: unknown }>>;
}
interface Operation {
	readonly summary: string;
	readonly parameters: readonly { readonly name: string; readonly in: string }[];
	readonly requestBody?: { readonly content: Readonly<Record<string, Content>> };
	readonly responses: Readonly<Record<string, { readonly description: string; readonly content?: Readonly<Record<string, Content>> }>>;
}
interface Document {
	readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
	readonly components: object;
}

const taskId = '11890a5d-ac96-774b-bcce-b302099a8057';
const sessionId = '6f9619ff-8b86-4d01-b42d-00cf4fc964ff';
/** Of a response that is made first. */
let responseId = '';
/** Of the content of its own example. */
const artifactId = `sha256:${createHash('sha256').update('First the fox wakes up').digest('hex')}`;
/** What stands for a parameter of a path. */
const parameters = (path: string): string => {
	const id = path.startsWith('/v2/pools')
		? // One that is always loaded cannot be unloaded.
			/\/(un)?load$/.test(path)
			? 'spare'
			: 'demo'
		: path.startsWith('/v2/sessions')
			? sessionId
			: path.startsWith('/v2/artifacts')
				? artifactId
				: path.startsWith('/v2/catalog')
					? 'stories'
					: path.startsWith('/v1/models')
						? 'default'
						: path.startsWith('/v1/responses')
							? responseId
							: taskId;
	return path.replace('{owner}/{id}', 'scripted%3Ademo').replace('{id}', id);
};
/** Sent instead of an example that names a file of its own. */
const bodies: Readonly<Record<string, unknown>> = {
	'POST /v2/catalog/models': { source_url: `file:${repository}models/tiny-chat.gguf`, id: 'stories' },
};
/** They follow what goes on, and would not end. */
const streaming = new Set(['GET /v2/tasks/{id}/events']);
/** Answers of another shape than success, for a reason that is the daemon's. */
const otherwise: Readonly<Record<string, number>> = {
	// No key has the role worker here.
	'POST /v2/workers/register': 401,
	// A file is not fetched.
	'POST /v2/catalog/models/{id}/pull': 400,
	'DELETE /v2/catalog/models/{id}/pull': 404,
};
/** What is sent where nothing is right. */
const wrong: readonly (readonly [method: string, path: string, body: unknown, status: number])[] = [
	['POST', '/v2/tasks', { model_ref: 'default' }, 400],
	['POST', '/v2/tasks', { model_ref: 'default', prompt: 'x', deadline_ms: 0 }, 400],
	['POST', '/v2/tasks', { model_ref: 'nobody', prompt: 'x' }, 404],
	['GET', `/v2/tasks/${crypto.randomUUID()}`, undefined, 404],
	['GET', `/v2/tasks/${crypto.randomUUID()}/result`, undefined, 404],
	['GET', '/v2/tasks?limit=none', undefined, 400],
	['GET', '/v2/pools/nowhere', undefined, 404],
	['POST', '/v2/pools/nowhere/drain', {}, 404],
	['POST', '/v2/pools/demo/drain', { deadline_ms: -1 }, 400],
	['POST', '/v2/pools/demo/reload', {}, 400],
	['GET', `/v2/sessions/${crypto.randomUUID()}`, undefined, 404],
	['POST', '/v2/tokenize', { model_ref: 'nobody', text: 'x' }, 404],
	['POST', '/v1/chat/completions', { model: 'default' }, 400],
	['POST', '/v1/chat/completions', { model: 'nobody', messages: [{ role: 'user', content: 'x' }] }, 404],
	['POST', '/v1/completions', { model: 'default', prompt: 7 }, 400],
	['POST', '/v1/embeddings', { model: 'default' }, 400],
	['GET', '/v1/models/nobody', undefined, 404],
	['POST', '/v1/messages', { model: 'default', messages: [{ role: 'user', content: 'x' }] }, 400],
	['POST', '/v1/messages', { model: 'nobody', max_tokens: 1, messages: [{ role: 'user', content: 'x' }] }, 404],
	['POST', '/v1/messages/count_tokens', { model: 'nobody', messages: [{ role: 'user', content: 'x' }] }, 404],
	['POST', '/v1/responses', { model: 'default' }, 400],
	['POST', '/v1/responses', { model: 'default', input: 'x', previous_response_id: `resp_${taskId}` }, 404],
	['GET', '/v1/responses/nothing', undefined, 404],
	['GET', '/v1/responses/nothing?starting_after=x', undefined, 400],
	['POST', '/v2/artifacts', { kind: 'poem', content: 'x' }, 400],
	['POST', '/v2/artifacts', { kind: 'plan', content: 'x', parent: `sha256:${'0'.repeat(64)}` }, 404],
	['GET', '/v2/artifacts/nothing', undefined, 404],
	['GET', '/v2/artifacts?cursor=x', undefined, 400],
	['GET', '/v2/catalog/models/nobody', undefined, 404],
	['DELETE', '/v2/catalog/models/nobody', undefined, 404],
	['POST', '/v2/catalog/models', { source_url: 'hf:repo' }, 400],
	['POST', '/v2/catalog/models/nobody/pull', {}, 404],
	['GET', '/v2/catalog/models/nobody/events', undefined, 404],
	['POST', '/v2/catalog/models', { source_url: 'file:/nowhere.gguf' }, 400],
];

describe('the OpenAPI document', () => {
	let daemon: Daemon;
	let document: Document;
	/** The same, as anybody may read it. */
	let specification: Record<string, unknown>;
	const ajv = new Ajv2020({ strict: false, formats: { uuid: true, uint32: true } });
	const validators = new Map<object, ValidateFunction>();
	const assertFits = (schema: object, value: unknown, what: string): void => {
		const check = validators.get(schema) ?? ajv.compile({ ...schema, components: document.components });
		validators.set(schema, check);
		assert.ok(check(value), `${what}: ${ajv.errorsText(check.errors)} in ${JSON.stringify(value).slice(0, 400)}`);
	};
	const operations = (): { key: string; method: string; path: string; operation: Operation }[] =>
		Object.entries(document.paths).flatMap(([path, methods]) =>
			Object.entries(methods).map(([method, operation]) => ({
				key: `${method.toUpperCase()} ${path}`,
				method: method.toUpperCase(),
				path,
				operation,
			})),
		);
	const call = async (method: string, path: string, body: unknown): Promise<Response> =>
		await fetch(`${daemon.url}${path}`, {
			method,
			headers: { authorization: `Bearer ${plantedKey}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
			...(body === undefined ? {} : { body: JSON.stringify(body) }),
		});
	/** One operation on a pool is under way at a time. */
	const steady = async (): Promise<void> => {
		for (const until = performance.now() + 10_000; performance.now() < until; ) {
			const pool = (await (await call('GET', '/v2/pools/demo', undefined)).json()) as { state: string; reloading_to: string | null };
			if (pool.state === 'ready' && pool.reloading_to === null) return;
		}
	};
	/** The answer is one that the document names. */
	const assertNamed = async (operation: Operation, response: Response, what: string): Promise<void> => {
		const named = operation.responses[String(response.status)];
		const text = await response.text();
		assert.ok(named, `${what} was answered ${response.status}, which is not documented: ${text.slice(0, 300)}`);
		assert.match(response.headers.get('x-correlation-id') ?? '', /./, what);
		const type = (response.headers.get('content-type') ?? '').split(';')[0] ?? '';
		if (named.content === undefined) return assert.equal(text, '', what);
		const content = named.content[type];
		assert.ok(content, `${what} is of type ${type}, which is not documented`);
		if (type === 'application/json') assertFits(content.schema, JSON.parse(text), what);
	};

	before(async () => {
		const scripted = { decode_tokens_per_s: 1000, tokens: 5 };
		const demo = { id: 'demo', engine: 'scripted', model: 'scripted:demo', aliases: ['default'], slots: 4, scripted };
		const spare = { id: 'spare', engine: 'scripted', model: 'scripted:spare', residency: 'on_demand' };
		daemon = await startDaemon({ config: { pools: [demo, spare] } });
		const text = await (await call('GET', '/openapi.json', undefined)).text();
		document = JSON.parse(text) as Document;
		specification = JSON.parse(text) as Record<string, unknown>;
	});
	after(() => daemon.stop());

	it('is valid OpenAPI 3.1', async () => {
		const { valid, errors } = await new Validator().validate(specification);
		assert.ok(valid, JSON.stringify(errors));
	});

	it('has an example for every body, every answer and every error, each of which is what its schema says', () => {
		for (const { key, operation } of operations()) {
			const body = operation.requestBody?.content['application/json'];
			if (body !== undefined) assertFits(body.schema, body.example, `the body of ${key}`);
			for (const [status, { content, description }] of Object.entries(operation.responses)) {
				const json = content?.['application/json'];
				if (json === undefined || key === 'GET /openapi.json') continue;
				if (Number(status) < 300) {
					assert.notEqual(json.example, undefined, `${key} has no example of its answer`);
					assertFits(json.schema, json.example, `the answer of ${key}`);
				} else {
					assert.deepEqual(Object.keys(json.examples ?? {}), description.split(', '), `${key} ${status}`);
					for (const [code, { value }] of Object.entries(json.examples ?? {})) assertFits(json.schema, value, `${code} of ${key}`);
				}
			}
		}
	});

	it('says of every operation what a daemon answers to its own example', async () => {
		const first = await call('POST', '/v2/tasks', { task_id: taskId, session_id: sessionId, model_ref: 'default', prompt: 'x' });
		assert.equal(first.status, 202, await first.text());
		const result = await call('GET', `/v2/tasks/${taskId}/result`, undefined);
		assert.equal(result.status, 200, await result.text());
		({ id: responseId } = (await (await call('POST', '/v1/responses', { model: 'default', input: 'x' })).json()) as { id: string });
		// What ends things comes last.
		const order = (key: string): number => (key.startsWith('DELETE') ? 2 : /reload|purge/.test(key) ? 1 : 0);
		for (const { key, method, path, operation } of operations().sort((a, b) => order(a.key) - order(b.key))) {
			if (streaming.has(key)) continue;
			if (/reload|purge/.test(key)) await steady();
			const body = bodies[key] ?? operation.requestBody?.content['application/json']?.example;
			const response = await call(method, parameters(path), body ?? (method === 'POST' ? {} : undefined));
			const success = Object.keys(operation.responses).find((status) => Number(status) < 300);
			const expected = otherwise[key] ?? Number(success);
			const copy = response.clone();
			assert.equal(response.status, expected, `${key}: ${await copy.text()}`);
			await assertNamed(operation, response, key);
		}
	});

	it('names every refusal that a client can bring about, in the shape of its path', async () => {
		for (const [method, path, body, status] of wrong) {
			const response = await call(method, path, body);
			assert.equal(response.status, status, `${method} ${path}`);
			const pattern = operations().find(
				(each) => each.method === method && new RegExp(`^${each.path.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path.replace(/\?.*/, '')),
			);
			assert.ok(pattern, `${method} ${path} is not documented`);
			await assertNamed(pattern.operation, response, `${method} ${path}`);
		}
	});
});
