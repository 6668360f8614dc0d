/**
 * A task of another front thread, as watchers and handlers of this one see it: the last snapshot that came, and a copy of its
 * log that grows as the events come. Written by `foreign-tasks.ts` alone; to everybody else a task like any other.
 */
import type { ActorRef, Delivery } from '../kernel/ref.ts';
import type { DeskCommand } from './desk-messages.ts';
import { EventLog } from './event-log.ts';
import { type Failure, failure } from './failure.ts';
import type { TaskCommand, TaskState, TaskView } from './task-directory.ts';
import { errorJson } from './task-events.ts';
import type { TaskSnapshot } from './task-snapshot.ts';

/** What the home is told through: its desk, and who we are. */
export interface HomeLine {
	readonly desk: ActorRef<DeskCommand>;
	readonly ownFrontId: string;
}

export class ForeignTask implements TaskView {
	readonly log: EventLog;
	readonly ref: ActorRef<TaskCommand>;
	tokensOut: number;
	watchers = 0;
	facts: TaskSnapshot;
	readonly #home: HomeLine;

	/** `followed`: its events will come. Else the log is empty, and only says whether it has ended. */
	constructor(snapshot: TaskSnapshot, home: HomeLine, followed: boolean) {
		this.facts = snapshot;
		this.tokensOut = snapshot.tokensOut;
		this.#home = home;
		this.log = new EventLog(Number.POSITIVE_INFINITY, snapshot.firstSeq);
		if (!followed) {
			this.log.lastSeq = snapshot.lastSeq;
			this.log.ended = snapshot.eventsEnded;
		}
		this.ref = { tell: (command) => this.#tell(command) };
	}

	update(snapshot: TaskSnapshot): void {
		this.facts = snapshot;
		this.log.notify();
	}

	/** Its front is gone, and nothing more will come. */
	lose(now: number): void {
		if (this.log.ended || this.log.forgotten) return;
		const problem = frontLost();
		const phase = 'ended';
		this.facts = { ...this.facts, state: 'failed', phase, failure: problem, endedAt: now, standingVersion: this.facts.standingVersion + 1 };
		this.log.append('error', errorJson(problem));
	}

	/** As a Task takes them: the first watcher here and the last are told to the home. */
	#tell(command: TaskCommand): Delivery {
		const { desk, ownFrontId: frontId } = this.#home;
		const { taskId } = this.facts.request;
		switch (command.type) {
			case 'cancel':
				return desk.tell({ type: 'cancel-task', taskId, reason: command.reason, replyTo: command.replyTo });
			case 'watcher-attached':
				this.watchers += 1;
				if (this.watchers === 1) return desk.tell({ type: 'watch-task', frontId, taskId, watched: true });
				return 'accepted';
			case 'watcher-gone':
				this.watchers -= 1;
				if (this.watchers === 0) return desk.tell({ type: 'watch-task', frontId, taskId, watched: false });
				return 'accepted';
		}
	}

	get request(): TaskView['request'] {
		return this.facts.request;
	}
	get state(): TaskState {
		return this.facts.state;
	}
	get admittedAt(): number {
		return this.facts.admittedAt;
	}
	get startedAt(): number | null {
		return this.facts.startedAt;
	}
	get firstTokenAt(): number | null {
		return this.facts.firstTokenAt;
	}
	get endedAt(): number | null {
		return this.facts.endedAt;
	}
	get standing(): TaskView['standing'] {
		return this.facts.standing;
	}
	get onTimeProbability(): number | null {
		return this.facts.onTimeProbability;
	}
	get standingVersion(): number {
		return this.facts.standingVersion;
	}
	get phase(): TaskView['phase'] {
		return this.facts.phase;
	}
	get poolId(): string | null {
		return this.facts.poolId;
	}
	get replicaId(): string | null {
		return this.facts.replicaId;
	}
	get engine(): TaskView['engine'] {
		return this.facts.engine;
	}
	get engineVersion(): string | null {
		return this.facts.engineVersion;
	}
	get modelDigest(): string | null {
		return this.facts.modelDigest;
	}
	get tokensIn(): number {
		return this.facts.tokensIn;
	}
	get decodeMs(): number {
		return this.facts.decodeMs;
	}
	get finishReason(): TaskView['finishReason'] {
		return this.facts.finishReason;
	}
	get failure(): Failure | null {
		return this.facts.failure;
	}
	get vectors(): TaskView['vectors'] {
		return this.facts.vectors;
	}
}

/** What is said of the tasks of a front thread that is gone. */
export function frontLost(): Failure {
	return failure('WORKER_RESET', 'the thread that held this task was lost, and its events with it');
}
