/**
 * A task as the front thread knows it, from admission until it is forgotten: what `TaskView` shows, and the holdings
 * that outlive its actor. Written by the Task actor alone; the registry keeps and forgets it.
 */
import type { ActorRef } from '../kernel/ref.ts';
import { type Amounts, nothing, plus } from './budget.ts';
import type { FinishReason, GenerationUsage } from './decode.ts';
import { EventLog } from './event-log.ts';
import type { EngineKind, Failure } from './failure.ts';
import type { EndedTask } from './journal-record.ts';
import type { LogLease } from './log-space.ts';
import type { Lease, PlacementNews, PoolView, QueueStanding, ReplicaFacts, Settlement } from './messages.ts';
import { type KeyTerms, noKeyTerms } from './rate-limit.ts';
import type { BudgetLeft, HeldOfSession } from './session-messages.ts';
import { noCell } from './task-book.ts';
import type { CancelReason, Opening, TaskCommand, TaskState, TaskView } from './task-directory.ts';
import type { TaskRequest } from './task-request.ts';
import { withoutTexts } from './task-snapshot.ts';

/** How a task ended. `cut`: we stopped it, the engine did not. */
export type Ending =
	| { readonly kind: 'done'; readonly finishReason: FinishReason; readonly stoppedBy?: number; readonly usage: GenerationUsage }
	| { readonly kind: 'canceled'; readonly reason: CancelReason }
	| { readonly kind: 'failed'; readonly failure: Failure; readonly cut: CancelReason | null };

type Work = Pick<Settlement, 'tokensIn' | 'tokensOut' | 'prefillMs' | 'decodeMs'>;
/** What is said of a task from its end on. */
export type Outcome = Pick<TaskView, 'decodeMs' | 'failure' | 'finishReason' | 'stopSequence' | 'tokensCached'> & {
	readonly state: Ending['kind'];
	readonly endedAt: number;
};

/** A task without an actor: at rest, or not yet begun. */
const nobody: ActorRef<TaskCommand> = { tell: () => 'closed' };
const noStanding: QueueStanding = {
	position: 0,
	at: 0,
	predictedStartMs: 0,
	predictedEndMs: 0,
	predictedStartP90Ms: 0,
	predictedEndP90Ms: 0,
	estimated: 'prior',
	queueDepth: 0,
	warmUp: null,
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
	/** Of its session; null: without limit. */
	sessionBudget: BudgetLeft | null = null;
	/** Of its session, as the control thread of that epoch knows. */
	held: HeldOfSession | null = null;
	/** What it has taken of its key's rate and budgets, until it has ended; and what of it it has come to in the slots that it has given back. */
	keyTerms: KeyTerms = noKeyTerms;
	spent: Amounts = nothing;
	startedAt: number | null = null;
	firstTokenAt: number | null = null;
	/** When it was given the slot that it has, the tokens that it had then, and when the first came there. */
	leasedAt = 0;
	tokensBefore = 0;
	decodingAt: number | null = null;
	/** The slot that it runs in; null: none. Of the tokens made there, so many were told to its pool. */
	lease: Lease | null = null;
	tokensTold = 0;
	/** In the slots that it has left. */
	ranMsBefore = 0;
	decodeMsBefore = 0;
	/** Slots that it has left to go on in another. */
	moves = 0;
	endedAt: number | null = null;
	poolId: string | null = null;
	replicaId: string | null = null;
	engine: EngineKind | null = null;
	engineVersion: string | null = null;
	modelDigest: string | null = null;
	tokensIn = 0;
	tokensCached: number | null = null;
	decodeMs = 0;
	finishReason: TaskView['finishReason'] = null;
	stopSequence: string | null = null;
	failure: Failure | null = null;
	watchers = 0;
	/** Somebody has watched it, here or on what it was on before. */
	watched = false;
	vectors: readonly Float32Array[] | null = null;
	transcriptArtifact: string | null = null;
	/** Where the book of its front has it. */
	bookCell = noCell;
	/** It has its 202: from then on its end is an event, not a refusal. */
	admitted = false;
	/** Refused before any 202: nobody may find it, the same id may come again. */
	refused = false;
	/** The journal was told of it. */
	journaled = false;
	/** The daemon is ending, and the next one will run it: nothing more comes of it here. */
	suspended = false;

	/** `run`: of a durable task, counted from 1; else null. */
	constructor(request: TaskRequest, ordinal: number, admittedAt: number, logLease: LogLease, firstSeq = 1, run: number | null = null) {
		this.request = request;
		this.ordinal = ordinal;
		this.admittedAt = admittedAt;
		this.logLease = logLease;
		this.log = new EventLog(logLease.bytes, firstSeq, run);
	}

	get ended(): boolean {
		return this.endedAt !== null;
	}

	/** The less of what its session and its key had left. */
	get budget(): BudgetLeft | null {
		return lessOf(this.sessionBudget, this.keyTerms.left);
	}

	get tokensOut(): number {
		return this.log.tokens;
	}

	get tokensHere(): number {
		return this.log.tokens - this.tokensBefore;
	}

	/** Standing or phase has changed: watchers may owe their client a `metrics` event. */
	stand(phase: TaskView['phase'], standing: QueueStanding | null): void {
		this.phase = phase;
		this.standing = standing;
		this.standingVersion++;
		this.log.notify();
	}

	/** A pool has it in its queue. */
	queue({ engine, onTimeProbability, budget, held, standing }: Extract<PlacementNews, { type: 'queued' }>): void {
		this.engine = engine;
		this.onTimeProbability = onTimeProbability;
		this.sessionBudget = budget;
		this.held = held;
		this.wait(standing);
	}

	/** A new control thread has been told of it. */
	knownTo(epoch: number): void {
		if (this.held !== null) this.held = { ...this.held, epoch };
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

	run(now: number, lease: Lease): void {
		this.lease = lease;
		this.tokensTold = 0;
		if (this.log.tokens === 0) this.startedAt = now;
		this.leasedAt = now;
		this.tokensBefore = this.log.tokens;
		this.state = 'running';
		// To its watchers it goes on only with the next token.
		if (this.moves === 0) this.phase = 'prefill';
		this.standingVersion++;
	}

	decode(now: number): void {
		this.firstTokenAt ??= now;
		this.decodingAt = now;
		this.phase = 'decode';
		this.standingVersion++;
	}

	/** It has left its slot, and waits for another to go on in. */
	move(now: number, decodeMs: number): void {
		this.lease = null;
		this.moves++;
		this.ranMsBefore += now - this.leasedAt;
		this.decodeMsBefore += decodeMs;
		this.decodingAt = null;
		// Until the next slot tells: what the last one had is lost to it.
		this.tokensCached = 0;
		this.wait(this.standing);
	}

	/** Its pool has looked at it again. */
	standsAt({ standing, onTimeProbability }: Extract<PlacementNews, { type: 'standing-changed' }>): void {
		if (this.state !== 'queued') return;
		this.onTimeProbability = onTimeProbability;
		this.wait(standing);
	}

	/** Until its next token, one that has left a slot is told as that. */
	wait(standing: QueueStanding | null): void {
		this.state = 'queued';
		this.stand(this.moves === 0 ? 'queued' : 'migrated', standing);
	}

	/** A grant within what its client wants and its key had left. */
	within<G extends Pick<Extract<PlacementNews, { type: 'granted' }>, 'maxTokensOut' | 'timeouts'>>(granted: G): G {
		const { outputCap, wallCapMs } = this.keyTerms;
		const most = Math.min(this.request.outputCap ?? Number.POSITIVE_INFINITY, outputCap ?? Number.POSITIVE_INFINITY);
		const { maxTokensOut, timeouts } = granted;
		if (most >= maxTokensOut && wallCapMs === null) return granted;
		return {
			...granted,
			maxTokensOut: Math.min(maxTokensOut, most),
			timeouts: { ...timeouts, wallMs: Math.min(timeouts.wallMs, wallCapMs ?? timeouts.wallMs) },
		};
	}

	/** It gives its slot back: its key is charged as a session would be, at the prices of the pool. What came of the slot. */
	giveBack(now: number, usage: GenerationUsage | null, pools: readonly Pick<PoolView, 'poolId' | 'charges'>[]): Work {
		const charges = pools.find(({ poolId }) => poolId === this.poolId)?.charges;
		const timeMs = now - this.leasedAt;
		// Of one that goes on the prompt was paid with the slot where it began.
		const tokensIn = this.tokensBefore > 0 ? 0 : this.tokensIn;
		const cost = charges === undefined ? 0 : tokensIn * charges.perTokenIn + this.tokensHere * charges.perTokenOut;
		this.spent = plus(this.spent, { tokens: tokensIn + this.tokensHere, timeMs, cost, gpuMs: timeMs * (charges?.gpus ?? 0) }, 1);
		return this.workHere(now, usage);
	}

	/** What came of the slot that it has, or had last. */
	workHere(now: number, usage: GenerationUsage | null): Work {
		const { decodingAt } = this;
		return {
			tokensIn: this.tokensIn,
			tokensOut: this.tokensHere,
			prefillMs: usage?.prefillMs ?? (decodingAt ?? now) - this.leasedAt,
			decodeMs: usage?.decodeMs ?? (decodingAt === null ? 0 : (this.endedAt ?? now) - decodingAt),
		};
	}

	/** What will be said of it once it has ended so. */
	outcomeOf(ending: Ending, now: number): Outcome {
		const done = ending.kind === 'done' ? ending : null;
		return {
			state: ending.kind,
			endedAt: now,
			decodeMs: this.decodeMsBefore + this.workHere(now, done?.usage ?? null).decodeMs,
			failure: ending.kind === 'failed' ? ending.failure : null,
			finishReason: ending.kind === 'canceled' ? 'canceled' : (done?.finishReason ?? null),
			stopSequence: this.request.sampling.stop[done?.stoppedBy ?? -1] ?? null,
			// Engines elsewhere tell it at their end only.
			tokensCached: done === null ? this.tokensCached : done.usage.tokensCached,
		};
	}

	/** What an ended task no longer needs may be megabytes: prompt, stop strings, schema and grammar go. */
	end(outcome: Outcome): void {
		this.lease = null;
		this.state = outcome.state;
		this.endedAt = outcome.endedAt;
		this.phase = 'ended';
		this.standingVersion++;
		this.decodeMs = outcome.decodeMs;
		this.failure = outcome.failure;
		this.finishReason = outcome.finishReason;
		this.stopSequence = outcome.stopSequence;
		this.tokensCached = outcome.tokensCached;
		this.request = withoutTexts(this.request);
	}

	/** As it was kept, with all its events. Once, of one that is new here. */
	restore({ facts, events }: Pick<EndedTask, 'facts' | 'events'>): void {
		this.end({ ...facts, state: facts.state as Outcome['state'], endedAt: facts.endedAt ?? this.admittedAt });
		this.admitted = true;
		this.startedAt = facts.startedAt;
		this.firstTokenAt = facts.firstTokenAt;
		this.poolId = facts.poolId;
		this.replicaId = facts.replicaId;
		this.engine = facts.engine;
		this.engineVersion = facts.engineVersion;
		this.modelDigest = facts.modelDigest;
		this.tokensIn = facts.tokensIn;
		this.vectors = facts.vectors;
		this.log.appendFrames(events, 0, events.length);
		this.log.tokens = facts.tokensOut;
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

function lessOf(one: BudgetLeft | null, other: BudgetLeft | null): BudgetLeft | null {
	if (one === null || other === null) return one ?? other;
	const less = (a: number | null, b: number | null): number | null => (a === null || b === null ? (a ?? b) : Math.min(a, b));
	return {
		tokens: less(one.tokens, other.tokens),
		timeMs: less(one.timeMs, other.timeMs),
		cost: less(one.cost, other.cost),
		gpuMs: less(one.gpuMs, other.gpuMs),
	};
}
