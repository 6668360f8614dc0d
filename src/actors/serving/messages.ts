/**
 * The messages of the serving actors, and nothing else: what crosses between a Task (front thread), the Dispatcher and
 * its Pools (control thread) and the Replicas (engine threads). All of it is small, constant-size and survives
 * structured clone; a ref crosses only in the top-level field `replyTo`. Never a prompt, never a token.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { OpenBreaker } from './circuit-breaker.ts';
import type { DecisionRecord, PlacementExplained } from './decision-messages.ts';
import type { EngineKind, Failure } from './failure.ts';
import type { KnownTask, TaskClaim, TaskClaimed } from './home-messages.ts';
import type { MeasuredMemory, MemoryTold } from './memory-messages.ts';
import type { PoolControlled, PoolOperation } from './operation-messages.ts';
import type { BudgetLeft, HeldOfSession, ReportSessions, SessionsChanged, UseSession } from './session-messages.ts';
import type { Placement, PriorityClass, Workload } from './task-request.ts';
import type { ModelFetch, WarmUpTold } from './warm-up-messages.ts';

/** The right to one slot (or, `exclusive`, to all slots) of a replica. Fenced by the control thread's epoch. */
export interface Lease {
	readonly epoch: number;
	readonly id: number;
	readonly poolId: string;
	readonly replicaId: string;
	readonly exclusive: boolean;
	/** Of the replica, for an engine that lets its client name one; absent: the engine chooses. */
	readonly slot?: number;
}

/** What a running replica is, as it told at readiness. */
export interface ReplicaFacts {
	readonly replicaId: string;
	readonly poolId: string;
	readonly engine: EngineKind;
	readonly engineVersion: string;
	/** `sha256:<hex>` of the file we load; null for external engines. */
	readonly modelDigest: string | null;
	readonly modelName: string;
	/** Opaque to actors: the decode port knows how to reach it. */
	readonly address: string;
	readonly slots: number;
	/** Tokens a slot holds, prompt and output together. */
	readonly ctx: number;
	readonly workloads: readonly Workload[];
	readonly samplerProfileVersion: string;
	/** Null when the model has no chat template; else upper bounds of the bytes it adds. */
	readonly chatTemplate: { readonly baseBytes: number; readonly perMessageBytes: number } | null;
	/** Human words: `CPU (1 thread)`, `GPU 0`. */
	readonly device: string;
	/** Of the KV cache; absent: the engine does not tell. */
	readonly kvBytesPerToken?: number;
	/** That it takes, measured once it was ready; absent: nobody has. */
	readonly memory?: MeasuredMemory;
	/** It says how full its KV cache is, so nobody has to count. */
	readonly tellsKvUsage?: true;
	/** Features that a request may need: `grammar`, `json_schema`, `logprobs`, `embedding`, … */
	readonly features: readonly string[];
}

/** The fixed-size account of a task that crosses to the control thread. */
export interface TaskSummary {
	readonly taskId: string;
	readonly sessionId: string | null;
	readonly correlationId: string;
	readonly workload: Workload;
	readonly modelRef: string;
	readonly engine: EngineKind | null;
	readonly priority: PriorityClass;
	readonly tenant: string;
	/** Exact when the tokenizer was asked, else null and `promptBytes` bounds it. */
	readonly promptTokens: number | null;
	readonly promptBytes: number;
	readonly ctx: number | null;
	readonly maxTokens: number | null;
	readonly expectedTokens: number | null;
	/** Absolute, on `Host.now`. */
	readonly deadlineAt: number | null;
	/** When the front admitted it, on `Host.now`: a requeued task keeps its place. */
	readonly admittedAt: number;
	readonly strict: boolean;
	readonly samplerProfileVersion: string | null;
	/** What the engine must be able to do, by names of `ReplicaFacts.features`. */
	readonly needs: readonly string[];
	readonly placement: Placement;
	/** Hashes of how its prompt begins, the longest beginning first (`prefix.ts`). */
	readonly prefixes: readonly number[];
	/** Bytes the task holds on its front while it waits: bounded per pool by `queue.bytes_max`. */
	readonly queuedBytes: number;
	/** Of its session, when it was admitted; null: nothing, or it was not. */
	readonly held: HeldOfSession | null;
	/** Its front has asked a tokenizer, whatever came of it. */
	readonly counted: boolean;
	/** It has its 202 of a daemon or a thread that is gone: no full queue and no prediction refuses it now. */
	readonly recalled: boolean;
	/** Nothing in the request forbids that it leaves its slot and goes on in another. */
	readonly movable: boolean;
	/** What it has left and goes on with; null: it begins. */
	readonly resume: LeftBehind | null;
}

/** Where a task that goes on was, and what it needs to go on: the same model. */
export interface LeftBehind {
	readonly poolId: string;
	/** Null: the engine has no file of its own; then `modelName` says which model it is. */
	readonly modelDigest: string | null;
	readonly modelName: string;
	/** That its watchers have. */
	readonly tokens: number;
}

/** Where a waiting task stands. */
export interface QueueStanding {
	/** Tasks that will start before it. */
	readonly position: number;
	/** When this was so, on `Host.now`: what follows counts from then. */
	readonly at: number;
	/** Milliseconds from then: as likely sooner as later, as far as it can be known. */
	readonly predictedStartMs: number;
	readonly predictedEndMs: number;
	/** The same, not exceeded by nine of ten. */
	readonly predictedStartP90Ms: number;
	readonly predictedEndP90Ms: number;
	readonly estimated: 'prior' | 'measured';
	readonly queueDepth: number;
	/** Of a pool that can give no slot before an engine has loaded: these times count that in. Null: it can, once it is the task's turn. */
	readonly warmUp: WarmUpTold | null;
}

/** Task, or the front's `tasks` actor → Dispatcher. */
export type DispatcherCommand =
	| ReportSessions
	/** The first message of a front to each new dispatcher. Answered by `pools-changed`, now and at every change. */
	| {
			readonly type: 'front-joined';
			readonly frontId: string;
			/** Pools that were being drained when the last dispatcher told of them. */
			readonly draining: readonly { readonly poolId: string; readonly deadlineAt: number }[];
			/** And those that were being purged; absent: none was. */
			readonly purging?: readonly ({ readonly poolId: string } & Purging)[];
			readonly replyTo: ActorRef<FrontCommand>;
	  }
	/** Every task of the front has submitted again or reported its lease: nothing older will come from it. */
	| { readonly type: 'front-reported'; readonly frontId: string }
	/** An engine thread is there to run replicas. Its end is heard by death watch. */
	| { readonly type: 'engine-joined'; readonly engineId: string; readonly replyTo: ActorRef<EngineThreadCommand> }
	/** `again`: the task has its 202, and waits where it cannot be served now. */
	| {
			readonly type: 'submit';
			readonly summary: TaskSummary;
			readonly claim: TaskClaim;
			readonly again: boolean;
			readonly replyTo: ActorRef<PlacementNews>;
	  }
	/** Dry run of `submit`: answers what would happen, enqueues nothing. */
	| { readonly type: 'preview'; readonly summary: TaskSummary; readonly replyTo: ActorRef<PlacementPreview> }
	/** From an operator. */
	| {
			readonly type: 'control-pool';
			readonly poolId: string;
			readonly operation: PoolOperation;
			readonly correlationId: string;
			readonly replyTo: ActorRef<PoolControlled>;
	  }
	| UseSession
	/** What was decided of a task, when it was placed last. */
	| { readonly type: 'explain'; readonly taskId: string; readonly replyTo: ActorRef<PlacementExplained> }
	/**
	 * The task ended while queued. Idempotent. Answered, to the `replyTo` of its `submit`, by `withdrawn` when it was still
	 * in the queue; else the grant or refusal that is already on its way is the answer, and the task settles the grant as
	 * `unused`.
	 */
	| { readonly type: 'withdraw'; readonly poolId: string; readonly taskId: string; readonly reason: string }
	/** Ends a lease, exactly once. `slot: 'unknown'` quarantines it until the engine shows it idle. */
	| { readonly type: 'settle'; readonly lease: Lease; readonly settlement: Settlement; readonly correlationId?: string }
	/** Tokens that running tasks of a pool have been served on their leases so far: `epoch`, `id` and tokens of each, one behind the other. */
	| { readonly type: 'tokens-served'; readonly poolId: string; readonly served: readonly number[] }
	/** After a control restart: what a front's task still holds. */
	| {
			readonly type: 'report-lease';
			readonly lease: Lease;
			readonly summary: TaskSummary;
			readonly claim: TaskClaim;
			readonly replyTo: ActorRef<PlacementNews>;
	  }
	/** After a control restart, before `front-reported`: tasks of the front that have ended. */
	| { readonly type: 'report-tasks'; readonly frontId: string; readonly tasks: readonly KnownTask[] }
	/** Of `expired` the front knows the ids only, of `forgotten` nothing any more. */
	| {
			readonly type: 'tasks-forgotten';
			readonly frontId: string;
			readonly expired: readonly string[];
			readonly forgotten: readonly string[];
	  }
	/** Put-if-absent, by id and by key, before a task that its client named is opened. */
	| { readonly type: 'claim-task'; readonly frontId: string; readonly task: KnownTask; readonly replyTo: ActorRef<TaskClaimed> };

/** What a purge has yet to do. */
export interface Purging {
	/** Those that have not started anew. */
	readonly replicas: readonly string[];
	readonly force: boolean;
	readonly emptyCaches: boolean;
}

export interface Settlement {
	/** `moved`: it goes on in another slot; the numbers are of this one. `unused`: it never had an answer in it. */
	readonly outcome: 'completed' | 'canceled' | 'failed' | 'unused' | 'moved';
	readonly slot: 'free' | 'unknown';
	readonly tokensIn: number;
	readonly tokensOut: number;
	readonly prefillMs: number;
	readonly decodeMs: number;
	readonly reason: string;
}

/** Dispatcher or Pool → Task. */
export type PlacementNews =
	| {
			readonly type: 'queued';
			readonly poolId: string;
			readonly engine: EngineKind;
			readonly standing: QueueStanding;
			readonly onTimeProbability: number | null;
			/** Of its session, when the task was admitted; null: no budget is set. */
			readonly budget: BudgetLeft | null;
			readonly held: HeldOfSession | null;
	  }
	/** Its session has a token budget: the prompt is to be counted, and the task submitted again. */
	| { readonly type: 'count-first' }
	| { readonly type: 'standing-changed'; readonly standing: QueueStanding; readonly onTimeProbability: number | null }
	| {
			readonly type: 'granted';
			readonly lease: Lease;
			readonly replica: ReplicaFacts;
			readonly ctx: number;
			readonly maxTokensOut: number;
			/** `pools.migration`: the task may go on elsewhere when it loses this slot. */
			readonly migration: boolean;
			readonly timeouts: WatchdogTimeouts;
			readonly standing: QueueStanding;
	  }
	/**
	 * Refused before it was queued, or dropped from the queue to make room: the code tells which. Refusals are counted
	 * (`tasks_rejected_total`) by the front, which has more of them; drops by the pool.
	 */
	| { readonly type: 'refused'; readonly failure: Failure }
	/** Answer to `withdraw`: the task is out of the queue and no grant will come. */
	| { readonly type: 'withdrawn' }
	/** The replica of the task's lease is gone: stop waiting for tokens. */
	| { readonly type: 'replica-lost'; readonly lease: Lease; readonly failure: Failure }
	/**
	 * Give the slot back and go on in another, behind the tokens so far: `preempted` where that is possible, `drained` in any case,
	 * with `WORKER_RESET` where it is not. Answered by a settlement.
	 */
	| { readonly type: 'leave-slot'; readonly lease: Lease; readonly reason: 'preempted' | 'drained' };

export interface WatchdogTimeouts {
	readonly firstTokenMs: number;
	readonly idleMs: number;
	readonly wallMs: number;
}

export type PlacementPreview =
	| {
			readonly type: 'would-queue';
			readonly poolId: string;
			readonly engine: EngineKind;
			readonly standing: QueueStanding;
			readonly onTimeProbability: number | null;
			readonly decision: DecisionRecord;
	  }
	| { readonly type: 'would-refuse'; readonly failure: Failure; readonly decision: DecisionRecord };

/** Dispatcher → the engine thread's guardian. A replica that runs already is attached to: it reports anew. */
export type EngineThreadCommand =
	| { readonly type: 'start-replica'; readonly replica: ReplicaSpec; readonly replyTo: ActorRef<ReplicaNews> }
	/** Replicas of other pools end: a control thread before this one had them, and they are configured no more. */
	| { readonly type: 'keep-pools'; readonly poolIds: readonly string[] }
	/** Replicas of the pool but these, which a control thread before this one had started, are attached to. Answered by `replicas-attached`. */
	| {
			readonly type: 'attach-surplus';
			/** The thread that is asked. */
			readonly home: string;
			readonly poolId: string;
			readonly wanted: readonly string[];
			readonly replyTo: ActorRef<ReplicaNews>;
	  }
	/** What does an engine with these settings take? Answered by `memory-told`; `memory-fetching` comes before, while its model does. */
	| {
			readonly type: 'ask-memory';
			readonly poolId: string;
			readonly engine: EngineKind;
			readonly settings: unknown;
			readonly model: string;
			readonly replyTo: ActorRef<ReplicaNews>;
	  }
	/** May a pool with these settings run that model? Answered by `model-verified` or `model-refused`. */
	| {
			readonly type: 'verify-model';
			readonly poolId: string;
			readonly engine: EngineKind;
			readonly settings: unknown;
			readonly model: string;
			readonly replyTo: ActorRef<ReplicaNews>;
	  };

/** What the engine thread needs to run a replica. */
export interface ReplicaSpec {
	readonly replicaId: string;
	readonly poolId: string;
	readonly engine: EngineKind;
	/** The model, as a `model_ref` names it. */
	readonly model: string;
	/** The pool's part of the configuration, as validated. */
	readonly settings: unknown;
	/** It has registered itself, and says where it is and how much it takes; absent: it is one of the configuration. */
	readonly worker?: Worker;
}

/** An engine that somebody else runs and that has registered itself. */
export interface Worker {
	/** `http://…` or `https://…`. */
	readonly url: string;
	readonly slots: number;
}

/** Pool → Replica. */
export type ReplicaCommand =
	| { readonly type: 'stop' }
	/** For the next control thread: its breaker is open; null: it is not any more. */
	| { readonly type: 'keep-breaker'; readonly breaker: OpenBreaker | null }
	/** Ends its engine and starts it anew with another model, or the same; with `emptyCaches` without what it had cached on the disk. */
	| { readonly type: 'change-model'; readonly model: string; readonly settings: unknown; readonly emptyCaches: boolean }
	/** What does the engine still work on? Answered by `audited`. Leases in `revoked` (keys) nobody holds: nothing is done for them, now or later. */
	| { readonly type: 'audit'; readonly revoked: readonly string[] };

export type ReplicaState = 'starting' | 'ready' | 'failed' | 'stopped';

/** Replica → Pool. The first message of a replica carries its ref. */
export type ReplicaNews =
	/** It is starting its engine, for the first time or again. */
	| {
			readonly type: 'replica-started';
			readonly replicaId: string;
			readonly model: string;
			readonly settings: unknown;
			readonly breaker: OpenBreaker | null;
			/** What it was told to empty is empty, or why not; null: it was told nothing of the kind since its last start. */
			readonly caches: 'empty' | { readonly problem: string } | null;
			/** On `Host.now`. */
			readonly startedAt: number;
			/** How long its engine took to load that model the last time; null: it never has. */
			readonly lastLoadMs: number | null;
			readonly replyTo: ActorRef<ReplicaCommand>;
	  }
	| { readonly type: 'model-verified'; readonly model: string; readonly settings: unknown }
	| { readonly type: 'model-refused'; readonly model: string; readonly failure: Failure }
	/** Its model comes first; null: it is here, and its engine starts now. `startedAt`: of the engine, on `Host.now`. */
	| { readonly type: 'replica-fetching'; readonly replicaId: string; readonly fetch: ModelFetch | null; readonly startedAt: number }
	| { readonly type: 'memory-told'; readonly model: string; readonly memory: MemoryTold }
	| { readonly type: 'memory-fetching'; readonly model: string; readonly fetch: ModelFetch }
	/** Of one engine thread: each will tell of itself. */
	| { readonly type: 'replicas-attached'; readonly home: string; readonly replicaIds: readonly string[] }
	/** `loadMs`: from the start of this engine. */
	| { readonly type: 'replica-ready'; readonly replicaId: string; readonly facts: ReplicaFacts; readonly loadMs: number }
	/** The engine is gone. The Replica restarts it by itself after `retryInMs`; null: never again. */
	| {
			readonly type: 'replica-failed';
			readonly replicaId: string;
			readonly failure: Failure;
			readonly retryInMs: number | null;
			/** Whether it has ever been ready, and how often it has failed since, or since its start. */
			readonly served: boolean;
			readonly failuresInRow: number;
	  }
	| { readonly type: 'audited'; readonly replicaId: string; readonly busyLeases: readonly string[] }
	| { readonly type: 'replica-memory'; readonly replicaId: string; readonly vramFreeBytes: number | null }
	| { readonly type: 'replica-stopped'; readonly replicaId: string };

/** What the fronts know of the pools: broadcast by the Dispatcher at every change. */
/** What a task of a pool may come to, and what is charged for it. */
export interface PoolCharges {
	/** `timeouts.wall_ms`. */
	readonly wallMs: number;
	readonly perTokenIn: number;
	readonly perTokenOut: number;
	/** Devices that it keeps busy. */
	readonly gpus: number;
}

export interface PoolView {
	readonly poolId: string;
	readonly engine: EngineKind;
	readonly provider: 'embedded' | 'managed' | 'external';
	readonly model: string;
	readonly aliases: readonly string[];
	/** What the catalog calls its model. */
	readonly names: readonly string[];
	readonly ctx: number;
	readonly maxTokensOut: number;
	readonly charges: PoolCharges;
	readonly slotsTotal: number;
	readonly slotsFree: number;
	readonly queueDepth: Readonly<Record<PriorityClass, number>>;
	/** `unloaded`: its model is loaded when a task comes; `unloading`: it is given back, behind the last task. */
	readonly state: 'unloaded' | 'starting' | 'ready' | 'unloading' | 'failed';
	readonly residency: 'always' | 'on_demand';
	/** When an engine that loads now will have, on `Host.now`, as past loads were; null: one is ready, or nobody knows. */
	readonly readyAt: number | null;
	/** Until when its tasks may run, on `Host.now`; null: it is not being drained. */
	readonly drainingUntil: number | null;
	/** It is configured no more: it takes nothing new, and ends with its last task. */
	readonly retiring: boolean;
	/** Of a pool that waits for its model; null: it does not. */
	readonly fetch: ModelFetch | null;
	/** The model that it is being reloaded with; null: it is not. */
	readonly reloadingTo: string | null;
	/** The purge that is under way; null: none is. */
	readonly purging: Purging | null;
	readonly lastError: string | null;
	readonly replicas: readonly {
		readonly replicaId: string;
		readonly state: ReplicaState;
		readonly facts: ReplicaFacts | null;
		/** `open`: its tasks fail, and it is given none for a while; `half-open`: one at a time, to see. */
		readonly breaker: 'closed' | 'open' | 'half-open';
		readonly lastError: string | null;
	}[];
}

/** Dispatcher → the guardian of each front. */
export type FrontCommand =
	| SessionsChanged
	| { readonly type: 'pools-changed'; readonly epoch: number; readonly pools: readonly PoolView[] };
