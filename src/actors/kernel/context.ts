/**
 * What an actor holds and may do: its timers, asks and watches, and the way to its children. One per actor, for all its
 * restarts; `release` lets go of everything at once. Used by the behaviour, in the actor's own turn only.
 */
import { type Address, addressOf, type Watcher } from './address.ts';
import { type AskOwner, AskSlot } from './ask.ts';
import type { ActorContext, Setup, SpawnOptions, StopReason } from './behavior.ts';
import type { ActorRef, AskOutcome } from './ref.ts';
import { RefMap } from './ref-map.ts';
import type { Reserved } from './reserved.ts';
import type { SystemCore } from './system-core.ts';
import type { Telemetry } from './telemetry.ts';
import { type TimerOwner, Timers } from './timers.ts';

/** The cell, as its context sees it. */
export interface ContextOwner<M> {
	readonly ref: ActorRef<M>;
	readonly path: string;
	/** Queues what the actor asked for itself, whatever the inbox holds. */
	arrived(item: Reserved<M>): void;
	watchedEnded(address: Address<never>, reason: StopReason): void;
	spawn<N>(name: string, setup: Setup<N>, options: SpawnOptions): ActorRef<N>;
	stopChild(child: ActorRef<never>): void;
	drainChild(child: ActorRef<never>): void;
}

export class CellContext<M> implements ActorContext<M>, AskOwner<M>, TimerOwner<M>, Watcher {
	readonly self: ActorRef<M>;
	readonly path: string;
	readonly #core: SystemCore;
	readonly #owner: ContextOwner<M>;
	#timers: Timers<M> | null = null;
	#asks: Set<AskSlot<never, M>> | null = null;
	#watching: RefMap<true> | null = null;
	#ended = false;

	constructor(core: SystemCore, owner: ContextOwner<M>) {
		this.#core = core;
		this.#owner = owner;
		this.self = owner.ref;
		this.path = owner.path;
	}

	get telemetry(): Telemetry {
		return this.#core.host.telemetry;
	}

	now(): number {
		return this.#core.host.now();
	}

	coarseNow(): number {
		return this.#core.scheduler.lookedAt;
	}

	random(): number {
		return this.#core.host.random();
	}

	spawn<N>(name: string, setup: Setup<N>, options: SpawnOptions = {}): ActorRef<N> {
		return this.#owner.spawn(name, setup, options);
	}

	stop(child: ActorRef<never>): void {
		this.#owner.stopChild(child);
	}

	drain(child: ActorRef<never>): void {
		this.#owner.drainChild(child);
	}

	watch(ref: ActorRef<never>): void {
		this.#assertAlive('watch');
		const address = addressOf(ref);
		this.#watching ??= new RefMap();
		if (this.#watching.has(address)) return;
		this.#watching.set(address, true);
		address.addWatcher(this);
	}

	unwatch(ref: ActorRef<never>): void {
		const address = addressOf(ref);
		if (this.#watching?.delete(address)) address.removeWatcher(this);
	}

	setTimer(key: string, delayMs: number, message: M): void {
		this.#assertAlive('set a timer');
		this.#timers ??= new Timers(this.#core, this);
		this.#timers.set(key, delayMs, message);
	}

	cancelTimer(key: string): void {
		this.#timers?.cancel(key);
	}

	ask<Q, R>(target: ActorRef<Q>, timeoutMs: number, build: (replyTo: ActorRef<R>) => Q, toMessage: (outcome: AskOutcome<R>) => M): void {
		this.#assertAlive('ask');
		const slot = new AskSlot<R, M>(this.#core, this, toMessage);
		const question = build(slot);
		this.#asks ??= new Set();
		this.#asks.add(slot);
		slot.begin(target, question, timeoutMs);
	}

	// --- by the kernel --------------------------------------------------------------------------------------------

	/** Asks whose outcome the actor has not read. */
	get asks(): number {
		return this.#asks?.size ?? 0;
	}

	arrived(item: Reserved<M>): void {
		this.#owner.arrived(item);
	}

	takeAsk(slot: AskSlot<never, M>): boolean {
		return this.#asks?.delete(slot) ?? false;
	}

	watchedEnded(address: Address<never>, reason: StopReason): void {
		this.#owner.watchedEnded(address, reason);
	}

	/** Whether the end of this address is still to be told; it is used up by asking. */
	takeWatch(address: Address<never>): boolean {
		return this.#watching?.delete(address) ?? false;
	}

	/** Lets go of every timer, ask and watch: none of them is heard of again. */
	release(): void {
		this.#timers?.cancelAll();
		if (this.#asks !== null) for (const ask of this.#asks) ask.abandon();
		if (this.#watching !== null) for (const address of this.#watching.keys()) address.removeWatcher(this);
		this.#timers = null;
		this.#asks = null;
		this.#watching = null;
	}

	/** The actor has ended: whoever kept its context outside of its turn is told so. */
	end(): void {
		this.release();
		this.#ended = true;
	}

	#assertAlive(what: string): void {
		if (this.#ended) throw new Error(`${this.path} has ended: it cannot ${what}; a context is for use in its own turn`);
	}
}
