/**
 * A task as the front thread knows it, from admission until it is forgotten: what `TaskView` shows, and the holdings
 * that outlive its actor. Written by the Task actor alone; the registry keeps and forgets it.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { GenerationUsage } from './decode.ts';
import { EventLog } from './event-log.ts';
import type { EngineKind, Failure } from './failure.ts';
import type { LogLease } from './log-space.ts';
import type { QueueStanding, ReplicaFacts } from './messages.ts';
import type { CancelReason, Opening, TaskCommand, TaskState, TaskView } from './task-directory.ts';
import type { TaskRequest } from './task-request.ts';
import { withoutTexts } from './task-snapshot.ts';

/** How a task ended. `cut`: we stopped it, the engine did not. */
export type Ending =
	| { readonly kind: 'done'; readonly finishReason: 'stop' | 'length'; readonly usage: GenerationUsage }
	| { readonly kind: 'canceled'; readonly reason: CancelReason }
	| { readonly kind: 'failed'; readonly failure: Failure; readonly cut: CancelReason | null };

/** A task without an actor: at rest, or not yet begun. */
const nobody: ActorRef<TaskCommand> = { tell: () => 'closed' };
const noStanding: QueueStanding = {
	position: 0,
	predictedStartMs: 0,
	predictedEndMs: 0,
	predictedStartP90Ms: 0,
	predictedEndP90Ms: 0,
	estimated: 'prior',
	queueDepth: 0,
};

export class TaskRecord implements TaskView {
	request: TaskRequest;
	/** In order of admission on this front. */
	readonly ordinal: number;
	readonly admittedAt: number;
	readonly log: EventLog;
	/** Until the task is forgotten. */
	readonly logLease: LogLease;
	ref: ActorRef<TaskCommand> = nobody;
	state: TaskState = 'admitting';
	phase: TaskView['phase'] = 'admitting';
	standing: QueueStanding | null = null;
	standingVersion = 0;
	onTimeProbability: number | null = null;
	startedAt: number | null = null;
	firstTokenAt: number | null = null;
	endedAt: number | null = null;
	poolId: string | null = null;
	replicaId: string | null = null;
	engine: EngineKind | null = null;
	engineVersion: string | null = null;
	modelDigest: string | null = null;
	tokensIn = 0;
	decodeMs = 0;
	finishReason: TaskView['finishReason'] = null;
	failure: Failure | null = null;
	watchers = 0;
	vectors: readonly Float32Array[] | null = null;
	/** Refused before any 202: nobody may find it, the same id may come again. */
	refused = false;

	constructor(request: TaskRequest, ordinal: number, admittedAt: number, logLease: LogLease, firstSeq = 1) {
		this.request = request;
		this.ordinal = ordinal;
		this.admittedAt = admittedAt;
		this.logLease = logLease;
		this.log = new EventLog(logLease.bytes, firstSeq);
	}

	get ended(): boolean {
		return this.endedAt !== null;
	}

	get tokensOut(): number {
		return this.log.tokens;
	}

	/** Standing or phase has changed: watchers may owe their client a `metrics` event. */
	stand(phase: TaskView['phase'], standing: QueueStanding | null): void {
		this.phase = phase;
		this.standing = standing;
		this.standingVersion++;
		this.log.notify();
	}

	place(replica: ReplicaFacts, standing: QueueStanding): void {
		this.poolId = replica.poolId;
		this.replicaId = replica.replicaId;
		this.engine = replica.engine;
		this.engineVersion = replica.engineVersion;
		this.modelDigest = replica.modelDigest;
		this.standing = standing;
	}

	// The log event that follows each of these tells the watchers.

	run(now: number): void {
		this.startedAt = now;
		this.state = 'running';
		this.phase = 'prefill';
		this.standingVersion++;
	}

	decode(now: number): void {
		this.firstTokenAt = now;
		this.phase = 'decode';
		this.standingVersion++;
	}

	/** What an ended task no longer needs may be megabytes: prompt, stop strings, schema and grammar go. */
	end(ending: Ending, now: number): void {
		this.state = ending.kind;
		this.endedAt = now;
		this.phase = 'ended';
		this.standingVersion++;
		this.decodeMs = this.firstTokenAt === null ? 0 : now - this.firstTokenAt;
		if (ending.kind === 'failed') this.failure = ending.failure;
		else if (ending.kind === 'canceled') this.finishReason = 'canceled';
		else {
			this.finishReason = ending.finishReason;
			this.decodeMs = ending.usage.decodeMs;
		}
		this.request = withoutTexts(this.request);
	}

	/** Bytes held until the task is forgotten. */
	get bytesKept(): number {
		let bytes = this.log.bytes;
		for (const vector of this.vectors ?? []) bytes += vector.byteLength;
		return bytes;
	}

	/** The answer to an `open-task` that named it. */
	opening(fresh: boolean): Opening {
		return {
			type: 'task-opened',
			task: this,
			standing: this.standing ?? noStanding,
			poolId: this.poolId ?? '',
			onTimeProbability: this.onTimeProbability,
			fresh,
		};
	}

	leave(): void {
		this.ref = nobody;
	}
}
