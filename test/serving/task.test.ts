/** A task on its front thread, from its 202 to its slot's return, when all goes well. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventsOf, FrontWorld, namesOf, standingOf } from './front-world.ts';
import { poolView, replicaFacts } from './task-requests.ts';

test('a task is queued, started, streamed, ended and settled, once each', () => {
	const world = new FrontWorld();
	const opened = world.open('a');
	assert.equal(opened.answers.length, 0);
	assert.equal(world.view('a').state, 'admitting');
	world.control.queue('a', 2);
	world.run();
	const [answer] = opened.answers;
	assert.ok(answer?.type === 'task-opened');
	assert.deepEqual([answer.fresh, answer.poolId, answer.standing.position], [true, 'pool', 2]);
	const { task } = answer;
	assert.deepEqual([task.state, task.phase, task.log.lastSeq], ['queued', 'queued', 0]);
	assert.deepEqual([...world.roll], ['a']);
	world.host.advance(300);
	const lease = world.control.grant('a');
	world.run();
	assert.deepEqual([task.state, task.phase, task.startedAt], ['running', 'prefill', 300]);
	const [generation] = world.decode.generations;
	assert.ok(generation);
	assert.deepEqual(generation.request.input, { kind: 'prompt', text: 'secret-prompt', raw: true });
	assert.deepEqual([generation.request.maxTokens, generation.request.maxTokensExplicit, generation.request.ctx], [64, true, 512]);
	generation.started();
	world.host.advance(50);
	generation.pieces({ text: 'secret out' }, { text: '!', n: 2 });
	world.run();
	assert.deepEqual([task.phase, task.firstTokenAt, task.tokensIn, task.tokensOut], ['decode', 350, 5, 3]);
	generation.pieces({ text: ' end' });
	generation.end('length');
	world.run();
	assert.deepEqual(eventsOf(task), [
		{
			seq: 1,
			name: 'started',
			data: {
				queue_position: 0,
				predicted_start_ms: 0,
				engine: 'scripted',
				engine_version: '1.2',
				pool_id: 'pool',
				replica_id: 'pool-0',
				seed: 7,
				model_digest: 'sha256:ab',
			},
		},
		{ seq: 2, name: 'token', data: { t: 'secret out', i: 0 } },
		{ seq: 3, name: 'token', data: { t: '!', i: 1, n: 2 } },
		{ seq: 4, name: 'token', data: { t: ' end', i: 2 } },
		{
			seq: 5,
			name: 'end',
			data: {
				tokens_in: 5,
				tokens_out: 4,
				decode_time_ms: 40,
				decode_ms: 40,
				finish_reason: 'length',
				canceled: false,
				seed: 7,
				model_digest: 'sha256:ab',
			},
		},
	]);
	assert.deepEqual(
		world.control.settlementsOf(lease).map((settle) => settle.settlement),
		[{ outcome: 'completed', slot: 'free', tokensIn: 5, tokensOut: 4, prefillMs: 3, decodeMs: 40, reason: 'length' }],
	);
	assert.deepEqual([task.state, task.finishReason, task.ref.tell({ type: 'watcher-attached' })], ['done', 'length', 'closed']);
	assert.deepEqual(task.request.input, { kind: 'inputs', inputs: [], query: null });
	world.assertAtRest();
});

test('what a task reports: latencies from its admission, tokens in and out, and lines with a human sentence', () => {
	const world = new FrontWorld();
	const { generation } = world.running('a');
	world.host.advance(120);
	generation.pieces({ text: 'secret' });
	for (let batch = 0; batch < 4; batch++) {
		world.host.advance(260);
		generation.pieces({ text: 'x' }, { text: 'y' });
	}
	generation.end();
	world.run();
	const labels = { engine: 'scripted', engine_version: '1.2', pool_id: 'pool' };
	const genAi = {
		gen_ai_operation_name: 'text_completion',
		gen_ai_provider_name: 'scripted',
		gen_ai_request_model: 'scripted:demo',
	};
	const { telemetry } = world;
	assert.deepEqual(
		telemetry.samples.filter((sample) => sample.metric !== 'inter_token_latency_ms'),
		[
			{ metric: 'latency_first_token_ms', labels: { ...labels, priority: 'interactive' }, value: 120 },
			{ metric: 'gen_ai_server_time_to_first_token', labels: genAi, value: 0.12 },
			{ metric: 'gen_ai_server_request_duration', labels: { ...genAi, error_type: '' }, value: 1.16 },
			{ metric: 'latency_decode_ms', labels: { ...labels, priority: 'interactive' }, value: 40 },
			{ metric: 'gen_ai_server_time_per_output_token', labels: genAi, value: 0.005 },
		],
	);
	const gaps = telemetry.samples.filter((sample) => sample.metric === 'inter_token_latency_ms').map((sample) => sample.value);
	assert.deepEqual(gaps, [130, 130]);
	assert.equal(telemetry.total('tokens_in_total', { ...labels, replica_id: 'pool-0' }), 5);
	assert.equal(telemetry.total('tokens_out_total', { ...labels, replica_id: 'pool-0' }), 9);
	assert.ok(telemetry.counts.filter((entry) => entry.metric === 'tokens_out_total').length < 9);
	assert.deepEqual(
		telemetry.lines.map((line) => line.event),
		['task-admitted', 'task-placed', 'task-started', 'task-ended'],
	);
	for (const { fields } of telemetry.lines) {
		assert.equal(fields['task_id'], 'a');
		assert.equal(fields['correlation_id'], 'c-a');
		assert.equal(typeof fields['human'], 'string');
	}
	assert.equal(telemetry.lines.at(-1)?.fields['tokens_out'], 9);
	world.assertAtRest();
});

test('an embedding task ends with its vectors and no tokens', () => {
	const world = new FrontWorld();
	const { task, generation } = world.running('a', { workload: 'embedding', input: { kind: 'inputs', inputs: ['secret'], query: null } });
	generation.embedded(new Float32Array([1, 2]));
	world.run();
	assert.deepEqual(namesOf(task), ['started', 'end']);
	assert.deepEqual(task.vectors, [new Float32Array([1, 2])]);
	assert.deepEqual([task.state, task.finishReason, task.tokensOut], ['done', 'stop', 0]);
	world.assertAtRest();
	assert.equal(world.registry.logSpace.inUse, task.log.bytes + 8);
});

test('watchers are called for a change of standing or phase, and see that it changed', () => {
	const world = new FrontWorld();
	const task = world.queued('a', {}, 3);
	const seen: (readonly [number, string, number | undefined])[] = [];
	let version = task.standingVersion;
	task.log.subscribe(() => {
		if (task.standingVersion === version) return;
		version = task.standingVersion;
		seen.push([task.log.lastSeq, task.phase, task.standing?.position]);
	});
	world.control.tell('a', { type: 'standing-changed', standing: standingOf(1), onTimeProbability: 0.5 });
	world.run();
	assert.equal(task.onTimeProbability, 0.5);
	world.control.grant('a');
	world.run();
	world.decode.generations[0]?.pieces({ text: 'x' });
	world.decode.generations[0]?.pieces({ text: 'y' });
	world.decode.generations[0]?.end();
	world.run();
	assert.deepEqual(seen, [
		[0, 'queued', 1],
		[1, 'prefill', 0],
		[2, 'decode', 0],
		[4, 'ended', 0],
	]);
	world.assertAtRest();
});

test('a batch of tokens is one notification', () => {
	const world = new FrontWorld();
	const { task, generation } = world.running('a');
	let calls = 0;
	task.log.subscribe(() => calls++);
	generation.pieces(...Array.from({ length: 50 }, () => ({ text: 'x' })));
	world.run();
	assert.deepEqual([calls, task.log.lastSeq], [1, 51]);
	generation.end();
	world.assertAtRest();
});

test('a grant without a queued before it opens the task too', () => {
	const world = new FrontWorld();
	const opened = world.open('a');
	world.control.grant('a');
	world.run();
	assert.equal(opened.answers[0]?.type, 'task-opened');
	world.decode.generations[0]?.end();
	world.assertAtRest();
});

test('a second grant is given back unused and does not disturb the first', () => {
	const world = new FrontWorld();
	const { task, generation } = world.running('a');
	const second = world.control.grant('a');
	world.run();
	assert.deepEqual(
		world.control.settlementsOf(second).map((settle) => [settle.settlement.outcome, settle.settlement.slot]),
		[['unused', 'free']],
	);
	assert.equal(world.decode.generations.length, 1);
	generation.end();
	world.run();
	assert.deepEqual(namesOf(task), ['started', 'end']);
	world.assertAtRest();
});

test("max_tokens is the pool's when the client named none", () => {
	const world = new FrontWorld();
	const { generation } = world.running('a', { maxTokens: null });
	assert.deepEqual([generation.request.maxTokens, generation.request.maxTokensExplicit], [256, false]);
	generation.end();
	world.assertAtRest();
});

test('a prompt whose bytes fit the context is not counted; one that may not is, with its template', () => {
	const world = new FrontWorld();
	const fits = 512 - 64;
	world.open('fits', { input: { kind: 'prompt', text: 'x'.repeat(fits), raw: true } });
	assert.equal(world.decode.counts.length, 0);
	assert.deepEqual([world.control.summary('fits').promptTokens, world.control.summary('fits').promptBytes], [null, fits]);
	world.open('template', { input: { kind: 'prompt', text: 'x'.repeat(fits), raw: false } });
	world.open('long', { input: { kind: 'prompt', text: 'x'.repeat(fits + 1), raw: true } });
	assert.equal(world.decode.counts.length, 2);
	assert.equal(world.control.of('submit').length, 1);
	world.decode.counts[1]?.tell({ type: 'prompt-counted', tokens: 99 });
	world.run();
	assert.equal(world.control.summary('long').promptTokens, 99);
	world.host.advance(249);
	assert.equal(world.control.of('submit').length, 2);
	world.host.advance(1);
	assert.equal(world.control.summary('template').promptTokens, null);
	world.decode.counts[0]?.tell({ type: 'prompt-counted', tokens: 5 });
	world.run();
	assert.equal(world.control.of('submit').length, 3);
	for (const id of ['fits', 'template', 'long']) world.control.refuse(id);
	world.assertAtRest();
});

test('nobody counts while no replica of the model is ready, nor an embedding', () => {
	const unready = poolView({
		replicas: [{ replicaId: 'pool-0', state: 'starting', facts: replicaFacts, breaker: 'closed', lastError: null }],
	});
	const world = new FrontWorld(1, {}, [unready]);
	world.open('a', { input: { kind: 'prompt', text: 'x'.repeat(5000), raw: true } });
	assert.equal(world.control.of('submit').length, 1);
	const ready = new FrontWorld();
	ready.open('b', { workload: 'embedding', input: { kind: 'inputs', inputs: ['x'.repeat(5000)], query: null } });
	assert.equal(ready.control.of('submit').length, 1);
});

test('what its running tasks are served a front tells their pool in batches, as totals, and only what has grown', () => {
	const world = new FrontWorld();
	const { generation, lease } = world.running('a');
	const other = world.running('b');
	const told = (): unknown[] => world.control.of('tokens-served').map(({ poolId, served }) => [poolId, ...served]);
	world.host.advance(1_000);
	assert.deepEqual(told(), []);
	for (let token = 0; token < 50; token++) {
		world.host.advance(10);
		generation.pieces({ text: 'x' });
	}
	other.generation.pieces({ text: 'y' });
	world.host.advance(1_000);
	assert.ok(told().length <= 4, `${told().length} messages for 51 tokens in half a second`);
	assert.deepEqual(told().at(-1), ['pool', 1, lease.id, 50, 1, other.lease.id, 1]);
	const before = told().length;
	generation.pieces({ text: 'x' });
	world.run();
	generation.end();
	other.generation.end();
	world.host.advance(1_000);
	assert.equal(told().length, before, 'the rest comes with the settlement');
	assert.deepEqual(
		world.control.settlementsOf(lease).map(({ settlement }) => settlement.tokensOut),
		[51],
	);
	world.assertAtRest();
});
