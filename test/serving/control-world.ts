/**
 * The control thread and an engine thread in a simulation: production Dispatcher, Pool, guardian and Replica over fake
 * engines; the front is played, with one small task-like thing for each Task.
 */
import assert from 'node:assert/strict';
import type { EdgeRef } from '../../src/actors/kernel/edge.ts';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import { SimHost } from '../../src/actors/kernel/sim-host.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';
import { CatalogAdmission } from '../../src/actors/serving/admission.ts';
import { dispatcher } from '../../src/actors/serving/dispatcher.ts';
import { engineGuardian } from '../../src/actors/serving/engine-guardian.ts';
import type { Failure } from '../../src/actors/serving/failure.ts';
import type {
	DispatcherCommand,
	EngineThreadCommand,
	FrontCommand,
	Lease,
	PlacementNews,
	PlacementPreview,
	PoolView,
	Purging,
	QueueStanding,
	Settlement,
	TaskSummary,
} from '../../src/actors/serving/messages.ts';
import type { PoolControlled, PoolOperation } from '../../src/actors/serving/operation-messages.ts';
import type { ConfigurePools, RetireModels } from '../../src/actors/serving/pool-messages.ts';
import type { PoolSpec } from '../../src/actors/serving/pool-spec.ts';
import { SessionNotes } from '../../src/actors/serving/session-notes.ts';
import { servedMs } from '../../src/actors/serving/tokens-served.ts';
import { FakeEngines } from './fake-engine.ts';
import { Recorder } from './front-world.ts';
import { poolSpec, summary, taskClaim } from './summaries.ts';
import { replicaFacts } from './task-requests.ts';

type News<T extends PlacementNews['type']> = Extract<PlacementNews, { type: T }>;

/** What the control thread sees of a Task: its submission, its lease, its settlement, its end. */
export class TestTask {
	readonly world: ControlWorld;
	summary: TaskSummary;
	/** Does not leave its slot when it is asked to: it cannot go on elsewhere. */
	stays = false;
	/** What a tokenizer says of its prompt, should somebody ask. */
	countsTo: number | null = 10;
	readonly edge: EdgeRef<PlacementNews>;
	readonly news: PlacementNews[] = [];
	lease: Lease | null = null;
	/** Where it is queued. */
	poolId = '';
	state: 'submitted' | 'queued' | 'running' | 'done' | 'refused' | 'withdrawn' | 'lost' | 'dead' = 'submitted';
	/** How long it runs by itself once it has a slot; null: the test ends it. */
	runMs: number | null = null;
	/** What it comes to, once it is done. */
	work: Pick<Settlement, 'tokensIn' | 'tokensOut' | 'prefillMs' | 'decodeMs'> = {
		tokensIn: 10,
		tokensOut: 16,
		prefillMs: 10,
		decodeMs: 150,
	};
	onGranted: () => void = () => undefined;
	/** Cancelled, and the answer to its withdrawal is still to come. */
	cancelled = false;

	constructor(world: ControlWorld, summary: TaskSummary) {
		this.world = world;
		this.summary = summary;
		this.edge = world.system.edge<PlacementNews>((news) => this.#onNews(news), { mailboxMax: 64 });
	}

	get id(): string {
		return this.summary.taskId;
	}

	get open(): boolean {
		return this.state === 'submitted' || this.state === 'queued' || this.state === 'running';
	}

	all<T extends PlacementNews['type']>(type: T): News<T>[] {
		return this.news.filter((each): each is News<T> => each.type === type);
	}

	only<T extends PlacementNews['type']>(type: T): News<T> {
		const found = this.all(type);
		assert.equal(found.length, 1, `${this.id} heard ${this.news.map((each) => each.type).join()}`);
		return found[0] as News<T>;
	}

	get standing(): QueueStanding {
		const told = this.news.flatMap((each) => ('standing' in each ? [each.standing] : [])).at(-1);
		assert.ok(told);
		return told;
	}

	submit(again = false): void {
		this.world.tell({ type: 'submit', summary: this.summary, claim: taskClaim, again, replyTo: this.edge });
	}

	#onNews(news: PlacementNews): void {
		this.news.push(news);
		switch (news.type) {
			case 'queued':
				// A second time: another pool has it now, or the same again.
				assert.ok(this.state === 'submitted' || this.state === 'queued');
				this.poolId = news.poolId;
				this.summary = { ...this.summary, held: news.held };
				this.state = 'queued';
				if (this.cancelled) this.#withdraw();
				return;
			case 'count-first':
				assert.equal(this.state, 'submitted');
				this.summary = { ...this.summary, promptTokens: this.countsTo, counted: true };
				return this.submit();
			case 'standing-changed':
				return;
			case 'leave-slot':
				return this.#leaveSlot(news);
			case 'granted':
				return this.#take(news);
			case 'refused':
				assert.ok(this.state === 'submitted' || this.state === 'queued', `${this.id} was refused while ${this.state}`);
				return this.#leave('refused');
			case 'withdrawn':
				assert.ok(this.cancelled);
				return this.#leave('withdrawn');
			case 'replica-lost':
				if (this.state !== 'running' || this.lease?.id !== news.lease.id) return;
				this.settle('failed', 'unknown', this.lease, 'WORKER_RESET');
				return this.#leave('lost');
		}
	}

	/** As a Task does: the engine lets go, then it waits for another slot, or ends where it may not go on. */
	#leaveSlot({ lease, reason }: News<'leave-slot'>): void {
		if (this.state !== 'running' || this.lease?.id !== lease.id || this.stays) return;
		this.world.engines.life(lease.replicaId).over(lease);
		if (reason === 'drained') {
			this.settle('failed', 'free');
			return this.#leave('lost');
		}
		this.settle('moved', 'free', lease, reason);
		this.lease = null;
		this.state = 'submitted';
		const { modelDigest, modelName } = replicaFacts;
		this.summary = { ...this.summary, resume: { poolId: lease.poolId, modelDigest, modelName, tokens: 5 } };
		this.submit(true);
	}

	#take({ lease }: News<'granted'>): void {
		assert.ok(this.lease === null, `${this.id} was granted two leases`);
		assert.ok(this.state === 'submitted' || this.state === 'queued');
		this.world.granted.push(this.id);
		this.onGranted();
		this.lease = lease;
		if (this.cancelled) {
			this.settle('unused', 'free');
			return this.#leave('withdrawn');
		}
		this.state = 'running';
		if (!this.world.engines.life(lease.replicaId).begin(lease)) {
			this.settle('failed', 'free');
			return this.#leave('lost');
		}
		if (this.runMs !== null) this.world.host.setTimer(this.runMs, () => this.state === 'running' && this.finish());
	}

	/** As its front tells now and then. */
	servedSoFar(tokens: number): void {
		assert.ok(this.lease);
		const { poolId, epoch, id } = this.lease;
		this.world.tell({ type: 'tokens-served', poolId, served: [epoch, id, tokens] });
	}

	/** From now on until it ends, as its front does: every 200 ms what its engine has made by then. */
	tellServed(): void {
		const { host } = this.world;
		const { prefillMs, decodeMs, tokensOut } = this.work;
		const startedAt = host.now();
		const tell = (): void => {
			if (this.state !== 'running') return;
			const decodedMs = Math.max(0, host.now() - startedAt - prefillMs);
			this.servedSoFar(Math.floor(Math.min(1, decodedMs / decodeMs) * tokensOut));
			host.setTimer(servedMs, tell);
		};
		host.setTimer(servedMs, tell);
	}

	/** The engine is done with it, and it with its lease: settled and gone in one turn, as a Task is. */
	finish(): void {
		assert.ok(this.lease);
		this.world.engines.life(this.lease.replicaId).over(this.lease);
		this.settle('completed', 'free');
		this.#leave('done');
	}

	/** The engine breaks its work off, and lives. */
	/** `unknown`: its engine did not let go of it in time. */
	fail(reason = 'WORKER_RESET', slot: Settlement['slot'] = 'free'): void {
		assert.ok(this.lease);
		this.world.engines.life(this.lease.replicaId).over(this.lease);
		this.settle('failed', slot, this.lease, reason);
		this.#leave('lost');
	}

	settle(outcome: Settlement['outcome'], slot: Settlement['slot'], lease = this.lease, reason = 'test'): void {
		assert.ok(lease);
		const work = outcome === 'completed' ? this.work : outcome === 'moved' ? { ...this.work, tokensOut: 5 } : noWork;
		this.world.tell({ type: 'settle', lease, settlement: { outcome, slot, ...work, reason } });
	}

	/** Out of the queue; or off the slot, which the engine frees at once, or `lateMs` after the Task has given up on it. */
	cancel(lateMs: number | null = null): void {
		this.cancelled = true;
		if (this.state === 'queued') return this.#withdraw();
		if (this.state !== 'running' || this.lease === null) return;
		const { lease, world } = this;
		const life = world.engines.life(lease.replicaId);
		if (lateMs === null) life.over(lease);
		else world.host.setTimer(lateMs, () => life.over(lease));
		this.settle('canceled', lateMs === null ? 'free' : 'unknown');
		this.#leave('withdrawn');
	}

	#withdraw(): void {
		this.world.tell({ type: 'withdraw', poolId: this.poolId, taskId: this.id, reason: 'client' });
	}

	/** It ends without a word: a bug, or its thread. The engine notices after a while. */
	die(engineNoticesMs = 300): void {
		const { lease, world } = this;
		if (this.state === 'running' && lease !== null) {
			const life = world.engines.life(lease.replicaId);
			world.host.setTimer(engineNoticesMs, () => life.over(lease));
		}
		this.#leave('dead');
	}

	/** To a new control thread. */
	report(): void {
		this.news.length = 0;
		if (this.state === 'running' && this.lease !== null) {
			this.world.tell({ type: 'report-lease', lease: this.lease, summary: this.summary, claim: taskClaim, replyTo: this.edge });
		} else if (this.cancelled) this.#leave('withdrawn');
		else if (this.open) {
			this.state = 'submitted';
			this.submit(true);
		}
	}

	#leave(state: 'done' | 'refused' | 'withdrawn' | 'lost' | 'dead'): void {
		this.state = state;
		this.edge.close();
	}
}

const noWork = { tokensIn: 0, tokensOut: 0, prefillMs: 0, decodeMs: 0 } as const;

export class ControlWorld {
	readonly telemetry = new Recorder();
	readonly host: SimHost;
	readonly system: ActorSystem;
	readonly engines: FakeEngines;
	pools: readonly PoolSpec[];
	readonly tasks = new Map<string, TestTask>();
	/** Task ids, in the order of their grants. */
	readonly granted: string[] = [];
	/** What the front was told, newest last. */
	readonly broadcasts: (readonly PoolView[])[] = [];
	sessions = { ttlMs: 600_000, turnsMax: 8, countMax: 1_000 };
	pinning = true;
	readonly admission = new CatalogAdmission();
	epoch = 0;
	/** As the front knew it from the last control thread. */
	draining: readonly { readonly poolId: string; readonly deadlineAt: number }[] = [];
	purging: readonly ({ readonly poolId: string } & Purging)[] = [];
	dispatcher: ActorRef<DispatcherCommand | ConfigurePools | RetireModels> | null = null;
	guardian: ActorRef<EngineThreadCommand> | null = null;
	/** What the front keeps of sessions. */
	readonly notes = new SessionNotes();
	front: EdgeRef<FrontCommand>;
	/** Names of the engine threads that replicas have for homes. */
	homes: readonly string[] = ['engine-0'];
	#engineThreads = 0;

	constructor(more: Partial<PoolSpec> | readonly PoolSpec[] = {}, seed = 1) {
		this.host = new SimHost(seed, this.telemetry);
		this.system = new ActorSystem(this.host);
		this.engines = new FakeEngines(this.host);
		this.pools = Array.isArray(more) ? (more as readonly PoolSpec[]) : [poolSpec(more as Partial<PoolSpec>)];
		this.front = this.newFront();
	}

	/** A world in which everything is up and the engines are ready. */
	static ready(more: Partial<PoolSpec> | readonly PoolSpec[] = {}, seed = 1): ControlWorld {
		const world = new ControlWorld(more, seed);
		world.startEngineThread();
		world.startControl();
		world.host.advance(10);
		return world;
	}

	newFront(): EdgeRef<FrontCommand> {
		return this.system.edge<FrontCommand>((command) => {
			if (command.type === 'sessions-changed') return this.notes.heard(command, this.host.now());
			assert.equal(command.epoch, this.epoch);
			this.broadcasts.push(command.pools);
		});
	}

	get views(): readonly PoolView[] {
		return this.broadcasts.at(-1) ?? [];
	}

	view(poolId = 'pool'): PoolView {
		const view = this.views.find((each) => each.poolId === poolId);
		assert.ok(view, `nothing was told of ${poolId}`);
		return view;
	}

	tell(command: DispatcherCommand): void {
		this.dispatcher?.tell(command);
	}

	/** The control thread, or its successor. The front joins and reports unless told not to. */
	startControl(front: 'reports' | 'silent' = 'reports'): void {
		this.epoch += 1;
		const setup = dispatcher({
			epoch: this.epoch,
			pools: this.pools,
			expectedFronts: ['front-0'],
			engines: this.homes,
			sessions: this.sessions,
			pinning: this.pinning,
			admission: this.admission,
		});
		this.dispatcher = this.system.spawn(`control-${this.epoch}`, setup, { mailboxMax: 65_536 }) as ActorRef<
			DispatcherCommand | ConfigurePools | RetireModels
		>;
		if (front === 'reports') this.frontReports();
		this.engineJoins();
	}

	/** The configuration was read anew. */
	configure(...pools: readonly PoolSpec[]): void {
		this.pools = pools;
		this.dispatcher?.tell({ type: 'configure-pools', pools, pinning: this.pinning });
		this.host.run();
	}

	frontReports(): void {
		this.tell({ type: 'front-joined', frontId: 'front-0', draining: this.draining, purging: this.purging, replyTo: this.front });
		for (const task of this.tasks.values()) if (task.open) task.report();
		for (const sessions of this.notes.report(this.epoch, this.host.now(), [])) this.tell(sessions);
		this.tell({ type: 'front-reported', frontId: 'front-0' });
	}

	stopControl(): void {
		if (this.dispatcher !== null) this.system.stop(this.dispatcher);
		this.dispatcher = null;
		this.host.run();
	}

	startEngineThread(): void {
		this.#engineThreads += 1;
		this.guardian = this.system.spawn(`engine-${this.#engineThreads}`, engineGuardian({ scripted: this.engines }));
		this.engineJoins();
	}

	engineJoins(): void {
		if (this.guardian !== null) this.tell({ type: 'engine-joined', engineId: 'engine-0', replyTo: this.guardian });
	}

	stopEngineThread(): void {
		if (this.guardian !== null) this.system.stop(this.guardian);
		this.guardian = null;
		this.host.run();
	}

	submit(taskId: string, more: Partial<TaskSummary> = {}, runMs: number | null = null): TestTask {
		const task = new TestTask(this, summary(taskId, { admittedAt: this.host.now(), ...more }));
		task.runMs = runMs;
		this.tasks.set(taskId, task);
		task.submit();
		this.host.run();
		return task;
	}

	submitAll(count: number, more: Partial<TaskSummary> = {}, runMs: number | null = null): TestTask[] {
		return Array.from({ length: count }, (_, index) => this.submit(`t${index}`, more, runMs));
	}

	/** The last answer to an order. */
	controlled: PoolControlled | null = null;

	/** What is wrong with it; null: it is under way. */
	control(poolId: string, operation: PoolOperation): Failure | null {
		const answers: PoolControlled[] = [];
		const replyTo = this.system.edge<PoolControlled>((answer) => answers.push(answer));
		this.tell({ type: 'control-pool', poolId, operation, correlationId: 'c', replyTo });
		this.host.run();
		replyTo.close();
		assert.equal(answers.length, 1);
		this.controlled = answers[0] ?? null;
		return this.controlled?.failure ?? null;
	}

	preview(more: Partial<TaskSummary> = {}): PlacementPreview {
		const answers: PlacementPreview[] = [];
		const edge = this.system.edge<PlacementPreview>((answer) => answers.push(answer));
		this.tell({ type: 'preview', summary: summary('preview', { admittedAt: this.host.now(), ...more }), replyTo: edge });
		this.host.run();
		edge.close();
		assert.equal(answers.length, 1);
		return answers[0] as PlacementPreview;
	}

	states(): string[] {
		return [...this.tasks.values()].map((task) => task.state);
	}

	/** Nothing runs or waits, every slot is free, nobody is followed any more, and nothing went wrong on the way. */
	assertQuiet(stale = 0): void {
		this.host.advance(1_000);
		for (const view of this.views) {
			assert.deepEqual([view.slotsFree, view.queueDepth], [view.slotsTotal, { interactive: 0, batch: 0 }], view.poolId);
			assert.ok(view.slotsTotal > 0 || view.state === 'unloaded', `${view.poolId} has no replica`);
		}
		for (const life of this.engines.lives.values()) assert.equal(life.busy.size, 0);
		assert.equal(this.telemetry.total('ledger_drift_total'), 0);
		assert.equal(this.telemetry.total('stale_settlements_total'), stale);
		assert.equal(this.system.stats.failures, 0);
		assert.deepEqual(
			this.telemetry.lines.filter((line) => line.level === 'error' && line.event !== 'replica-failed'),
			[],
		);
		const open = [...this.tasks.values()].filter((task) => task.open);
		assert.deepEqual(
			open.map((task) => `${task.id} ${task.state}`),
			[],
		);
		// The front is the only edge that is left.
		assert.equal(this.system.stats.edges, 1);
	}
}
