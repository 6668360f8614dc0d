/**
 * A task of another front thread, as watchers and handlers of this one see it: the last facts that came, and a copy of its log
 * that grows as the events come. Written by the `elsewhere` actor alone; to everybody else a task like any other.
 */
import type { ActorRef, Delivery } from '../kernel/ref.ts';
import type { DeskCommand } from './desk-messages.ts';
import { EventLog } from './event-log.ts';
import { type Failure, failure } from './failure.ts';
import type { TaskCommand, TaskState, TaskView } from './task-directory.ts';
import { errorJson } from './task-events.ts';
import type { TaskNote } from './task-request.ts';
import type { TaskFacts, TaskSnapshot } from './task-snapshot.ts';

/** What the home is told through: its desk, and who we are. */
export interface HomeLine {
	readonly desk: ActorRef<DeskCommand>;
	readonly ownFrontId: string;
}

export class ForeignTask implements TaskView {
	readonly request: TaskView['request'];
	readonly admittedAt: number;
	readonly log: EventLog;
	readonly ref: ActorRef<TaskCommand>;
	facts: TaskFacts;
	tokensOut: number;
	/** Clients of this front that watch it, and how many of them the home has been told of. */
	#watchersHere = 0;
	#watchersTold = 0;
	readonly #home: HomeLine;

	/** `logBytes`: what may be kept of the events, which will come; null: the log is empty, and only says where it stands. */
	constructor({ request, note, admittedAt, facts, log }: TaskSnapshot, home: HomeLine, logBytes: number | null) {
		this.request = note === null ? request : { ...request, note: new ForeignNote(note, home, request.taskId) };
		this.admittedAt = admittedAt;
		this.facts = facts;
		this.tokensOut = facts.tokensOut;
		this.#home = home;
		this.log = new EventLog(logBytes ?? 0, log.firstSeq, log.run);
		if (logBytes === null) {
			this.log.lastSeq = log.lastSeq;
			this.log.ended = log.ended;
			this.log.forgotten = log.forgotten;
		}
		this.ref = { tell: (command) => this.#tell(command) };
	}

	/** Its front is gone, and nothing more will come. */
	lose(now: number): void {
		if (this.log.ended || this.log.forgotten) return;
		// It runs again, under other numbers: nobody may take what was read here for the whole, or for lost.
		if (this.request.durable) return this.log.forget();
		const problem = frontLost();
		const standingVersion = this.facts.standingVersion + 1;
		this.facts = { ...this.facts, state: 'failed', phase: 'ended', failure: problem, endedAt: now, standingVersion };
		this.log.append('error', errorJson(problem));
	}

	/** As a Task takes them. */
	#tell(command: TaskCommand): Delivery {
		const { desk } = this.#home;
		const { taskId } = this.request;
		switch (command.type) {
			case 'cancel':
				return desk.tell({ type: 'cancel-task', taskId, reason: command.reason, replyTo: command.replyTo });
			case 'watcher-attached':
				this.#watchersHere += 1;
				return this.tellWatchers();
			case 'watcher-gone':
				this.#watchersHere -= 1;
				return this.tellWatchers();
		}
	}

	/** Again where the link had no room for it. */
	tellWatchers(): Delivery {
		const watchers = this.#watchersHere;
		if (watchers === this.#watchersTold) return 'accepted';
		const { desk, ownFrontId: frontId } = this.#home;
		const told = desk.tell({ type: 'watch-task', frontId, taskId: this.request.taskId, watchers });
		if (told === 'accepted') this.#watchersTold = watchers;
		return told;
	}

	get state(): TaskState {
		return this.facts.state;
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
	get budget(): TaskView['budget'] {
		return this.facts.budget;
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
	get tokensCached(): number | null {
		return this.facts.tokensCached;
	}
	get decodeMs(): number {
		return this.facts.decodeMs;
	}
	get finishReason(): TaskView['finishReason'] {
		return this.facts.finishReason;
	}
	get stopSequence(): string | null {
		return this.facts.stopSequence;
	}
	get failure(): Failure | null {
		return this.facts.failure;
	}
	get watchers(): number {
		return this.facts.watchers;
	}
	get transcriptArtifact(): TaskView['transcriptArtifact'] {
		return this.facts.transcriptArtifact;
	}

	get vectors(): TaskView['vectors'] {
		return this.facts.vectors;
	}
}

class ForeignNote implements TaskNote {
	json: string | null;
	readonly #home: HomeLine;
	readonly #taskId: string;

	constructor(json: string, home: HomeLine, taskId: string) {
		this.json = json;
		this.#home = home;
		this.#taskId = taskId;
	}

	drop(): void {
		this.json = null;
		this.#home.desk.tell({ type: 'drop-note', taskId: this.#taskId });
	}
}

/** What is said of the tasks of a front thread that is gone. */
export function frontLost(): Failure {
	return failure('WORKER_RESET', 'the thread that held this task was lost, and its events with it');
}
