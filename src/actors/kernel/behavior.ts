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
	/** Asked to drain: refuse new work, finish the old, then return `stopped`. */
	| { readonly type: 'drain' }
	/** Last call before the cell is gone; also before a restart. Release what is held; tells still leave. */
	| { readonly type: 'post-stop'; readonly reason: StopReason };

export interface SpawnOptions {
	/** Messages that may wait; above it `tell` answers `full`. Default 1 024. */
	readonly mailboxMax?: number;
	/** Default: stop on a bug and tell the watchers. */
	readonly supervision?: SupervisionSpec;
}

export interface ActorContext<in out M> {
	readonly self: ActorRef<M>;
	/** Path from the root, `/pools/default`: for logs and `mailbox_depth{actor}`. */
	readonly path: string;
	readonly telemetry: Telemetry;
	/** Milliseconds on a monotonic clock shared by all threads of the process. */
	now(): number;
	/** A number in [0, 1): seeded under simulation. */
	random(): number;

	spawn<N>(name: string, setup: Setup<N>, options?: SpawnOptions): ActorRef<N>;
	/** Stops a child after its current turn: what waits in its mailbox becomes dead letters. */
	stop(child: ActorRef<never>): void;
	/** Sends a child the `drain` signal. */
	drain(child: ActorRef<never>): void;
	watch(ref: ActorRef<never>): void;
	unwatch(ref: ActorRef<never>): void;

	/** One timer a key: setting it again replaces the old one, whose message can no longer arrive. */
	setTimer(key: string, delayMs: number, message: M): void;
	cancelTimer(key: string): void;

	/**
	 * tell + reply slot + timer. `build` gets the ref to answer to; the outcome arrives as a message of this actor,
	 * exactly once, also when the target is full, closed or dies.
	 */
	ask<Q, R>(target: ActorRef<Q>, timeoutMs: number, build: (replyTo: ActorRef<R>) => Q, toMessage: (outcome: AskOutcome<R>) => M): void;
}
