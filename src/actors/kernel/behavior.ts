/**
 * What an actor is: a synchronous function of (context, message) that returns what to be next. Types only; the
 * interpreter is `system.ts`. A behaviour never awaits: what it checked on entry holds on exit. Asynchronous work lives
 * at the edges and comes back as a message.
 */
import type { ActorRef, AskOutcome } from './ref.ts';
import type { SupervisionSpec } from './supervision.ts';
import type { Telemetry } from './telemetry.ts';

/** What an actor becomes after a message: itself, another behaviour of the same protocol, or nothing. */
export type Next<M> = Behavior<M> | 'same' | 'stopped';

export interface Behavior<in out M> {
	onMessage(ctx: ActorContext<M>, message: M): Next<M>;
	/** Lifecycle news: read before any waiting message, never refused by a full mailbox. Default: `same`. */
	onSignal?(ctx: ActorContext<M>, signal: Signal): Next<M>;
	/** What must hold between any two messages: null, or in words what does not. Asked where the host wants to know (`Host.check`). */
	invariant?(): string | null;
}

/** Builds the first behaviour inside the new actor; runs again, afresh, when the supervisor restarts it. */
export type Setup<M> = (ctx: ActorContext<M>) => Behavior<M>;

/** Why an actor ended. `failed` carries the message of the bug; `lost` means its thread or link is gone. */
export type StopReason = { readonly kind: 'stopped' } | { readonly kind: 'failed'; readonly message: string } | { readonly kind: 'lost' };

export type Signal =
	/** A watched actor has ended. Exactly one per `watch`, also when it had ended before the call. */
	| { readonly type: 'terminated'; readonly ref: ActorRef<never>; readonly reason: StopReason }
	/** A child threw; the supervisor's decision has already been taken. */
	| {
			readonly type: 'child-failed';
			readonly ref: ActorRef<never>;
			readonly name: string;
			readonly message: string;
			readonly decision: 'restart' | 'stop';
	  }
	/**
	 * Asked to drain: refuse new work, finish the old, then return `stopped`. A behaviour without `onSignal` is closed to
	 * new messages and ends when it has read the waiting ones and the outcomes of its asks.
	 */
	| { readonly type: 'drain' }
	/** Last call before the cell is gone, its children before it; also before a restart. Release what is held; tells still leave. */
	| { readonly type: 'post-stop'; readonly reason: StopReason };

export interface SpawnOptions {
	/** Messages that may wait; above it `tell` answers `full`. Timers and outcomes of asks always find room. Default 1 024. */
	readonly mailboxMax?: number;
	/** What follows a bug. Default: the actor ends and its watchers are told. A restart keeps the ref and what waits in the mailbox. */
	readonly supervision?: SupervisionSpec;
	/** One of many that come and go: metrics name all of them by this instead of their names. */
	readonly kind?: string;
	/** Fields of every line that the kernel itself logs of this actor: whose work it does. */
	readonly about?: Readonly<Record<string, string>>;
}

/** For use inside the actor's own turn only: code that runs elsewhere keeps `self` and tells it. */
export interface ActorContext<in out M> {
	readonly self: ActorRef<M>;
	/** Path from the root, `/pools/default`: for logs. */
	readonly path: string;
	readonly telemetry: Telemetry;
	/** Milliseconds on a monotonic clock shared by all threads of the process. */
	now(): number;
	/** The same as of a few messages ago in this turn: for what is done at each message, a look at the clock costs too much. */
	coarseNow(): number;
	/** A number in [0, 1): seeded under simulation. */
	random(): number;

	/** A child. Its name is taken until it has ended, that is until `terminated` can be heard; taken twice is a bug. */
	spawn<N>(name: string, setup: Setup<N>, options?: SpawnOptions): ActorRef<N>;
	/** Stops a child after its current turn, its children first: what waits in its mailbox becomes dead letters. */
	stop(child: ActorRef<never>): void;
	/** Sends a child the `drain` signal; after `shutdownMs` of its supervision it is stopped. */
	drain(child: ActorRef<never>): void;
	/** One `terminated` follows, whatever `ref` is and whenever it ends or ended. Watching twice is watching once. */
	watch(ref: ActorRef<never>): void;
	/** No `terminated` of it follows, not even one that is under way. */
	unwatch(ref: ActorRef<never>): void;

	/**
	 * One timer a key: setting it again replaces the old one, whose message can no longer arrive. The message waits its turn
	 * in the inbox like a told one, never refused, never before its time. A restart cancels all timers.
	 */
	setTimer(key: string, delayMs: number, message: M): void;
	cancelTimer(key: string): void;

	/**
	 * tell + reply slot + timer. `build` gets the ref to answer to (put it in `replyTo`); the outcome arrives as a message of
	 * this actor, exactly once, also when the target is full, closed or dies, in the order of its coming and never refused.
	 * Only a restart or the end of this actor forgets it.
	 */
	ask<Q, R>(target: ActorRef<Q>, timeoutMs: number, build: (replyTo: ActorRef<R>) => Q, toMessage: (outcome: AskOutcome<R>) => M): void;
}
