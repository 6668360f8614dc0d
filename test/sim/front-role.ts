/**
 * A front thread of a simulation: the production `tasks` actor, Tasks and watchers, a simulated decode port, and the handlers
 * that clients call as HTTP would call them. What more fronts share with each other joins here, as peers of one another.
 */
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import type { DeskCommand } from '../../src/actors/serving/desk-messages.ts';
import { type FrontActors, spawnFrontActors } from '../../src/actors/serving/front-actors.ts';
import type { DispatcherCommand } from '../../src/actors/serving/messages.ts';
import { SharedTaskBook } from '../../src/actors/serving/task-book.ts';
import type { CancelDone, FindPurpose, Lookup, Opening, TaskFound, TaskView } from '../../src/actors/serving/task-directory.ts';
import { TaskRegistry } from '../../src/actors/serving/task-registry.ts';
import type { TaskRequest } from '../../src/actors/serving/task-request.ts';
import { urgentFromFronts } from '../../src/actors/serving/urgent.ts';
import type { Peer } from '../../src/actors/threads/link.ts';
import type { Clock } from '../../src/transport/clock.ts';
import { Watchers } from '../../src/transport/stream/watchers.ts';
import { SimDecodePort } from './decode-wire.ts';
import type { SimRole, SimThread } from './sim-thread.ts';
import type { SseSocket } from './sse-socket.ts';
import type { Universe } from './universe.ts';
import { Witness } from './witness.ts';

export type WatchStatus = 200 | 400 | 404 | 410 | 503;

const cancelMs = 5_000;

export class FrontRole implements SimRole {
	readonly names: Readonly<Record<string, ActorRef<never>>>;
	readonly urgent = urgentFromFronts;
	readonly thread: SimThread;
	readonly registry: TaskRegistry;
	readonly decode: SimDecodePort;
	readonly watchers: Watchers;
	readonly witnesses = new Map<TaskView, Witness>();
	readonly sockets = new Set<SseSocket>();
	/** Of the control thread that it knows; 0: none. */
	epoch = 0;
	readonly #universe: Universe;
	readonly #actors: FrontActors;
	readonly #roll = new Set<string>();

	constructor(universe: Universe, thread: SimThread) {
		const { plan } = universe;
		const { system, host } = thread;
		this.thread = thread;
		this.#universe = universe;
		const limits = { logBytesMax: plan.logBytesMax, retentionMs: plan.retentionMs, retentionCount: 10_000 };
		this.registry = new TaskRegistry(limits, plan.fronts.indexOf(thread.name), new SharedTaskBook(universe.bookOf(thread.name)));
		this.decode = new SimDecodePort(universe, thread);
		const roll = {
			started: (taskId: string): void => {
				if (this.#roll.has(taskId)) universe.found('taskRollIsTrue', `${taskId} was started twice`);
				this.#roll.add(taskId);
				const found = this.registry.lookup(taskId);
				if (found.found === 'task') this.witness(found.task).admitted = true;
			},
			ended: (taskId: string): void => {
				if (!this.#roll.delete(taskId)) universe.found('taskRollIsTrue', `${taskId} ended and was not on the roll`);
			},
			lost: (taskId: string): void => {
				if (this.#roll.has(taskId)) universe.found('taskRollIsTrue', `${taskId} runs here and was adopted`);
			},
		};
		const { fronts, tasksMailbox: mailboxMax } = plan;
		this.#actors = spawnFrontActors(system, {
			frontId: thread.name,
			fronts,
			registry: this.registry,
			decode: this.decode,
			roll,
			mailboxMax,
		});
		this.names = this.#actors.names;
		const clock: Clock = {
			now: () => host.now(),
			wallNow: () => host.now(),
			wallOf: Math.round,
			every: (ms, tick) => every(thread, ms, tick),
			after: (ms, fire) => {
				const timer = host.setTimer(ms, fire);
				return () => host.clearTimer(timer);
			},
			soon: (run) => host.yieldThen(run),
		};
		this.watchers = new Watchers(
			{ heartbeatMs: 15_000, stallMs: 30_000, microbatchMs: plan.microbatchMs, watchersMax: 10_000 },
			clock,
			(hook) => system.onTurnEnd(hook),
			thread.telemetry,
			(where, error) => universe.found('nothingIsLoggedAsABug', `${thread.label}: ${where}: ${String(error)}`),
		);
	}

	onPeer(name: string, peer: Peer, incarnation: number): void {
		if (name !== 'control') {
			this.#actors.elsewhere?.tell({ type: 'desk-connected', frontId: name, desk: peer.remote<DeskCommand>('desk') });
			return;
		}
		this.epoch = incarnation;
		const dispatcher = peer.remote<DispatcherCommand>('dispatcher');
		this.#actors.tasks.tell({ type: 'control-connected', control: { epoch: incarnation, dispatcher } });
	}

	onKilled(): void {
		this.decode.drop();
		for (const witness of this.witnesses.values()) if (!witness.ended) witness.cutOff = true;
		for (const socket of this.sockets) socket.lose();
	}

	close(): void {
		this.watchers.close();
		this.decode.drop();
	}

	/** What is logged of a task from here on is noted. */
	witness(task: TaskView): Witness {
		const known = this.witnesses.get(task);
		if (known !== undefined) return known;
		const witness = new Witness(task, this.thread.label);
		this.witnesses.set(task, witness);
		return witness;
	}

	// ── as HTTP handlers do ──────────────────────────────────────────────────────────────────────────────────────

	/** POST /v2/tasks. False: the `tasks` actor is too busy to be told. */
	open(request: TaskRequest, answer: (opening: Opening) => void): boolean {
		const edge = this.thread.system.edge<Opening>((opening) => {
			answer(opening);
			edge.close();
		});
		if (this.#actors.tasks.tell({ type: 'open-task', request, replyTo: edge }) === 'accepted') return true;
		edge.close();
		return false;
	}

	/** Here, or on another front: `use` is called once, unless this thread dies. */
	#find(taskId: string, purpose: FindPurpose, use: (found: Lookup | null) => void): void {
		const here = this.registry.lookup(taskId);
		const { elsewhere } = this.#actors;
		if (here.found !== 'nothing' || elsewhere === null) return use(here);
		const edge = this.thread.system.edge<TaskFound>((answer) => {
			edge.close();
			use(answer.type === 'task-found' ? answer.lookup : null);
		});
		if (elsewhere.tell({ type: 'find-task', taskId, purpose, replyTo: edge }) === 'accepted') return;
		edge.close();
		use(null);
	}

	/** GET /v2/tasks/{id}/events: the status and what is known of the task; from 200 on the socket is written to. */
	watch(taskId: string, after: number, socket: SseSocket, answer: (status: WatchStatus, witness: Witness | null) => void): void {
		this.#find(taskId, 'follow', (found) => {
			if (found === null) return answer(503, null);
			if (found.found === 'nothing') return answer(404, null);
			if (found.found === 'expired' || found.task.log.forgotten) return answer(410, null);
			if (after > found.task.log.lastSeq) return answer(400, null);
			this.sockets.add(socket);
			this.watchers.attach(found.task, socket, after, false);
			answer(200, this.#witnessOf(found.task));
		});
	}

	/** The truth about a foreign task is that of its home; null: that has just been lost, or has forgotten it. */
	#witnessOf(task: TaskView): Witness | null {
		const { taskId } = task.request;
		const here = this.registry.lookup(taskId);
		const witness = here.found === 'task' ? this.witness(here.task) : this.#universe.witnessOf(taskId);
		// Another that has come by the same id since is not the one.
		return witness?.task.admittedAt === task.admittedAt ? witness : null;
	}

	/** POST /v2/tasks/{id}/cancel: answered by 204, or by 503. */
	cancel(taskId: string, answer: (status: 204 | 503) => void): void {
		this.#find(taskId, 'look', (found) => {
			if (found === null) return answer(503);
			if (found.found !== 'task') return answer(204);
			const { task } = found;
			const done = (): void => {
				// A task that is refused before its 202 has no log that anybody could read.
				const witness = this.#witnessOf(task);
				if (witness !== null) {
					witness.cancelledAt ??= witness.task.log.lastSeq;
					if (!witness.task.log.ended) this.#universe.found('nothingIsLoggedAfterACancel', `${taskId}: 204, and its log is open`);
				}
				answer(204);
			};
			const edge = this.thread.system.edge<CancelDone>(() => {
				edge.close();
				done();
			});
			if (task.ref.tell({ type: 'cancel', reason: 'client', replyTo: edge }) === 'accepted') {
				// One that is lost meanwhile answers nobody: a handler gives up after a while.
				this.thread.host.setTimer(cancelMs, () => edge.close());
				return;
			}
			edge.close();
			if (task.log.ended || this.registry.lookup(taskId).found === 'task') done();
			else answer(503);
		});
	}

	get rollSize(): number {
		return this.#roll.size;
	}
}

function every(thread: SimThread, ms: number, tick: () => void): () => void {
	const { host } = thread;
	let timer = host.setTimer(ms, again);
	function again(): void {
		timer = host.setTimer(ms, again);
		tick();
	}
	return () => host.clearTimer(timer);
}
