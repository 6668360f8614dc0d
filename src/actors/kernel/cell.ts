/**
 * One actor, alive: its inbox, its lifecycle lane, its children, timers, watches and asks. Runs only inside a turn of its
 * system's scheduler, never re-entered: `tell` queues, always. Nothing outside the kernel sees a cell.
 *
 * ```
 *  starting ──► running ──(bug, supervisor: restart)──► restarting ──(delay over, children gone)──► running
 *      │           │                                        │
 *      └───────────┴──────────(stop, or a bug)──────────────┴──► stopping ──(children gone)──► ended
 * ```
 * The lifecycle lane (signals, timers, answers to asks) is read before the inbox and has no bound of its own: what is in it
 * is bounded by what the actor itself asked for.
 */
import { Address, addressOf, type Watcher, Watchers } from './address.ts';
import { AskSlot } from './ask.ts';
import type { ActorContext, Behavior, Next, Setup, Signal, SpawnOptions, StopReason } from './behavior.ts';
import type { ActorRef, AskOutcome, Delivery } from './ref.ts';
import { Ring } from './ring.ts';
import type { Runnable } from './scheduler.ts';
import { decideRestart, rememberFailure, type SupervisionSpec, stopOnFailure } from './supervision.ts';
import type { SystemCore } from './system-core.ts';
import type { Telemetry } from './telemetry.ts';
import { Timers } from './timers.ts';

const mailboxDefault = 1024;
const stopped: StopReason = { kind: 'stopped' };

/** What waits in the lifecycle lane. */
type Urgent<M> =
	| { readonly kind: 'start' }
	| { readonly kind: 'stop' }
	| { readonly kind: 'drain'; readonly shutdownMs: number }
	| { readonly kind: 'terminated'; readonly address: Address<never>; readonly reason: StopReason }
	| { readonly kind: 'child-failed'; readonly signal: Signal }
	| { readonly kind: 'timer'; readonly key: string; readonly generation: number; readonly message: M }
	| { readonly kind: 'answer'; readonly message: M };

type CellState = 'starting' | 'running' | 'restarting' | 'stopping' | 'ended';

/** The ref of a local actor. */
export class LocalRef<in M> extends Address<M> {
	readonly #cell: { tell(message: M): Delivery; readonly watchers: Watchers };

	constructor(cell: { tell(message: M): Delivery; readonly watchers: Watchers }) {
		super();
		this.#cell = cell;
	}

	tell(message: M): Delivery {
		return this.#cell.tell(message);
	}

	addWatcher(watcher: Watcher): void {
		this.#cell.watchers.add(watcher, this);
	}

	removeWatcher(watcher: Watcher): void {
		this.#cell.watchers.remove(watcher);
	}
}

/** A cell as its parent and children see it: whatever it understands. */
export interface Relative {
	readonly self: Address<never>;
	readonly path: string;
	readonly inboxLength: number;
	readonly children: Iterable<Relative>;
	requestStop(): void;
	requestDrain(shutdownMs?: number): void;
	childFailed(signal: Signal): void;
	childEnded(name: string): void;
}

export class Cell<M> implements ActorContext<M>, Runnable, Watcher, Relative {
	scheduled = false;
	readonly self: LocalRef<M>;
	readonly path: string;
	readonly watchers = new Watchers();
	readonly #system: SystemCore;
	readonly #parent: Relative | null;
	readonly #name: string;
	readonly #setup: Setup<M>;
	readonly #supervision: SupervisionSpec;
	readonly #inbox: Ring<M>;
	readonly #urgent = new Ring<Urgent<M>>(Number.POSITIVE_INFINITY);
	readonly #children = new Map<string, Relative>();
	readonly #watching = new Set<Address<never>>();
	readonly #asks = new Set<AskSlot<never>>();
	readonly #timers: Timers<M>;
	#state: CellState = 'starting';
	#draining = false;
	#behavior: Behavior<M> | null = null;
	#failures: readonly number[] = [];
	#stopReason: StopReason = stopped;
	#restartDue = false;
	/** Host timers of the cell itself (drain deadline, restart delay), to clear at its next end. */
	readonly #onEnd: (() => void)[] = [];

	constructor(system: SystemCore, parent: Relative | null, name: string, setup: Setup<M>, options: SpawnOptions) {
		this.#system = system;
		this.#parent = parent;
		this.#name = name;
		this.path = parent === null ? `/${name}` : `${parent.path}/${name}`;
		this.#setup = setup;
		this.#supervision = options.supervision ?? stopOnFailure;
		this.#inbox = new Ring(options.mailboxMax ?? mailboxDefault);
		this.#timers = new Timers(system, (key, generation, message) => this.#push({ kind: 'timer', key, generation, message }));
		this.self = new LocalRef(this);
		system.actors += 1;
		this.#push({ kind: 'start' });
	}

	// --- what others do to it -------------------------------------------------------------------------------------

	tell(message: M): Delivery {
		if (this.#state === 'stopping' || this.#state === 'ended' || this.#draining) return 'closed';
		if (!this.#inbox.push(message)) return 'full';
		if (!this.scheduled) this.#system.scheduler.schedule(this);
		return 'accepted';
	}

	requestStop(): void {
		if (this.#state !== 'ended') this.#push({ kind: 'stop' });
	}

	requestDrain(shutdownMs = this.#supervision.shutdownMs): void {
		if (this.#state !== 'ended') this.#push({ kind: 'drain', shutdownMs });
	}

	get inboxLength(): number {
		return this.#inbox.length;
	}

	get children(): Iterable<Relative> {
		return this.#children.values();
	}

	watchedEnded(address: Address<never>, reason: StopReason): void {
		this.#push({ kind: 'terminated', address, reason });
	}

	// --- its turn -------------------------------------------------------------------------------------------------

	get hasWork(): boolean {
		return this.#urgent.length > 0 || (this.#inbox.length > 0 && this.#state === 'running');
	}

	run(max: number): number {
		let handled = 0;
		while (handled < max) {
			const urgent = this.#urgent.shift();
			if (urgent !== undefined) {
				this.#onUrgent(urgent);
				handled += 1;
				continue;
			}
			if (this.#state !== 'running') break;
			const message = this.#inbox.shift();
			if (message === undefined) break;
			handled += 1;
			this.#onMessage(message);
		}
		if (this.#draining && this.#inbox.length === 0 && this.#state === 'running') this.#beginStop(stopped);
		return handled;
	}

	#onMessage(message: M): void {
		const behavior = this.#behavior;
		if (behavior === null) return;
		try {
			this.#become(behavior.onMessage(this, message));
		} catch (error) {
			this.#fail(error);
		}
	}

	#onUrgent(urgent: Urgent<M>): void {
		switch (urgent.kind) {
			case 'start':
				if (this.#state === 'starting') this.#start();
				return;
			case 'stop':
				this.#beginStop(stopped);
				return;
			case 'drain':
				this.#drain(urgent.shutdownMs);
				return;
			case 'terminated':
				this.#onTerminated(urgent.address, urgent.reason);
				return;
			case 'child-failed':
				this.#signal(urgent.signal);
				return;
			case 'timer':
				if (this.#timers.take(urgent.key, urgent.generation) && this.#state === 'running') this.#onMessage(urgent.message);
				return;
			case 'answer':
				if (this.#state === 'running') this.#onMessage(urgent.message);
				return;
		}
	}

	#start(): void {
		this.#state = 'running';
		try {
			this.#behavior = this.#setup(this);
		} catch (error) {
			this.#fail(error);
		}
	}

	#become(next: Next<M>): void {
		if (next === 'same' || this.#state !== 'running') return;
		if (next === 'stopped') this.#beginStop(stopped);
		else this.#behavior = next;
	}

	#signal(signal: Signal): void {
		const behavior = this.#behavior;
		if (this.#state !== 'running' || behavior?.onSignal === undefined) return;
		try {
			this.#become(behavior.onSignal(this, signal));
		} catch (error) {
			this.#fail(error);
		}
	}

	#drain(shutdownMs: number): void {
		if (this.#state === 'starting') this.#start();
		if (this.#state !== 'running') return;
		const deadline = this.#system.host.setTimer(shutdownMs, () => this.requestStop());
		this.#onEnd.push(() => this.#system.host.clearTimer(deadline));
		if (this.#behavior?.onSignal === undefined) this.#draining = true;
		else this.#signal({ type: 'drain' });
	}

	#onTerminated(address: Address<never>, reason: StopReason): void {
		if (!this.#watching.delete(address)) return;
		this.#signal({ type: 'terminated', ref: address, reason });
	}

	// --- failing and ending ---------------------------------------------------------------------------------------

	#fail(error: unknown): void {
		const message = error instanceof Error ? error.message : String(error);
		const stack = error instanceof Error ? error.stack : undefined;
		const now = this.#system.host.now();
		const verdict = decideRestart(this.#supervision, this.#failures, now, this.#system.host.random());
		this.#system.host.telemetry.log('error', 'actor-failed', { actor: this.path, message, stack, decision: verdict.decision });
		this.#system.failures += 1;
		this.#parent?.childFailed({ type: 'child-failed', ref: this.self, name: this.#name, message, decision: verdict.decision });
		const reason: StopReason = { kind: 'failed', message };
		if (verdict.decision === 'stop' || this.#state !== 'running') {
			this.#beginStop(reason);
			return;
		}
		this.#failures = rememberFailure(this.#supervision, this.#failures, now);
		this.#state = 'restarting';
		this.#release(reason);
		this.#restartDue = false;
		const timer = this.#system.host.setTimer(verdict.delayMs, () => {
			this.#restartDue = true;
			this.#maybeRestart();
		});
		this.#onEnd.push(() => this.#system.host.clearTimer(timer));
		for (const child of this.#children.values()) child.requestStop();
	}

	/** By a child, in its turn. */
	childFailed(signal: Signal): void {
		this.#push({ kind: 'child-failed', signal });
	}

	#maybeRestart(): void {
		if (this.#state !== 'restarting' || !this.#restartDue || this.#children.size > 0) return;
		this.#state = 'starting';
		this.#push({ kind: 'start' });
	}

	#beginStop(reason: StopReason): void {
		if (this.#state === 'stopping' || this.#state === 'ended') return;
		this.#state = 'stopping';
		this.#stopReason = reason;
		for (const child of this.#children.values()) child.requestStop();
		this.#maybeEnd();
	}

	/** By a child that has ended, in its turn. */
	childEnded(name: string): void {
		this.#children.delete(name);
		if (this.#state === 'stopping') this.#maybeEnd();
		else this.#maybeRestart();
	}

	#maybeEnd(): void {
		if (this.#children.size > 0) return;
		this.#release(this.#stopReason);
		this.#state = 'ended';
		if (this.#inbox.length > 0) this.#system.deadLetter(this.path, this.#inbox.length);
		this.#inbox.clear();
		this.#urgent.clear();
		this.#behavior = null;
		this.#system.actors -= 1;
		this.#system.exports.remove(this.self);
		this.watchers.end(this.self, this.#stopReason);
		this.#parent?.childEnded(this.#name);
		if (this.#parent === null) this.#system.rootEnded(this.#name);
	}

	/** Last words of the behaviour, then everything it held: timers, asks, watches. */
	#release(reason: StopReason): void {
		const behavior = this.#behavior;
		this.#behavior = null;
		if (behavior?.onSignal !== undefined) {
			try {
				behavior.onSignal(this, { type: 'post-stop', reason });
			} catch (error) {
				const message = error instanceof Error ? error.message : String(error);
				this.#system.host.telemetry.log('error', 'actor-failed', { actor: this.path, message, during: 'post-stop' });
			}
		}
		for (const end of this.#onEnd.splice(0)) end();
		this.#timers.cancelAll();
		for (const ask of this.#asks) ask.abandon();
		this.#asks.clear();
		for (const address of this.#watching) address.removeWatcher(this);
		this.#watching.clear();
	}

	#push(urgent: Urgent<M>): void {
		if (this.#state === 'ended') return;
		this.#urgent.push(urgent);
		if (!this.scheduled) this.#system.scheduler.schedule(this);
	}

	// --- what its behaviour may do: ActorContext ------------------------------------------------------------------

	get telemetry(): Telemetry {
		return this.#system.host.telemetry;
	}

	now(): number {
		return this.#system.host.now();
	}

	random(): number {
		return this.#system.host.random();
	}

	spawn<N>(name: string, setup: Setup<N>, options: SpawnOptions = {}): ActorRef<N> {
		if (this.#children.has(name)) throw new Error(`${this.path} has a child named ${name} already`);
		if (this.#state !== 'running') throw new Error(`${this.path} is ${this.#state}: it cannot spawn`);
		const child = new Cell(this.#system, this, name, setup, options);
		this.#children.set(name, child);
		return child.self;
	}

	stop(child: ActorRef<never>): void {
		this.#childOf(child).requestStop();
	}

	drain(child: ActorRef<never>): void {
		this.#childOf(child).requestDrain();
	}

	#childOf(ref: ActorRef<never>): { requestStop(): void; requestDrain(): void } {
		for (const child of this.#children.values()) if (child.self === ref) return child;
		return { requestStop() {}, requestDrain() {} };
	}

	watch(ref: ActorRef<never>): void {
		const address = addressOf(ref);
		if (this.#watching.has(address)) return;
		this.#watching.add(address);
		address.addWatcher(this);
	}

	unwatch(ref: ActorRef<never>): void {
		const address = addressOf(ref);
		if (this.#watching.delete(address)) address.removeWatcher(this);
	}

	setTimer(key: string, delayMs: number, message: M): void {
		this.#timers.set(key, delayMs, message);
	}

	cancelTimer(key: string): void {
		this.#timers.cancel(key);
	}

	ask<Q, R>(target: ActorRef<Q>, timeoutMs: number, build: (replyTo: ActorRef<R>) => Q, toMessage: (outcome: AskOutcome<R>) => M): void {
		const slot = new AskSlot<R>(this.#system, (outcome) => {
			this.#asks.delete(slot);
			this.#push({ kind: 'answer', message: toMessage(outcome) });
		});
		this.#asks.add(slot);
		slot.begin(target, timeoutMs, build);
	}
}
