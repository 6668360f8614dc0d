/** What is foretold of a pool that can give no slot yet, or not all of them: an engine loads, failed, or is exchanged. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PlacementPreview } from '../../src/actors/serving/messages.ts';
import { ControlWorld, type TestTask } from './control-world.ts';
import { placement, poolSpec } from './summaries.ts';

const loadMs = 8_000;
const priced = (configuredMs: number | null) => ({ perfPrior: { ...poolSpec().perfPrior, loadMs: configuredMs } });

/** Its engine loads; `elapsedMs` of that are over. */
function starting(more: Parameters<typeof poolSpec>[0] = {}, elapsedMs = 0): ControlWorld {
	const world = new ControlWorld(more);
	world.engines.loadMs = loadMs;
	world.startEngineThread();
	world.startControl();
	world.host.run();
	world.host.advance(elapsedMs);
	return world;
}

/** Its engine has loaded once, has died, and loads again; a second of that is over. */
function startingAgain(more: Parameters<typeof poolSpec>[0] = {}): ControlWorld {
	const world = starting(more);
	world.host.advance(loadMs + 100);
	const { starts } = world.engines;
	world.engines.life().end();
	while (world.engines.starts === starts) world.host.advance(10);
	world.host.advance(1_000);
	return world;
}

function near(actual: number | null | undefined, expected: number, by: number): void {
	assert.ok(typeof actual === 'number' && Math.abs(actual - expected) <= by, `${actual} is not within ${by} of ${expected}`);
}

test('of a pool that loads as long as it did before, a task is told when it will start, and what is left of the load', () => {
	const world = startingAgain();
	const task = world.submit('t', {}, 50);
	const told = task.only('queued').standing;
	const submittedAt = world.host.now();
	near(told.predictedStartMs, loadMs - 1_000, 20);
	assert.equal(told.warmUp?.status, 'running');
	near(told.warmUp?.leftMs, loadMs - 1_000, 20);
	assert.equal(told.estimated, 'prior', 'its pace was never measured');
	while (task.state === 'queued') world.host.advance(10);
	near(world.host.now() - submittedAt, told.predictedStartMs, 30);
});

test('a load that nobody has measured is as long as it is configured, and else a guess that is not told as a number', () => {
	const configured = starting(priced(6_000), 2_000).submit('t').only('queued').standing;
	near(configured.predictedStartMs, 4_000, 20);
	near(configured.warmUp?.leftMs, 4_000, 20);
	assert.equal(configured.estimated, 'prior');
	const guessed = starting().submit('t').only('queued').standing;
	assert.ok(guessed.predictedStartMs > 0, 'not now, whatever else');
	assert.deepEqual(guessed.warmUp, { status: 'running', leftMs: null, fetch: null });
	assert.equal(guessed.estimated, 'prior');
});

test('an engine that has failed is waited for until it is tried again, and then for its load', () => {
	const world = starting(priced(6_000), loadMs + 100);
	world.engines.life().end();
	world.host.run();
	const { standing } = world.submit('t').only('queued');
	assert.equal(standing.warmUp?.status, 'waiting');
	near(standing.predictedStartMs, 1_000 + loadMs, 150);
});

test('a queue behind an engine that loads starts when it was told, each within one mean service time of a simulation of the slots', () => {
	const world = startingAgain({ slots: 3, settings: { slots: 3 } });
	// The pace is known: the prior is what the tasks do.
	const serviceMs = 10 + 16 * 20;
	const tasks: TestTask[] = [];
	const startedAt = new Map<string, number>();
	const submittedAt = world.host.now();
	for (let index = 0; index < 20; index += 1) {
		const task = world.submit(`t${index}`, { maxTokens: 16, promptTokens: 10 }, serviceMs);
		task.onGranted = () => startedAt.set(task.id, world.host.now());
		tasks.push(task);
	}
	while (tasks.some(({ state }) => state !== 'done')) world.host.advance(5);
	for (const [index, task] of tasks.entries()) {
		const { position, predictedStartMs } = task.only('queued').standing;
		assert.equal(position, index);
		near(predictedStartMs, (startedAt.get(task.id) ?? 0) - submittedAt, serviceMs);
		near(predictedStartMs, loadMs - 1_000 + Math.floor(index / 3) * serviceMs, serviceMs);
	}
});

test('a replica that loads beside one that serves is counted on: its slots come free when it has loaded', () => {
	const perfPrior = { ...poolSpec().perfPrior, decodeTokensPerS: 1 };
	const world = starting({ replicas: 2, slots: 1, settings: { slots: 1 }, perfPrior }, loadMs + 100);
	// A minute each, much longer than a load.
	const long = { expectedTokens: 60, maxTokens: 60 };
	for (const id of ['r0', 'r1']) assert.equal(world.submit(id, long).state, 'running');
	const { starts } = world.engines;
	world.engines.life('pool-1').end();
	while (world.engines.starts === starts) world.host.advance(10);
	world.host.advance(1_000);
	const { standing } = world.submit('t', long).only('queued');
	assert.equal(standing.warmUp, null, 'the other one serves');
	near(standing.predictedStartMs, loadMs - 1_000, 50);
	const { standing: behind } = world.submit('u', long).only('queued');
	assert.ok(behind.predictedStartMs > 3 * loadMs, `${behind.predictedStartMs}`);
});

test('a deadline that no load before would have allowed is refused, one that a guess says is not', () => {
	const measured = startingAgain();
	const late = measured.submit('late', { deadlineAt: measured.host.now() + 4_000 });
	assert.equal(late.only('refused').failure.code, 'DEADLINE_UNMET');
	assert.match(late.only('refused').failure.message, /leaves 4000 ms; the earliest .* in about (7|8|9)\d\d\d ms/);
	measured.submit('in time', { deadlineAt: measured.host.now() + 20_000 }).only('queued');

	const configured = starting(priced(8_000));
	assert.equal(configured.submit('late', { deadlineAt: configured.host.now() + 4_000 }).only('refused').failure.code, 'DEADLINE_UNMET');

	const guessed = starting();
	const { onTimeProbability } = guessed.submit('who knows', { deadlineAt: guessed.host.now() + 3_000 }).only('queued');
	assert.ok(onTimeProbability !== null && onTimeProbability > 0 && onTimeProbability < 1, `${onTimeProbability}`);
});

test('one that loads for longer than ever is not told to be there at once, and refuses nobody', () => {
	const world = startingAgain();
	world.engines.life().alive = false;
	world.host.advance(4 * loadMs);
	const { standing } = world.submit('t', { deadlineAt: world.host.now() + 5_000 }).only('queued');
	assert.ok(standing.predictedStartMs > loadMs, `${standing.predictedStartMs}`);
});

test('predictions with a load in them say nothing of how wrong those of the queue are', () => {
	const world = starting({}, 0);
	// A guess that is far off, many times over.
	for (let index = 0; index < 30; index += 1) world.submit(`t${index}`, {}, 100);
	world.host.advance(loadMs + 10_000);
	assert.ok([...world.tasks.values()].every(({ state }) => state === 'done'));
	for (const id of ['a', 'b']) world.submit(id);
	const { standing } = world.submit('behind').only('queued');
	assert.equal(standing.predictedStartP90Ms <= 3 * standing.predictedStartMs + 100, true, JSON.stringify(standing));
});

test('how long a load takes outlives the control thread', () => {
	const world = startingAgain();
	world.stopControl();
	world.startControl();
	world.host.run();
	const { standing } = world.submit('t').only('queued');
	near(standing.warmUp?.leftMs, loadMs - 1_000, 50);
});

test('who pins a pool that loads is told to come back when it has', () => {
	const world = startingAgain();
	const { failure } = world.submit('t', placement({ mode: 'pin', pinPoolId: 'pool' })).only('refused');
	assert.equal(failure.code, 'POOL_UNREADY');
	near(failure.retryAfterMs, loadMs - 1_000, 1_050);
});

test('a preview of a pool that loads says what a submission would hear', () => {
	const world = startingAgain();
	const preview = world.preview();
	assert.equal(preview.type, 'would-queue');
	near(preview.type === 'would-queue' ? preview.standing.warmUp?.leftMs : null, loadMs - 1_000, 50);
});

test('a strict task is told when a replica will be idle, not when a slot is free', () => {
	const perfPrior = { ...poolSpec().perfPrior, decodeTokensPerS: 10 };
	const world = ControlWorld.ready({ replicas: 2, slots: 2, settings: { slots: 2 }, perfPrior });
	assert.equal(startOf(world.preview({ strict: true })), 0);
	const long = world.submit('long', { maxTokens: 60, expectedTokens: 60 }, 6_000);
	const short = world.submit('short', { maxTokens: 30, expectedTokens: 30 }, 3_000);
	assert.notEqual(long.lease?.replicaId, short.lease?.replicaId, 'each has a slot free beside it');
	assert.equal(startOf(world.preview()), 0);
	const submittedAt = world.host.now();
	const strict = world.submit('strict', { strict: true, maxTokens: 10 }, 1_000);
	const { predictedStartMs } = strict.only('queued').standing;
	near(predictedStartMs, 3_000, 100);
	while (strict.state === 'queued') world.host.advance(10);
	near(world.host.now() - submittedAt, predictedStartMs, 200);
});

function startOf(preview: PlacementPreview): number | null {
	return preview.type === 'would-queue' ? preview.standing.predictedStartMs : null;
}
