/** One front thread in a simulation: the real `tasks` actor and Tasks, a scripted decode port, and a control thread played by the test. */
import assert from 'node:assert/strict';
import type { EdgeRef } from '../../src/actors/kernel/edge.ts';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import { SimHost } from '../../src/actors/kernel/sim-host.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';
import type { Labels, Telemetry } from '../../src/actors/kernel/telemetry.ts';
import { WallTime } from '../../src/actors/kernel/wall-time.ts';
import type { Failure } from '../../src/actors/serving/failure.ts';
import { failure } from '../../src/actors/serving/failure.ts';
import { journal } from '../../src/actors/serving/journal.ts';
import { JournalIndex } from '../../src/actors/serving/journal-index.ts';
import { JournalLine } from '../../src/actors/serving/journal-line.ts';
import type {
	DispatcherCommand,
	FrontCommand,
	Lease,
	PlacementNews,
	PoolView,
	QueueStanding,
	TaskSummary,
} from '../../src/actors/serving/messages.ts';
import { noRateLimit, type RateLimit } from '../../src/actors/serving/rate-limit.ts';
import type { CancelDone, CancelReason, Opening, TaskView } from '../../src/actors/serving/task-directory.ts';
import { type RetentionLimits, TaskRegistry } from '../../src/actors/serving/task-registry.ts';
import type { TaskRequest } from '../../src/actors/serving/task-request.ts';
import { type TasksMessage, tasks } from '../../src/actors/serving/tasks.ts';
import { type MemoryStore, wallStart } from './memory-store.ts';
import { ScriptedDecode, type ScriptedGeneration } from './scripted-decode.ts';
import { poolView, replicaFacts, taskRequest } from './task-requests.ts';

export interface Event {
	readonly seq: number;
	readonly name: string;
	readonly data: Record<string, unknown>;
}

export class Recorder implements Telemetry {
	readonly counts: { metric: string; labels: Labels; by: number }[] = [];
	readonly samples: { metric: string; labels: Labels; value: number }[] = [];
	readonly gauges: { metric: string; labels: Labels; value: number }[] = [];
	readonly expected: { metric: string; labels: Labels }[] = [];
	readonly lines: { level: string; event: string; fields: Readonly<Record<string, unknown>> }[] = [];

	count(metric: string, labels: Labels, by = 1): void {
		this.counts.push({ metric, labels, by });
	}
	gauge(metric: string, labels: Labels, value: number): void {
		this.gauges.push({ metric, labels, value });
	}
	observe(metric: string, labels: Labels, value: number): void {
		this.samples.push({ metric, labels, value });
	}
	expect(metric: string, labels: Labels): void {
		this.expected.push({ metric, labels });
	}
	log(level: string, event: string, fields: Readonly<Record<string, unknown>>): void {
		this.lines.push({ level, event, fields });
	}
	total(metric: string, labels: Labels = {}): number {
		return this.counts
			.filter((entry) => entry.metric === metric && Object.entries(labels).every(([name, value]) => entry.labels[name] === value))
			.reduce((sum, entry) => sum + entry.by, 0);
	}
}

export function standingOf(position: number): QueueStanding {
	return {
		position,
		at: 0,
		predictedStartMs: position * 1000,
		predictedEndMs: position * 1000 + 500,
		predictedStartP90Ms: position * 2000,
		predictedEndP90Ms: position * 2000 + 1000,
		estimated: 'prior',
		queueDepth: position + 1,
		warmUp: null,
	};
}

type Submit = Extract<DispatcherCommand, { type: 'submit' }>;
type Settle = Extract<DispatcherCommand, { type: 'settle' }>;

/** A control thread of the test: what came, and ways to answer. */
export class PlayedControl {
	readonly epoch: number;
	readonly commands: DispatcherCommand[] = [];
	readonly edge: EdgeRef<DispatcherCommand>;
	front: ActorRef<FrontCommand> | null = null;
	pools: readonly PoolView[];
	/** After the command was noted. */
	onCommand: (command: DispatcherCommand) => void = () => undefined;
	#leases = 0;

	constructor(system: ActorSystem, epoch: number, pools: readonly PoolView[]) {
		this.epoch = epoch;
		this.pools = pools;
		this.edge = system.edge((command) => {
			this.commands.push(command);
			if (command.type === 'front-joined') {
				this.front = command.replyTo;
				command.replyTo.tell({ type: 'pools-changed', epoch, pools: this.pools });
			}
			this.onCommand(command);
		});
	}

	of<T extends DispatcherCommand['type']>(type: T): Extract<DispatcherCommand, { type: T }>[] {
		return this.commands.filter((command): command is Extract<DispatcherCommand, { type: T }> => command.type === type);
	}

	submits(taskId: string): Submit[] {
		return this.of('submit').filter((submit) => submit.summary.taskId === taskId);
	}

	summary(taskId: string): TaskSummary {
		return this.#submit(taskId).summary;
	}

	#submit(taskId: string): Submit {
		const submit = this.submits(taskId).at(-1);
		assert.ok(submit, `no submit of ${taskId}`);
		return submit;
	}

	tell(taskId: string, news: PlacementNews): void {
		this.#submit(taskId).replyTo.tell(news);
	}

	queue(taskId: string, position: number): void {
		this.tell(taskId, {
			type: 'queued',
			poolId: 'pool',
			engine: 'scripted',
			standing: standingOf(position),
			onTimeProbability: null,
			budget: null,
			held: null,
		});
	}

	refuse(
		taskId: string,
		problem: Failure = failure('ADMISSION_REJECT', 'the queue is full', { policyLabel: 'reject', retryAfterMs: 5 }),
	): void {
		this.tell(taskId, { type: 'refused', failure: problem });
	}

	newLease(): Lease {
		return { epoch: this.epoch, id: ++this.#leases, poolId: 'pool', replicaId: 'pool-0', exclusive: false };
	}

	grant(taskId: string, more: Partial<Extract<PlacementNews, { type: 'granted' }>> = {}): Lease {
		const lease = more.lease ?? this.newLease();
		this.tell(taskId, {
			type: 'granted',
			lease,
			replica: replicaFacts,
			ctx: 512,
			maxTokensOut: 256,
			timeouts: { firstTokenMs: 60_000, idleMs: 30_000, wallMs: 600_000 },
			migration: true,
			standing: standingOf(0),
			...more,
		});
		return lease;
	}

	settlementsOf(lease: Lease): Settle[] {
		return this.of('settle').filter((settle) => settle.lease.id === lease.id && settle.lease.epoch === lease.epoch);
	}
}

export class FrontWorld {
	readonly telemetry = new Recorder();
	readonly host: SimHost;
	readonly system: ActorSystem;
	readonly decode = new ScriptedDecode();
	readonly registry: TaskRegistry;
	readonly tasks: ActorRef<TasksMessage>;
	/** Ids on the roll now, and all that ever were. */
	readonly roll = new Set<string>();
	readonly enrolled: string[] = [];
	control: PlayedControl;

	constructor(
		seed = 1,
		limits: Partial<RetentionLimits> = {},
		pools: readonly PoolView[] = [poolView()],
		rates: RateLimit = noRateLimit,
		/** Durable tasks are kept there; null: none can be. */
		store: MemoryStore | null = null,
	) {
		this.host = new SimHost(seed, this.telemetry);
		this.system = new ActorSystem(this.host);
		this.registry = new TaskRegistry({ logBytesMax: 1 << 22, retentionMs: 600_000, retentionCount: 10_000, ...limits });
		const roll = {
			started: (id: string): void => {
				assert.ok(!this.roll.has(id));
				this.roll.add(id);
				this.enrolled.push(id);
			},
			ended: (id: string): void => {
				assert.ok(this.roll.delete(id));
			},
			lost: (id: string) => assert.ok(!this.roll.has(id)),
		};
		const wallNow = (): number => wallStart + this.host.now();
		const journalLine =
			store === null ? null : new JournalLine({ frontId: 'front-0', clock: new WallTime(() => this.host.now(), wallNow, wallStart) });
		this.tasks = this.system.spawn(
			'tasks',
			tasks({ frontId: 'front-0', registry: this.registry, decode: this.decode, roll, elsewhere: null, rates, journal: journalLine }),
		);
		if (store !== null) {
			const index = JournalIndex.of(store, ['front-0']);
			const later = (run: () => void): void => this.host.yieldThen(run);
			const { bytesMax, retentionMs } = store;
			const kept = this.system.spawn('journal', journal({ store, index, retentionMs, bytesMax, recallBytesMax: 1 << 20, wallNow, later }), {
				mailboxMax: 100_000,
			});
			this.tasks.tell({ type: 'journal-connected', journal: kept });
		}
		this.control = this.connect(1, pools);
	}

	/** A new control thread comes up. */
	connect(
		epoch: number,
		pools: readonly PoolView[] = this.control.pools,
		before: (control: PlayedControl) => void = () => undefined,
	): PlayedControl {
		const control = new PlayedControl(this.system, epoch, pools);
		before(control);
		this.control = control;
		this.tasks.tell({ type: 'control-connected', control: { epoch, dispatcher: control.edge } });
		this.run();
		return control;
	}

	run(): void {
		this.host.run();
	}

	/** Sends an `open-task`; `answers` holds what came, in the end exactly one. */
	send(request: TaskRequest): { readonly answers: Opening[] } {
		const answers: Opening[] = [];
		const edge = this.system.edge<Opening>((opening) => {
			answers.push(opening);
			edge.close();
		});
		assert.equal(this.tasks.tell({ type: 'open-task', request, replyTo: edge }), 'accepted');
		return { answers };
	}

	open(taskId: string, more: Partial<TaskRequest> = {}): { readonly answers: Opening[] } {
		const opened = this.send(taskRequest(taskId, more));
		this.run();
		return opened;
	}

	/** A task that waits at `position`. */
	queued(taskId: string, more: Partial<TaskRequest> = {}, position = 0): TaskView {
		const opened = this.open(taskId, more);
		this.control.queue(taskId, position);
		this.run();
		const [answer] = opened.answers;
		assert.ok(answer?.type === 'task-opened');
		return answer.task;
	}

	/** A task whose engine has taken the request. */
	running(
		taskId: string,
		more: Partial<TaskRequest> = {},
	): { readonly task: TaskView; readonly generation: ScriptedGeneration; readonly lease: Lease } {
		const task = this.queued(taskId, more);
		const lease = this.control.grant(taskId);
		this.run();
		const generation = this.decode.generations.at(-1);
		assert.ok(generation && generation.request.lease.id === lease.id);
		generation.started();
		this.run();
		return { task, generation, lease };
	}

	view(taskId: string): TaskView {
		const found = this.registry.lookup(taskId);
		assert.equal(found.found, 'task');
		return (found as { task: TaskView }).task;
	}

	/** Cancels, and returns whether `cancel-done` came within the turn. */
	cancel(task: TaskView, reason: CancelReason = 'client'): 'done' | 'closed' | 'silent' {
		let done = false;
		const edge = this.system.edge<CancelDone>(() => {
			done = true;
			edge.close();
		});
		const sent = task.ref.tell({ type: 'cancel', reason, replyTo: edge });
		this.run();
		edge.close();
		return sent === 'closed' ? 'closed' : done ? 'done' : 'silent';
	}

	/** Nothing is left of any task but its record: no actor, no timer but the one of retention, no ask, no reply slot. */
	assertAtRest(): void {
		this.run();
		const { actors, timers, asks, edges } = this.system.stats;
		assert.deepEqual({ actors, asks, edges }, { actors: 1, asks: 0, edges: 1 }, 'at rest');
		assert.equal(timers, this.registry.finishedCount > 0 ? 1 : 0, 'timers at rest');
		assert.equal(this.registry.liveCount, 0);
		assert.equal(this.roll.size, 0);
		assert.equal(this.system.stats.failures, 0);
		assert.deepEqual(
			this.telemetry.lines.filter((line) => line.level === 'error'),
			[],
		);
		this.registry.check();
		this.assertNothingSecret();
	}

	/** Logs and labels hold no prompt and no output. Tests write them so that they can be told. */
	assertNothingSecret(): void {
		const said = JSON.stringify([this.telemetry.lines, this.telemetry.counts, this.telemetry.gauges, this.telemetry.samples]);
		assert.ok(!said.includes('secret'), 'a prompt or an output was logged');
	}
}

export function eventsOf(task: TaskView): Event[] {
	const events: Event[] = [];
	task.log.forEach(0, (seq, name, json) => events.push({ seq, name, data: JSON.parse(json) as Record<string, unknown> }));
	return events;
}

export const namesOf = (task: TaskView): string[] => eventsOf(task).map((event) => event.name);
export const lastOf = (task: TaskView): Event => {
	const last = eventsOf(task).at(-1);
	assert.ok(last);
	return last;
};

/** Ends a task with no slot: the pool answers its withdrawal. */
export function withdrawn(world: FrontWorld, taskId: string): void {
	assert.deepEqual(
		world.control.of('withdraw').map((command) => [command.taskId, command.poolId]),
		[[taskId, 'pool']],
	);
	world.control.tell(taskId, { type: 'withdrawn' });
	world.assertAtRest();
}
