/** The Replica actor and its guardian: an engine that ends is started again, later each time, and its pool hears of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EdgeRef } from '../../src/actors/kernel/edge.ts';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import { SimHost } from '../../src/actors/kernel/sim-host.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';
import { engineGuardian } from '../../src/actors/serving/engine-guardian.ts';
import type { EngineDriver, LifeNews } from '../../src/actors/serving/engine-life.ts';
import { failure } from '../../src/actors/serving/failure.ts';
import type { EngineThreadCommand, ReplicaCommand, ReplicaNews, ReplicaSpec } from '../../src/actors/serving/messages.ts';
import { restartDelayMs } from '../../src/actors/serving/replica.ts';
import { replicaFacts } from './task-requests.ts';

const died = failure('WORKER_RESET', 'the engine died');
const spec: ReplicaSpec = { replicaId: 'pool-0', poolId: 'pool', engine: 'scripted', model: 'scripted:demo', settings: null };

/** One life of the driver, in the hands of the test. */
interface Life {
	readonly at: number;
	readonly ref: ActorRef<LifeNews>;
	audits: number;
	stops: number;
}

class World {
	readonly host = new SimHost(7);
	readonly system = new ActorSystem(this.host);
	readonly lives: Life[] = [];
	readonly guardian: ActorRef<EngineThreadCommand>;
	news: ReplicaNews[] = [];
	/** A start that throws is a bug of the driver. */
	broken = false;

	constructor() {
		const driver: EngineDriver = {
			start: (_spec, ref) => {
				if (this.broken) throw new Error('driver bug');
				const life: Life = { at: this.host.now(), ref, audits: 0, stops: 0 };
				this.lives.push(life);
				return { audit: () => void life.audits++, stop: () => void life.stops++ };
			},
		};
		this.guardian = this.system.spawn('engines', engineGuardian({ scripted: driver }));
	}

	start(more: Partial<ReplicaSpec> = {}): EdgeRef<ReplicaNews> {
		const pool = this.system.edge<ReplicaNews>((news) => this.news.push(news));
		this.guardian.tell({ type: 'start-replica', replica: { ...spec, ...more }, replyTo: pool });
		this.host.run();
		return pool;
	}

	get life(): Life {
		const life = this.lives.at(-1);
		assert.ok(life);
		return life;
	}

	get replica(): ActorRef<ReplicaCommand> {
		const started = this.news.find((each) => each.type === 'replica-started');
		assert.ok(started);
		return started.replyTo;
	}

	tell(news: LifeNews): void {
		this.life.ref.tell(news);
		this.host.run();
	}

	ready(): void {
		this.tell({ type: 'life-ready', facts: replicaFacts });
	}

	end(): void {
		this.tell({ type: 'life-ended', failure: died });
	}

	/** What was told since the last look. */
	heard(): string[] {
		const types = this.news.map((each) => each.type.replace('replica-', ''));
		this.news = [];
		return types;
	}

	/** Ends the life and returns after how long the next one began. */
	delay(): number {
		const at = this.host.now();
		const lives = this.lives.length;
		this.end();
		this.host.advance(120_000);
		assert.equal(this.lives.length, lives + 1);
		return this.life.at - at;
	}
}

test('what finds no room at its pool is told later, in order, but for the answer to an audit', () => {
	const world = new World();
	const pool = world.system.edge<ReplicaNews>((news) => world.news.push(news), { mailboxMax: 1 });
	world.guardian.tell({ type: 'start-replica', replica: spec, replyTo: pool });
	world.host.run();
	world.life.ref.tell({ type: 'life-audited', busyLeases: [] });
	world.life.ref.tell({ type: 'life-audited', busyLeases: [] });
	world.life.ref.tell({ type: 'life-ready', facts: replicaFacts });
	world.life.ref.tell({ type: 'life-audited', busyLeases: [] });
	world.end();
	assert.deepEqual(world.heard(), ['started', 'audited']);
	world.host.advance(100);
	assert.deepEqual(world.heard(), ['ready']);
	world.host.advance(100);
	assert.deepEqual(world.heard(), ['failed']);
});

test('it names itself, starts its engine and tells when that is ready; audits pass through', () => {
	const world = new World();
	world.start();
	assert.deepEqual(
		world.news.map((each) => each.type),
		['replica-started'],
	);
	world.replica.tell({ type: 'audit', revoked: [] });
	world.ready();
	world.replica.tell({ type: 'audit', revoked: [] });
	world.host.run();
	assert.equal(world.life.audits, 2);
	world.tell({ type: 'life-audited', busyLeases: ['1.2'] });
	assert.deepEqual(world.news.at(-1), { type: 'audited', replicaId: 'pool-0', busyLeases: ['1.2'] });
	assert.deepEqual(world.heard(), ['started', 'ready', 'audited']);
});

test('an engine that ends is started again after 1 s, 2 s, 4 s … 60 s, give or take a tenth', () => {
	const world = new World();
	world.start();
	for (const expected of [1, 2, 4, 8, 16, 32, 60, 60]) {
		const delay = world.delay();
		assert.ok(Math.abs(delay / 1_000 / expected - 1) <= 0.1 + 1e-9, `${delay} ms instead of ${expected} s`);
	}
});

test('after five minutes of readiness the delays begin anew, before that they go on', () => {
	const world = new World();
	world.start();
	for (let index = 0; index < 3; index++) world.delay();
	world.ready();
	world.host.advance(100_000);
	assert.ok(world.delay() > 7_000, 'a short life reset the delays');
	world.ready();
	world.host.advance(300_000);
	assert.ok(world.delay() <= 1_100, 'a long life did not reset the delays');
});

test('never more than ten starts in a minute, whatever the delays say', () => {
	const starts = Array.from({ length: 10 }, (_, index) => index * 100);
	assert.equal(restartDelayMs(1, starts, 1_000, 0.5), 59_000);
	assert.equal(restartDelayMs(1, starts, 65_000, 0.5), 1_000);
	assert.equal(restartDelayMs(1, starts.slice(1), 1_000, 0.5), 1_000);
	assert.equal(restartDelayMs(50, [], 0, 0.5), 60_000);
	assert.deepEqual([restartDelayMs(1, [], 0, 0), restartDelayMs(1, [], 0, 1)], [900, 1_100]);
});

test('a failure behind ten starts of one minute waits for the end of that minute, however few have failed', () => {
	const world = new World();
	world.start();
	for (let change = 1; change < 10; change++) {
		world.ready();
		world.replica.tell({ type: 'change-model', model: `scripted:${change}`, settings: null, emptyCaches: false });
		world.host.run();
		world.end();
		world.host.advance(100);
	}
	assert.equal(world.lives.length, 10);
	assert.ok(world.host.now() - (world.lives[0]?.at ?? 0) < 1_000);
	const delay = world.delay();
	assert.ok(delay > 58_000 && delay < 60_000, `${delay} ms`);
	assert.ok(world.delay() < 3_000, 'the next ones by their own count');
});

test('its pool hears of each failure with the time of the next try, and of the try', () => {
	const world = new World();
	world.start();
	world.end();
	const failed = world.news.find((each) => each.type === 'replica-failed');
	assert.ok(failed && failed.retryInMs !== null && failed.failure.message === 'the engine died');
	world.host.advance(failed.retryInMs);
	world.ready();
	assert.deepEqual(world.heard(), ['started', 'failed', 'started', 'ready']);
});

test('a new control thread is told what stands: ready, failed or starting; the engine is left alone', () => {
	const world = new World();
	world.start();
	world.heard();
	world.start();
	assert.deepEqual(world.heard(), ['started']);
	world.ready();
	world.heard();
	world.start();
	assert.deepEqual(world.heard(), ['started', 'ready']);
	world.end();
	world.heard();
	world.start();
	assert.deepEqual(world.heard(), ['started', 'failed']);
	assert.equal(world.lives.length, 1);
	world.host.advance(1_200);
	world.heard();
	world.start();
	assert.deepEqual(world.heard(), ['started', 'failed', 'started']);
	assert.equal(world.lives.length, 2);
});

test('stop ends the engine first, then the actor; a stop between two lives ends it at once', () => {
	const world = new World();
	world.start();
	world.ready();
	world.replica.tell({ type: 'stop' });
	world.host.run();
	assert.equal(world.life.stops, 1);
	assert.equal(world.system.stats.actors, 2);
	world.end();
	assert.deepEqual(world.heard().at(-1), 'stopped');
	assert.equal(world.system.stats.actors, 1);

	world.start({ replicaId: 'pool-1' });
	world.end();
	world.replica.tell({ type: 'stop' });
	world.host.run();
	assert.deepEqual(world.heard().at(-1), 'stopped');
	assert.deepEqual([world.system.stats.actors, world.system.stats.timers], [1, 0]);
	world.host.advance(120_000);
	assert.equal(world.lives.length, 2);
});

test('a guardian that drains ends when all engines have, and starts no more', () => {
	const world = new World();
	world.start();
	world.ready();
	world.start({ replicaId: 'pool-1' });
	world.system.drain(world.guardian);
	world.host.run();
	world.heard();
	world.start({ replicaId: 'pool-2' });
	assert.deepEqual(world.heard(), ['failed']);
	for (const life of world.lives) life.ref.tell({ type: 'life-ended', failure: died });
	world.host.run();
	assert.deepEqual([world.system.stats.actors, world.lives.length], [0, 2]);
});

test('an engine that nobody here can run fails its own pool only, for good', () => {
	const world = new World();
	world.start();
	world.heard();
	world.start({ replicaId: 'big-0', poolId: 'big', engine: 'vllm' });
	const [news] = world.news;
	assert.ok(news?.type === 'replica-failed' && news.retryInMs === null);
	assert.equal(world.system.stats.actors, 2);
});

test('a replica that dies of a bug takes its engine along and can be asked for again', () => {
	const world = new World();
	world.start();
	world.ready();
	world.end();
	world.broken = true;
	world.host.advance(2_000);
	assert.equal(world.system.stats.actors, 1);
	world.broken = false;
	world.start();
	assert.equal(world.lives.length, 2);
	world.system.shutdown();
	assert.equal(world.life.stops, 1);
});
