/** The body of `POST /v2/tasks`: every field with its default and its limits, and errors that name field, value and what is allowed. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Failure } from '../../src/actors/serving/failure.ts';
import type { TaskRequest } from '../../src/actors/serving/task-request.ts';
import { taskBodySchema } from '../../src/transport/api/schemas.ts';
import { taskRequestOf } from '../../src/transport/api/task-body.ts';
import { localUser } from '../../src/transport/auth/principal.ts';

const defaults = { onDisconnect: 'detach', disconnectGraceMs: 2000, newTaskId: () => 'made' } as const;
const least = { model_ref: 'default', prompt: 'hello' };

function read(body: unknown, idempotencyKey?: string) {
	return taskRequestOf(body, { correlationId: 'c', idempotencyKey, principal: localUser }, defaults);
}

function taken(body: unknown): TaskRequest {
	const result = read(body);
	if (!result.ok) assert.fail(result.failure.message);
	return result.value;
}

function refusal(body: unknown, key?: string): Failure {
	const result = read(body, key);
	if (result.ok) assert.fail('it was taken');
	return result.failure;
}

describe('a task body', () => {
	it('needs a model and a prompt; all else has its default', () => {
		const { seed, bodyHash, ...request } = taken(least);
		assert.ok(Number.isInteger(seed) && seed >= 0 && seed <= 2 ** 32 - 2);
		assert.match(bodyHash, /^[0-9a-f]{64}$/);
		assert.deepEqual(request, {
			taskId: 'made',
			sessionId: null,
			correlationId: 'c',
			workload: 'completion',
			modelRef: 'default',
			engine: null,
			ctx: null,
			priority: 'interactive',
			tenant: 'default',
			keyName: null,
			input: { kind: 'prompt', text: 'hello', raw: false },
			maxTokens: null,
			deadlineMs: null,
			sampling: {
				temperature: 0.8,
				topP: 0.95,
				topK: 40,
				minP: 0,
				repeatPenalty: 1,
				presencePenalty: 0,
				frequencyPenalty: 0,
				stop: [],
				logprobs: false,
				jsonSchema: null,
				grammar: null,
			},
			strict: false,
			samplerProfileVersion: null,
			expectedTokens: null,
			kvHint: 'reuse',
			placement: { mode: 'auto', pinPoolId: null, preferPools: [], avoidPools: [], requireDeviceMask: null, allowFallback: true },
			outputMode: null,
			onDisconnect: 'detach',
			disconnectGraceMs: 2000,
			durable: false,
			idempotencyKey: null,
			named: false,
		});
	});

	it('carries every field that is given', () => {
		const request = taken({
			task_id: '01890A5D-AC96-774B-BCCE-B302099A8057',
			session_id: '11890a5d-ac96-774b-bcce-b302099a8057',
			workload: 'completion',
			model_ref: 'm',
			engine: 'scripted',
			ctx: 512,
			priority: 'batch',
			tenant: 't',
			messages: [
				{ role: 'system', content: '' },
				{ role: 'user', content: 'hi', name: 'ann' },
			],
			max_tokens: 7,
			deadline_ms: 1,
			sampling: { temperature: 0, top_p: 1, top_k: 0, min_p: 0.1, repeat_penalty: 1.1, stop: ['\n'], logprobs: true, json_schema: {} },
			seed: 0,
			determinism: 'strict',
			sampler_profile_version: '1',
			expected_tokens: 3,
			kv_hint: 'reuse',
			placement: { prefer_pools: ['a'], avoid_pools: ['b'], require_device_mask: [0], allow_fallback: false },
			output_mode: 'plan',
			on_disconnect: 'cancel',
			durable: false,
		});
		assert.equal(request.taskId, '01890a5d-ac96-774b-bcce-b302099a8057');
		assert.equal(request.priority, 'batch');
		assert.equal(request.deadlineMs, 1);
		assert.equal(request.seed, 0);
		assert.ok(request.strict);
		assert.equal(request.kvHint, 'cold', 'strict is cold');
		assert.equal(request.onDisconnect, 'cancel');
		assert.equal(request.durable, false);
		assert.deepEqual(request.placement, {
			mode: 'prefer',
			pinPoolId: null,
			preferPools: ['a'],
			avoidPools: ['b'],
			requireDeviceMask: [0],
			allowFallback: false,
		});
		assert.equal(request.input.kind, 'messages');
		assert.equal(taken({ ...least, seed: 2 ** 32 - 2 }).seed, 2 ** 32 - 2);
	});

	const wrong: readonly (readonly [change: Record<string, unknown>, names: readonly RegExp[]])[] = [
		[{ model_ref: undefined }, [/model_ref is missing/]],
		[{ model_ref: '' }, [/model_ref is ""/]],
		[{ prompt: undefined }, [/prompt is missing/, /messages/]],
		[{ prompt: 42 }, [/prompt is a number/, /text/]],
		[{ prompt: null }, [/prompt is null/]],
		[{ prompt: '' }, [/prompt is an empty text/]],
		[{ messages: [{ role: 'user', content: 'x' }] }, [/prompt and messages are given/, /exactly one/]],
		[{ inputs: ['x'] }, [/prompt and inputs are given/]],
		[{ prompt: undefined, messages: [] }, [/messages is an empty list/, /1 to 4096/]],
		[{ prompt: undefined, messages: [{ role: 'owner', content: 'x' }] }, [/messages\[0\]\.role is "owner"/, /system, developer/]],
		[{ prompt: undefined, messages: [{ role: 'user' }] }, [/messages\[0\]\.content is missing/]],
		[
			{ prompt: undefined, messages: [{ role: 'user', content: 'x', nmae: 'y' }] },
			[/messages\[0\]\.nmae; did you mean messages\[0\]\.name\?/],
		],
		[{ prompt: undefined, messages: [{ role: 'user', content: 'x' }], raw: true }, [/raw is true/]],
		[{ prompt: undefined, workload: 'embedding' }, [/inputs is missing/, /embedding/]],
		[{ workload: 'embedding' }, [/prompt is given/, /inputs/]],
		[{ prompt: undefined, workload: 'rerank', inputs: ['a'] }, [/query is missing/]],
		[{ query: 'x' }, [/query is given/, /rerank/]],
		[{ prompt: undefined, inputs: ['a'] }, [/inputs is given/, /completion/]],
		[{ workload: 'chat' }, [/workload is "chat"/, /completion, embedding, rerank/]],
		[{ engine: 'gpt' }, [/engine is "gpt"/, /llamacpp/]],
		[{ ctx: 0 }, [/ctx is 0/, /from 1/]],
		[{ ctx: 1.5 }, [/ctx is 1\.5/, /whole number/]],
		[{ priority: 'low' }, [/priority is "low"/, /interactive, batch/]],
		[{ tenant: 't'.repeat(65) }, [/tenant/, /1 to 64/]],
		[{ max_tokens: 0 }, [/max_tokens is 0/, /from 1/]],
		[{ max_tokens: '5' }, [/max_tokens is "5"/, /whole number/]],
		[{ max_tokens: 1e300 }, [/max_tokens is 1e\+300/]],
		[{ deadline_ms: 0.5 }, [/deadline_ms is 0\.5/]],
		[{ deadline_ms: 1e12 }, [/deadline_ms/, /2147483647/]],
		[{ sampling: { temperature: -1 } }, [/sampling\.temperature is -1/, /from 0/]],
		[{ sampling: { top_p: 1.01 } }, [/sampling\.top_p is 1\.01/]],
		[{ sampling: { top_k: 1.5 } }, [/sampling\.top_k is 1\.5/]],
		[{ sampling: { temprature: 1 } }, [/sampling\.temprature; did you mean sampling\.temperature\?/]],
		[{ sampling: { stop: 'x' } }, [/sampling\.stop/, /list/]],
		[{ sampling: { stop: [''] } }, [/sampling\.stop\[0\]/]],
		[{ sampling: { json_schema: {}, grammar: 'root ::= "a"' } }, [/json_schema and sampling\.grammar/]],
		[{ sampling: { json_schema: 'string' } }, [/sampling\.json_schema is a text/, /object/]],
		[{ sampling: [] }, [/sampling is an empty list/, /object/]],
		[{ seed: -1 }, [/seed is -1/, /4294967294/]],
		[{ seed: 2 ** 32 - 1 }, [/seed is 4294967295/]],
		[{ determinism: 'exact' }, [/determinism/, /strict, best_effort/]],
		[{ task_id: 'abc' }, [/task_id is "abc"/, /UUID/]],
		[{ session_id: 7 }, [/session_id is 7/, /UUID/]],
		[{ kv_hint: 'warm' }, [/kv_hint is "warm"/]],
		[{ placement: { mode: 'pin' } }, [/placement\.pin_pool_id is missing/]],
		[{ placement: { mode: 'auto', pin_pool_id: 'a' } }, [/placement\.mode is "auto"/, /pin_pool_id/]],
		[{ placement: { require_device_mask: [] } }, [/placement\.require_device_mask/]],
		[{ on_disconnect: 'stop' }, [/on_disconnect is "stop"/, /detach, cancel/]],
		[{ durable: 1 }, [/durable is 1/, /true or false/]],
		[{ max_token: 5 }, [/unknown field max_token; did you mean max_tokens\?/]],
		[{ stream: true }, [/unknown field stream/]],
	];

	for (const [change, names] of wrong) {
		const body = JSON.parse(JSON.stringify({ ...least, ...change })) as unknown;
		it(`is refused with ${JSON.stringify(change).slice(0, 90)} in words that name it`, () => {
			const { code, message, retriable } = refusal(body);
			assert.equal(code, 'INVALID_PARAMS');
			assert.equal(retriable, false);
			for (const name of names) assert.match(message, name);
		});
	}

	it('is durable when it says so, or is batch and says nothing', () => {
		const durable = (more: object): boolean => taken({ model_ref: 'm', prompt: 'x', ...more }).durable;
		assert.deepEqual(
			[{}, { priority: 'batch' }, { durable: true }, { priority: 'batch', durable: false }, { priority: 'interactive' }].map(durable),
			[false, true, true, false, false],
		);
	});

	it('has a code of its own for a deadline that has passed already', () => {
		for (const deadline of [0, -1, -0.5]) assert.equal(refusal({ ...least, deadline_ms: deadline }).code, 'DEADLINE_UNMET');
		assert.equal(refusal({ ...least, deadline_ms: '0' }).code, 'INVALID_PARAMS');
	});

	it('is refused for its shape before its deadline', () => {
		const late = { ...least, deadline_ms: 0 };
		for (const wrong of [{ ctx: 0 }, { nonsense: 1 }, { inputs: ['a'] }, { placement: { mode: 'pin' } }]) {
			assert.equal(refusal({ ...late, ...wrong }).code, 'INVALID_PARAMS');
		}
		assert.equal(refusal(late, 'k'.repeat(129)).code, 'INVALID_PARAMS');
		assert.equal(refusal(late).code, 'DEADLINE_UNMET');
	});

	it('takes a pin without a mode, and the lists of embedding and rerank', () => {
		assert.equal(taken({ ...least, placement: { pin_pool_id: 'a' } }).placement.mode, 'pin');
		assert.deepEqual(taken({ model_ref: 'm', workload: 'embedding', inputs: ['a', 'b'] }).input, {
			kind: 'inputs',
			inputs: ['a', 'b'],
			query: null,
		});
		assert.deepEqual(taken({ model_ref: 'm', workload: 'rerank', inputs: ['a'], query: 'q' }).input, {
			kind: 'inputs',
			inputs: ['a'],
			query: 'q',
		});
	});

	it('bounds its Idempotency-Key', () => {
		assert.equal(read(least, 'k'.repeat(128)).ok, true);
		for (const key of ['', 'k'.repeat(129), 'ключ', 'a\tb']) assert.match(refusal(least, key).message, /Idempotency-Key/);
	});

	it('never repeats a prompt, a stop string or a schema', () => {
		const secret = 'SECRET-WORDS';
		const bodies = [
			{ ...least, prompt: { secret } },
			{ ...least, prompt: [secret] },
			{ ...least, sampling: { stop: secret } },
			{ ...least, sampling: { grammar: { secret } } },
			{ ...least, sampling: { json_schema: secret } },
			{ model_ref: 'm', messages: secret },
			{ model_ref: 'm', messages: [secret] },
			{ model_ref: 'm', messages: [{ role: 'user', content: { text: secret } }] },
			{ model_ref: 'm', workload: 'embedding', inputs: secret },
		];
		for (const body of bodies) assert.doesNotMatch(refusal(body).message, /SECRET/);
	});

	it('is not fooled by keys of the prototype', () => {
		for (const key of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
			const body = JSON.parse(`{"model_ref":"m","prompt":"p","${key}":{"model_ref":"x"}}`) as unknown;
			assert.match(refusal(body).message, /unknown field/);
			assert.match(refusal(JSON.parse(`{"${key}":{"model_ref":"m","prompt":"p"}}`)).message, /unknown field|missing/);
		}
	});

	it('of any other shape is refused, never a crash', () => {
		const keys = fc.constantFrom(...Object.keys(taskBodySchema.properties), 'x', '__proto__');
		const value = fc.oneof(fc.jsonValue(), fc.constantFrom(0, -1, 1e308, 'default', 'completion', true, null, [], {}));
		const body = fc.oneof(
			fc.jsonValue(),
			fc.dictionary(keys, value),
			fc.dictionary(keys, value).map((more) => ({ ...least, ...more })),
		);
		fc.assert(
			fc.property(body, (candidate) => {
				const result = read(candidate);
				if (result.ok) assert.equal(typeof result.value.modelRef, 'string');
				else {
					assert.ok(['INVALID_PARAMS', 'DEADLINE_UNMET'].includes(result.failure.code));
					assert.ok(result.failure.message.length < 2000, 'bounded, whatever was sent');
				}
			}),
			{ numRuns: 2000 },
		);
	});

	it('bounds the depth of a schema without recursing into it', () => {
		let schema: Record<string, unknown> = {};
		for (let depth = 0; depth < 50_000; depth++) schema = { a: schema };
		assert.match(refusal({ ...least, sampling: { json_schema: schema } }).message, /nested more than 64/);
	});

	it('has the same hash without its id, and another one with anything else changed', () => {
		const id = '01890a5d-ac96-774b-bcce-b302099a8057';
		assert.equal(taken({ ...least, task_id: id }).bodyHash, taken(least).bodyHash);
		assert.notEqual(taken({ ...least, max_tokens: 1 }).bodyHash, taken(least).bodyHash);
	});
});
