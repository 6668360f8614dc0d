/**
 * What the control thread looks over on a timer: a sum that does not agree with its parts is counted and told. Each test plants
 * one that does not, in what the running actors hold.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimHost } from '../../src/actors/kernel/sim-host.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';
import type { PlacementNews } from '../../src/actors/serving/messages.ts';
import type { PoolMessage, PoolNews } from '../../src/actors/serving/pool-messages.ts';
import { PoolOffers } from '../../src/actors/serving/pool-offers.ts';
import { PoolSlots } from '../../src/actors/serving/pool-slots.ts';
import { PoolState } from '../../src/actors/serving/pool-state.ts';
import type { Waiting } from '../../src/actors/serving/pool-tasks.ts';
import type { SessionTold } from '../../src/actors/serving/session-messages.ts';
import { ControlWorld } from './control-world.ts';
import { Recorder } from './front-world.ts';
import { poolSpec, summary } from './summaries.ts';

const lookMs = 5_000;

/** The parts of a Pool that keep its books, in an actor that only looks them over. */
class Books {
	readonly telemetry = new Recorder();
	readonly #host = new SimHost(1, this.telemetry);
	readonly #system = new ActorSystem(this.#host);
	readonly state: PoolState;

	constructor() {
		const made: PoolState[] = [];
		this.#system.spawn<PoolMessage>('pool', (ctx) => {
			const dispatcher = this.#system.edge<PoolNews>(() => undefined);
			const state = new PoolState(ctx, { spec: poolSpec(), epoch: 1, engines: [], dispatcher });
			const slots = new PoolSlots(state, new PoolOffers(state, () => undefined));
			made.push(state);
			return {
				onMessage(_ctx, message) {
					if (message.type === 'ledger-due') slots.check();
					return 'same';
				},
			};
		});
		this.#host.run();
		const [state] = made;
		assert.ok(state);
		this.state = state;
		state.ledger.addReplica('pool-0', 2);
	}

	/** A task that waits as it should. */
	wait(taskId: string): Waiting {
		const { tenant, priority, admittedAt, deadlineAt, queuedBytes: bytes, ...rest } = summary(taskId);
		const told = {
			predictedStartMs: 0,
			predictedEndMs: 0,
			toldPosition: 0,
			toldStartMs: 0,
			toldWarm: false,
			toldAt: 0,
			startMs: 0,
			enqueuedAt: 0,
			serviceMs: 1,
			cold: false,
		};
		const terms = { lease: null, outputCap: null, wallCapMs: null, budget: null, replicaId: null, held: null };
		const ref = this.#system.edge<PlacementNews>(() => undefined);
		const places = { taskId, tenant, priority, admittedAt, deadlineAt, bytes, workMs: 1, cost: 1, costAtStart: 1 };
		const waiting: Waiting = { ...places, ...told, terms, ref, summary: { ...summary(taskId), ...rest } };
		this.state.queue.enqueue(waiting);
		this.state.tasks.waits(waiting);
		return waiting;
	}

	/** What the next look finds. */
	found(): string[] {
		const before = this.telemetry.lines.length;
		const counted = this.telemetry.total('ledger_drift_total', { pool_id: 'pool' });
		this.#host.advance(lookMs);
		const words = this.telemetry.lines.slice(before).map(({ fields }) => String(fields['human']));
		assert.equal(this.telemetry.total('ledger_drift_total', { pool_id: 'pool' }), counted + words.length);
		return words;
	}
}

test('a pool whose books are right finds nothing at its looks', () => {
	const books = new Books();
	books.wait('a');
	books.wait('b');
	books.state.dequeue(books.wait('c'));
	assert.deepEqual(books.found(), []);
	assert.deepEqual(books.found(), []);
});

test('a slot that is granted to no task is drift', () => {
	const books = new Books();
	const lease = books.state.ledger.grant('pool-0', 'ghost', false);
	assert.deepEqual(books.found(), ['pool-0: a slot is granted to ghost, which has no task']);
	books.state.ledger.release(lease);
	assert.deepEqual(books.found(), []);
});

test('a lease that is of another replica than its slot is drift', () => {
	const books = new Books();
	Object.assign(books.state.ledger.grant('pool-0', 'a', false), { replicaId: 'pool-1' });
	assert.deepEqual(books.found(), ['pool-0: 1 slots in use, leases hold 0']);
});

test('bytes in the queue that no task holds are drift', () => {
	const books = new Books();
	const task = books.wait('a');
	Object.assign(task, { bytes: 10 });
	assert.deepEqual(books.found(), ['1000 bytes in the queue, its tasks hold 10']);
	books.state.dequeue(task);
	assert.deepEqual(books.found(), ['990 bytes in the queue, its tasks hold 0']);
});

test('a task that waits and whose end nobody would hear of is drift', () => {
	const books = new Books();
	const task = books.wait('a');
	books.state.tasks.left(task);
	assert.deepEqual(books.found(), ['task a waits, and nobody would hear of its end']);
});

test('a budget of which more is reserved than its tasks hold is drift, of no pool', () => {
	const world = ControlWorld.ready();
	// What is looked at behind every message finds it before the timer does.
	const broken: string[] = [];
	world.host.world.onBroken = (actor, words) => broken.push(`${actor} ${words}`);
	const told = world.system.edge<SessionTold>(() => undefined);
	world.tell({
		type: 'use-session',
		tenant: null,
		sessionId: 's',
		operation: { kind: 'set-budgets', budgets: { tokens: 100 } },
		replyTo: told,
	});
	const task = world.submit('a', { sessionId: 's', maxTokens: 16, promptTokens: 10 });
	world.host.advance(20_000);
	assert.equal(world.telemetry.total('ledger_drift_total'), 0);
	assert.ok(task.summary.held);
	Object.assign(task.summary.held.reserved, { tokens: 1 });
	world.host.advance(20_000);
	assert.ok(world.telemetry.total('ledger_drift_total', { pool_id: '' }) > 0);
	assert.equal(world.telemetry.total('ledger_drift_total', { pool_id: 'pool' }), 0);
	assert.match(String(world.telemetry.lines.at(-1)?.fields['human']), /^session s: tokens: 26 reserved, leases hold 1$/);
	assert.match(broken[0] ?? '', /^\/control-1 session s: tokens: 26 reserved, leases hold 1$/);
});
