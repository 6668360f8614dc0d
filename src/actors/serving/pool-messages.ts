/** What a Pool actor hears and says on the control thread, besides `messages.ts`. Types only. */
import type { ActorRef } from '../kernel/ref.ts';
import type { Amounts } from './budget.ts';
import type { DecisionRecord } from './decision-messages.ts';
import type { Asked, Decline } from './declines.ts';
import type { MemoryCommand, MemoryNews } from './memory-messages.ts';
import type {
	DispatcherCommand,
	EngineThreadCommand,
	Lease,
	PlacementNews,
	PlacementPreview,
	PoolView,
	Purging,
	ReplicaNews,
	Settlement,
	TaskSummary,
} from './messages.ts';
import type { PoolControlled, PoolOperation } from './operation-messages.ts';
import type { PoolSnapshot } from './placement.ts';
import type { PoolSpec } from './pool-spec.ts';
import type { QueueMark } from './queue.ts';
import type { LastReplica, SessionTerms } from './session-messages.ts';

/** Main, by way of the control thread's role → Dispatcher: the configuration was read anew. The pools are to be these, and no others. */
export interface ConfigurePools {
	readonly type: 'configure-pools';
	readonly pools: readonly PoolSpec[];
	readonly pinning: boolean;
}

/** Control role → Dispatcher: models that no pool may serve any more, as pools call them, and what else models are called; all of it, each time. */
export interface RetireModels {
	readonly type: 'retire-models';
	readonly models: readonly string[];
	/** Those of which nobody can say that they are what they should be. */
	readonly untrusted: readonly string[];
	/** Name, then model. */
	readonly names: readonly (readonly [name: string, model: string])[];
	/** How long tasks may still run where one of them has just come. */
	readonly deadlineMs: number;
}

/** Dispatcher → Pool: a task's own messages, once it is decided whose they are. */
export type PoolCommand =
	| {
			readonly type: 'enqueue';
			readonly summary: TaskSummary;
			/**
			 * Null: it is new. Else it has its 202, and is refused by nobody: `moved` from the pool that it names, where it goes back
			 * to when there is no room; `stays`: no other pool could take it.
			 */
			readonly terms: SessionTerms;
			readonly origin: { readonly kind: 'moved'; readonly from: string } | { readonly kind: 'stays' } | null;
			readonly asked: Asked;
			readonly replyTo: ActorRef<PlacementNews>;
	  }
	/** What the configuration says of it now: the same pool and engine. */
	| { readonly type: 'configure'; readonly spec: PoolSpec }
	/** It is configured no more: others may have what waits, and what nobody else can serve is served here still. */
	| { readonly type: 'retire' }
	/** It is configured again, before it came to its end. */
	| { readonly type: 'unretire' }
	/** It has no task, and none is on its way: its replicas end, and it with them. */
	| { readonly type: 'end' }
	| { readonly type: 'drain'; readonly deadlineAt: number }
	| { readonly type: 'undrain' }
	| {
			readonly type: 'register';
			readonly operation: Extract<PoolOperation, { kind: 'register' }>;
			readonly replyTo: ActorRef<PoolControlled>;
	  }
	| { readonly type: 'purge'; readonly operation: Extract<PoolOperation, { kind: 'purge' }>; readonly replyTo: ActorRef<PoolControlled> }
	/** A control thread before this one had begun it. */
	| { readonly type: 'resume-purge'; readonly purging: Purging }
	| { readonly type: 'reload'; readonly model: string; readonly replyTo: ActorRef<PoolControlled> }
	| {
			readonly type: 'foresee';
			readonly summary: TaskSummary;
			readonly decision: DecisionRecord;
			readonly declines: readonly Decline[];
			readonly replyTo: ActorRef<PlacementPreview>;
	  }
	| { readonly type: 'withdraw'; readonly poolId: string; readonly taskId: string; readonly reason: string }
	| { readonly type: 'settle'; readonly lease: Lease; readonly settlement: Settlement; readonly correlationId?: string }
	| Extract<DispatcherCommand, { type: 'tokens-served' }>
	| {
			readonly type: 'report-lease';
			readonly lease: Lease;
			readonly summary: TaskSummary;
			readonly terms: SessionTerms;
			readonly replyTo: ActorRef<PlacementNews>;
	  }
	/** An engine thread is there: the replicas that are at home on it are started there. */
	| { readonly type: 'use-engine'; readonly engineId: string; readonly replyTo: ActorRef<EngineThreadCommand> }
	/** Every front has reported what it holds: slots may be granted. */
	| { readonly type: 'open-grants' }
	/** Memory is shared out from now on. */
	| { readonly type: 'use-keeper'; readonly replyTo: ActorRef<MemoryCommand> }
	| { readonly type: 'load' | 'unload'; readonly replyTo: ActorRef<PoolControlled> };

/** Pool → itself. */
export type PoolTick =
	| { readonly type: 'publish-due' }
	| { readonly type: 'gauges-due' }
	| { readonly type: 'standings-due'; readonly from: QueueMark | null }
	| { readonly type: 'audit-due'; readonly replicaId: string }
	/** The breaker of a replica has been open long enough. */
	| { readonly type: 'breaker-due'; readonly replicaId: string }
	| { readonly type: 'ledger-due' }
	/** Somebody could not be told for want of room. */
	| { readonly type: 'tell-again-due' }
	| { readonly type: 'start-replicas-due' }
	/** Of its model in memory something is due, or to be asked again. */
	| { readonly type: 'residency-due' }
	/** Nobody has said yet what a model is that the pool is to be reloaded with. */
	| { readonly type: 'verify-due' }
	| { readonly type: 'offer-due' | 'drain-over' };

export type PoolMessage = PoolCommand | ReplicaNews | MemoryNews | PoolTick;

/** Pool → Dispatcher, after every turn that changed something. */
export type PoolNews =
	/** `received`: tasks that were sent to it, all in all. `lastLeaseId`: no lease by the same name and id may be granted again. */
	| {
			readonly type: 'pool-changed';
			readonly snapshot: PoolSnapshot;
			readonly view: PoolView;
			readonly received: number;
			readonly lastLeaseId: number;
	  }
	/** A task of a session is over, or out of this pool's hands. `refused`: it never had its 202 of us. */
	| {
			readonly type: 'session-task-over';
			readonly sessionId: string;
			readonly lease: number;
			/** Null: all that it had reserved. */
			readonly used: Amounts | null;
			readonly refused: boolean;
	  }
	/** It has left its slot for another. */
	| { readonly type: 'session-task-between'; readonly sessionId: string; readonly lease: number; readonly used: Amounts }
	| { readonly type: 'session-task-runs'; readonly sessionId: string; readonly at: LastReplica }
	/** A new task, that the last of `declines` cannot take as it stands. */
	| {
			readonly type: 'declined';
			readonly summary: TaskSummary;
			readonly terms: SessionTerms;
			readonly declines: readonly Decline[];
			readonly replyTo: ActorRef<PlacementNews>;
	  }
	/** So it would be with this one. */
	| {
			readonly type: 'would-decline';
			readonly summary: TaskSummary;
			readonly declines: readonly Decline[];
			readonly replyTo: ActorRef<PlacementPreview>;
	  }
	/**
	 * A waiting task that `poolId` cannot serve now, out of its queue: to another pool, else back. `not`: one that had no room.
	 */
	| {
			readonly type: 'displaced';
			readonly poolId: string;
			readonly summary: TaskSummary;
			readonly terms: SessionTerms;
			readonly not: string | null;
			readonly replyTo: ActorRef<PlacementNews>;
	  };
