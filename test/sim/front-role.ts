/**
 * A front thread of a simulation: the production `tasks` actor, Tasks and watchers, a simulated decode port, and the handlers
 * that clients call as HTTP would call them. What more fronts share with each other joins here, as peers of one another.
 */
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import type { DispatcherCommand } from '../../src/actors/serving/messages.ts';
import type { CancelDone, Opening, TaskView } from '../../src/actors/serving/task-directory.ts';
import { TaskRegistry } from '../../src/actors/serving/task-registry.ts';
import type { TaskRequest } from '../../src/actors/serving/task-request.ts';
import { type TasksMessage, tasks } from '../../src/actors/serving/tasks.ts';
import { urgentFromFronts } from '../../src/actors/serving/urgent.ts';
import type { Peer } from '../../src/actors/threads/link.ts';
import type { Clock } from '../../src/transport/clock.ts';
import { Watchers } from '../../src/transport/stream/watchers.ts';
import { SimDecodePort } from './decode-wire.ts';
import type { SimRole, SimThread } from './sim-thread.ts';
import type { SseSocket } from './sse-socket.ts';
import type { Universe } from './universe.ts';
import { Witness } from './witness.ts';

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
	readonly #tasks: ActorRef<TasksMessage>;
	readonly #roll = new Set<string>();

	constructor(universe: Universe, thread: SimThread) {
		const { plan } = universe;
		const { system, host } = thread;
		this.thread = thread;
		this.#universe = universe;
		this.registry = new TaskRegistry({ logBytesMax: plan.logBytesMax, retentionMs: plan.retentionMs, retentionCount: 10_000 });
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
		};
		this.#tasks = system.spawn('tasks', tasks({ frontId: thread.name, registry: this.registry, decode: this.decode, roll }), {
			mailboxMax: plan.tasksMailbox,
		});
		this.names = { front: this.#tasks };
		const clock: Clock = {
			now: () => host.now(),
			wallNow: () => host.now(),
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
		if (name !== 'control') return;
		this.epoch = incarnation;
		const dispatcher = peer.remote<DispatcherCommand>('dispatcher');
		this.#tasks.tell({ type: 'control-connected', control: { epoch: incarnation, dispatcher } });
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
		if (this.#tasks.tell({ type: 'open-task', request, replyTo: edge }) === 'accepted') return true;
		edge.close();
		return false;
	}

	/** GET /v2/tasks/{id}/events: the status, and from 200 on the socket is written to. */
	watch(taskId: string, after: number, socket: SseSocket): 200 | 400 | 404 | 410 {
		const found = this.registry.lookup(taskId);
		if (found.found === 'nothing') return 404;
		if (found.found === 'expired' || found.task.log.forgotten) return 410;
		if (after > found.task.log.lastSeq) return 400;
		this.witness(found.task);
		this.sockets.add(socket);
		this.watchers.attach(found.task, socket, after, false);
		return 200;
	}

	/** POST /v2/tasks/{id}/cancel: answered by 204, always. */
	cancel(taskId: string, answer: () => void): void {
		const found = this.registry.lookup(taskId);
		if (found.found !== 'task') return answer();
		const { task } = found;
		const done = (): void => {
			// A task that is refused before its 202 has no log that anybody could read.
			const witness = this.witness(task);
			witness.cancelledAt ??= task.log.lastSeq;
			if (!task.log.ended) this.#universe.found('nothingIsLoggedAfterACancel', `${taskId}: 204, and its log is open`);
			answer();
		};
		const edge = this.thread.system.edge<CancelDone>(() => {
			edge.close();
			done();
		});
		if (task.ref.tell({ type: 'cancel', reason: 'client', replyTo: edge }) === 'accepted') return;
		edge.close();
		done();
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
