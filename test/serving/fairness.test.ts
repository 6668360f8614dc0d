/** How a pool shares its slots between tenants: the production Dispatcher, Pool and queue, in virtual time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/actors/kernel/seeded-random.ts';
import { ControlWorld, type TestTask } from './control-world.ts';
import { poolSpec } from './summaries.ts';

const msPerToken = 2;
/**
 * With few slots a newcomer waits for one to come free, whoever is served next: at four, strict priority over the flood would
 * reach the bound below only just.
 */
const slots = 8;

/** One task after another of a tenant: as much of it waits as `backlog` says, or comes as it comes. */
class Tenant {
	readonly name: string;
	readonly #world: ControlWorld;
	readonly #random: SeededRandom;
	readonly #tokens: readonly [least: number, most: number];
	readonly tasks: TestTask[] = [];

	constructor(world: ControlWorld, name: string, tokens: readonly [number, number], seed: number) {
		this.#world = world;
		this.name = name;
		this.#tokens = tokens;
		this.#random = new SeededRandom(seed);
	}

	submit(): TestTask {
		const [least, most] = this.#tokens;
		const tokensOut = least + this.#random.below(most - least + 1);
		const tokensIn = 1 + this.#random.below(least);
		const task = this.#world.submit(`${this.name}-${this.tasks.length}`, {
			tenant: this.name,
			promptTokens: tokensIn,
			// Nobody knows how long the answer will be.
			maxTokens: null,
			admittedAt: this.#world.host.now(),
		});
		task.runMs = (tokensIn / 10 + tokensOut) * msPerToken;
		task.work = { tokensIn, tokensOut, prefillMs: (tokensIn / 10) * msPerToken, decodeMs: tokensOut * msPerToken };
		// A task that was granted at once has its end still to be set.
		if (task.state === 'running') {
			this.#world.host.setTimer(task.runMs, () => task.state === 'running' && task.finish());
			task.tellServed();
		} else task.onGranted = () => task.tellServed();
		this.tasks.push(task);
		return task;
	}

	/** Of the tasks that have had a slot, in the order of their grants. */
	get served(): number {
		return this.tasks.reduce((sum, task) => sum + (task.state === 'done' ? task.work.tokensIn + task.work.tokensOut : 0), 0);
	}
}

function worldWith(capacity: number): ControlWorld {
	const world = ControlWorld.ready({ settings: { slots }, maxTokensOut: 2_000, queue: { ...poolSpec().queue, capacity } });
	// Too many wait for all to be looked at behind every message.
	world.host.world.onBroken = null;
	return world;
}

/** Jain, Chiu, Hawe, "A Quantitative Measure of Fairness", 1984: 1 is equal, 1/n is one for all. */
function jain(shares: readonly number[]): number {
	const sum = shares.reduce((total, share) => total + share, 0);
	const squares = shares.reduce((total, share) => total + share * share, 0);
	return (sum * sum) / (shares.length * squares);
}

test('ten tenants that never run dry, with tasks of 1 to 50 times the size, are served alike over any 1 000 dispatches', (t) => {
	const world = worldWith(10_000);
	const sizes = [1, 2, 3, 5, 8, 13, 20, 30, 40, 50];
	const tenants = sizes.map((size, index) => new Tenant(world, `tenant${index}`, [size * 4, size * 12], index + 1));
	// Enough of each that none runs dry.
	const wanted = 24_000;
	for (const [index, tenant] of tenants.entries()) {
		const mean = (sizes[index] as number) * 10;
		for (let tokens = 0; tokens < wanted; tokens += mean) tenant.submit();
	}
	const byId = new Map(tenants.flatMap((tenant, index) => tenant.tasks.map((task) => [task.id, { index, task }] as const)));
	while (tenants.every(({ tasks }) => tasks.some(({ state }) => state === 'queued'))) world.host.advance(1_000);
	const dispatched = world.granted.map((id) => {
		const { index, task } = byId.get(id) as { index: number; task: TestTask };
		return { index, tokens: task.work.tokensIn + task.work.tokensOut };
	});
	let worst = 1;
	for (let from = 0; from + 1_000 <= dispatched.length; from += 50) {
		const shares = tenants.map(() => 0);
		for (const { index, tokens } of dispatched.slice(from, from + 1_000)) shares[index] = (shares[index] ?? 0) + tokens;
		worst = Math.min(worst, jain(shares));
	}
	t.diagnostic(`Jain's index, the worst of all runs of 1 000 out of ${dispatched.length} dispatches: ${worst.toFixed(4)}`);
	assert.ok(dispatched.length > 2_000);
	assert.ok(worst >= 0.95, `${worst}`);
});

/** Waits of the quiet tenants, ms, with or without one that floods. */
function quietWaits(floods: boolean): { readonly waits: number[]; readonly serviceMs: number } {
	const world = worldWith(100_000);
	const { host } = world;
	const tokens = [40, 80] as const;
	const meanServiceMs = (60 + 2) * msPerToken;
	// Of ten tenants each may have a tenth of the slots; the quiet ones ask for half of that.
	const everyMs = (meanServiceMs / slots) * 10 * 2;
	const random = new SeededRandom(7);
	const quiet = Array.from({ length: 9 }, (_, index) => new Tenant(world, `quiet${index}`, tokens, index + 1));
	const flood = new Tenant(world, 'flood', tokens, 99);
	const waits: number[] = [];
	const start = host.now();
	const lastsMs = 60_000;
	if (floods) for (let index = 0; index < (lastsMs / meanServiceMs) * slots * 1.5; index++) flood.submit();
	for (const tenant of quiet) {
		const next = (): void => {
			if (host.now() - start > lastsMs) return;
			const task = tenant.submit();
			const submittedAt = host.now();
			if (task.state === 'running') waits.push(0);
			else {
				task.onGranted = () => {
					waits.push(host.now() - submittedAt);
					task.tellServed();
				};
			}
			host.setTimer(-Math.log(1 - random.next()) * everyMs, next);
		};
		host.setTimer(random.next() * everyMs, next);
	}
	host.advance(lastsMs);
	return { waits, serviceMs: meanServiceMs };
}

test('one tenant that floods costs the quiet ones no more than one service time', (t) => {
	const p95 = (waits: readonly number[]): number => waits.toSorted((a, b) => a - b)[Math.floor(waits.length * 0.95)] ?? 0;
	const alone = quietWaits(false);
	const beside = quietWaits(true);
	t.diagnostic(
		`p95 wait of nine quiet tenants: ${p95(alone.waits).toFixed(0)} ms alone, ${p95(beside.waits).toFixed(0)} ms beside a flood; mean service ${alone.serviceMs} ms`,
	);
	assert.ok(beside.waits.length > 500);
	assert.ok(p95(beside.waits) <= p95(alone.waits) + alone.serviceMs);
});

test('a tenant is charged for its prompts when they start, also for those that it cancels at once', () => {
	const world = ControlWorld.ready({ settings: { slots: 1 } });
	const running = world.submit('running', { tenant: 'other' });
	const heavy = { tenant: 'heavy', promptTokens: 100, maxTokens: 1 };
	const first = world.submit('heavy1', heavy);
	world.submit('heavy2', heavy, 10);
	for (const id of ['light1', 'light2', 'light3']) world.submit(id, { tenant: 'light', promptTokens: 10, maxTokens: 16 }, 10);
	first.onGranted = () => world.host.setTimer(1, () => first.cancel());
	running.finish();
	world.host.advance(500);
	assert.equal(first.state, 'withdrawn');
	assert.deepEqual(world.granted, ['running', 'heavy1', 'light1', 'light2', 'light3', 'heavy2']);
	world.assertQuiet();
});

test('an answer is charged as it is served: neither when it is only foreseen nor when it ends', () => {
	const world = ControlWorld.ready({ settings: { slots: 3 }, maxTokensOut: 400 });
	const third = world.submit('third', { tenant: 'third', promptTokens: 100 });
	const endless = world.submit('endless', { tenant: 'greedy', promptTokens: 10, maxTokens: 4, expectedTokens: 4 });
	// Of which nothing is made yet.
	const other = world.submit('other', { tenant: 'modest', promptTokens: 10, maxTokens: 400, expectedTokens: 400 });
	for (const [id, tenant] of [
		['next', 'greedy'],
		['after', 'modest'],
	] as const) {
		world.submit(id, { tenant, promptTokens: 10, maxTokens: 16, expectedTokens: 16 }, 10);
	}
	endless.servedSoFar(200);
	// Of a lease that nobody holds, and of less than was told before.
	world.tell({ type: 'tokens-served', poolId: endless.poolId, served: [1, 99, 1_000] });
	endless.servedSoFar(3);
	third.finish();
	world.host.advance(1);
	assert.deepEqual(world.granted, ['third', 'endless', 'other', 'after']);
	other.finish();
	endless.finish();
	world.host.advance(1);
	assert.deepEqual(world.granted, ['third', 'endless', 'other', 'after', 'next']);
});
