/**
 * The timers of one actor, by key. A timer that fires becomes a message in the inbox; one that is replaced or cancelled, even
 * while its message waits there, never arrives. No timer comes before its time.
 */
import type { TimerHandle } from './host.ts';
import { Reserved } from './reserved.ts';
import type { SystemCore } from './system-core.ts';

export interface TimerOwner<in M> {
	arrived(item: Reserved<M>): void;
}

export class Timers<M> {
	readonly core: SystemCore;
	readonly owner: TimerOwner<M>;
	readonly #byKey = new Map<string, Timer<M>>();

	constructor(core: SystemCore, owner: TimerOwner<M>) {
		this.core = core;
		this.owner = owner;
	}

	set(key: string, delayMs: number, message: M): void {
		const due = this.core.host.now() + (delayMs > 0 ? delayMs : 0);
		const old = this.#byKey.get(key);
		if (old?.postpone(due, message)) return;
		if (old !== undefined) this.#forget(key, old);
		const timer = new Timer(this, key, due, message);
		this.#byKey.set(key, timer);
		this.core.timers += 1;
		timer.arm(delayMs);
	}

	cancel(key: string): void {
		const timer = this.#byKey.get(key);
		if (timer !== undefined) this.#forget(key, timer);
	}

	cancelAll(): void {
		for (const [key, timer] of this.#byKey) this.#forget(key, timer);
	}

	/** Whether this is still the timer of its key; it is used up by asking. */
	take(timer: Timer<M>): boolean {
		if (this.#byKey.get(timer.key) !== timer) return false;
		this.#forget(timer.key, timer);
		return true;
	}

	#forget(key: string, timer: Timer<M>): void {
		this.#byKey.delete(key);
		this.core.timers -= 1;
		timer.disarm();
	}
}

class Timer<M> extends Reserved<M> {
	readonly key: string;
	readonly #timers: Timers<M>;
	#message: M;
	#due: number;
	/** The host's timer; null once the message waits in the inbox. */
	#handle: TimerHandle | null = null;
	/** When the host's timer fires: never after `#due`. */
	#wakesAt = 0;
	readonly #onWake = (): void => this.#wake();

	constructor(timers: Timers<M>, key: string, due: number, message: M) {
		super();
		this.#timers = timers;
		this.key = key;
		this.#due = due;
		this.#message = message;
	}

	arm(delayMs: number): void {
		this.#wakesAt = this.#due;
		this.#handle = this.#timers.core.host.setTimer(delayMs, this.#onWake);
	}

	disarm(): void {
		if (this.#handle !== null) this.#timers.core.host.clearTimer(this.#handle);
		this.#handle = null;
	}

	/**
	 * Takes another message and time, if its host timer need not be moved forward: setting an idle timer again with every
	 * message then costs two writes. False: make a new one.
	 */
	postpone(due: number, message: M): boolean {
		if (this.#handle === null || due < this.#wakesAt) return false;
		this.#due = due;
		this.#message = message;
		return true;
	}

	claim(): boolean {
		return this.#timers.take(this);
	}

	open(): M {
		return this.#message;
	}

	#wake(): void {
		const left = this.#due - this.#timers.core.host.now();
		if (left > 0) {
			this.arm(left);
			return;
		}
		this.#handle = null;
		this.#timers.owner.arrived(this);
	}
}
