/**
 * The kernel's world in a simulation: a virtual clock, a seeded generator, no I/O. A run is a function of its seed. Several
 * hosts of one `SimWorld` are several threads that share the clock: which of them runs next is drawn from the seed.
 */
import type { Host, TimerHandle } from './host.ts';
import { SeededRandom } from './seeded-random.ts';
import { type SimTimer, SimTimers } from './sim-timers.ts';
import { silentTelemetry, type Telemetry } from './telemetry.ts';

/** A simulation draws from the same kind of generator as its hosts. */
export { SeededRandom } from './seeded-random.ts';

/** Something an actor is about to handle. Two runs of one seed give the same events in the same order. */
export interface SimEvent {
	/** Virtual ms. */
	readonly at: number;
	/** Which host, in the order of their making, from 0. */
	readonly host: number;
	readonly actor: string;
	readonly kind: 'message' | 'signal';
	readonly content: unknown;
}

/** A clock, a generator and what is to run, shared by the hosts of one simulation. */
export class SimWorld {
	readonly random: SeededRandom;
	/** Hears of every event, before it is handled. Must not tell, and must not draw from `random`. */
	onEvent: ((event: SimEvent) => void) | null = null;
	/**
	 * Hears of every invariant that an actor finds broken, behind the event that broke it. By default that is a bug of the actor. Null: they
	 * are not looked at, for worlds so large that it would take too long.
	 */
	onBroken: ((actor: string, words: string) => void) | null = (actor, words) => {
		throw new Error(`${actor}: ${words}`);
	};
	readonly #timers = new SimTimers();
	readonly #hosts: SimHost[] = [];
	#hostsMade = 0;
	#now = 0;

	constructor(seed: number) {
		this.random = new SeededRandom(seed);
	}

	/** Virtual ms since the start. */
	get now(): number {
		return this.#now;
	}

	get timers(): number {
		return this.#timers.size;
	}

	/** By a host that is made. Its number. */
	adopt(host: SimHost): number {
		this.#hosts.push(host);
		this.#hostsMade += 1;
		return this.#hostsMade - 1;
	}

	/** A host is no more: what it was to run and its timers are gone. */
	remove(host: SimHost): void {
		const index = this.#hosts.indexOf(host);
		if (index >= 0) this.#hosts.splice(index, 1);
		this.#timers.removeOf(host);
	}

	setTimer(owner: SimHost, delayMs: number, fire: () => void): TimerHandle {
		return this.#timers.set(this.#now + (delayMs > 0 ? delayMs : 0), owner, fire);
	}

	clearTimer(handle: TimerHandle): void {
		this.#timers.remove(handle as SimTimer);
	}

	/** Runs one waiting turn, of a host drawn from those that have one. False when none has. */
	step(): boolean {
		let ready = 0;
		for (const host of this.#hosts) if (host.waiting > 0) ready += 1;
		if (ready === 0) return false;
		let drawn = ready === 1 ? 0 : this.random.below(ready);
		for (const host of this.#hosts) {
			if (host.waiting === 0) continue;
			if (drawn === 0) return host.step();
			drawn -= 1;
		}
		return false;
	}

	/** Runs all waiting turns; time stands still. */
	run(): void {
		while (this.step());
	}

	/** Lets `ms` pass: timers fire at their time, in the order they were set where that is the same. */
	advance(ms: number): void {
		const until = this.#now + ms;
		this.run();
		while (this.#fireNext(until)) this.run();
		this.#now = until;
	}

	/** Runs until no turn waits and no timer is set, at most `maxMs` of virtual time. True when all is quiet. */
	runUntilIdle(maxMs = 86_400_000): boolean {
		const until = this.#now + maxMs;
		this.run();
		while (this.#fireNext(until)) this.run();
		return this.#timers.size === 0;
	}

	#fireNext(until: number): boolean {
		const timer = this.#timers.next;
		if (timer === undefined || timer.at > until) return false;
		this.#timers.remove(timer);
		this.#now = Math.max(this.#now, timer.at);
		(timer.owner as SimHost).fire(timer.fire);
		return true;
	}
}

export class SimHost implements Host {
	readonly world: SimWorld;
	readonly telemetry: Telemetry;
	/** Its number in the world, from 0. */
	readonly index: number;
	#turns: (() => void)[] = [];
	#alive = true;
	#paused = false;

	/** A simulated thread: alone in a world of its own made from a seed, or one more of a world. */
	constructor(seedOrWorld: number | SimWorld, telemetry: Telemetry = silentTelemetry) {
		this.world = typeof seedOrWorld === 'number' ? new SimWorld(seedOrWorld) : seedOrWorld;
		this.telemetry = telemetry;
		this.index = this.world.adopt(this);
	}

	now(): number {
		return this.world.now;
	}

	random(): number {
		return this.world.random.next();
	}

	defer(turn: () => void): void {
		if (this.#alive) this.#turns.push(turn);
	}

	yieldThen(turn: () => void): void {
		if (this.#alive) this.#turns.push(turn);
	}

	setTimer(delayMs: number, fire: () => void): TimerHandle {
		return this.#alive ? this.world.setTimer(this, delayMs, fire) : {};
	}

	clearTimer(handle: TimerHandle): void {
		this.world.clearTimer(handle);
	}

	trace(actor: string, kind: 'message' | 'signal', content: unknown): void {
		this.world.onEvent?.({ at: this.world.now, host: this.index, actor, kind, content });
	}

	check(actor: string, invariant: () => string | null): void {
		const { onBroken } = this.world;
		const words = onBroken === null ? null : invariant();
		if (words !== null) onBroken?.(actor, words);
	}

	/** Turns that wait and may run. */
	get waiting(): number {
		return this.#paused ? 0 : this.#turns.length;
	}

	get paused(): boolean {
		return this.#paused;
	}

	/** This thread is stuck: it runs nothing until `resume`. What comes due meanwhile waits for that. */
	pause(): void {
		this.#paused = true;
	}

	resume(): void {
		this.#paused = false;
	}

	/** A timer of this host is due. Called by its world. */
	fire(timer: () => void): void {
		if (this.#paused) this.#turns.push(timer);
		else timer();
	}

	/** Runs the oldest waiting turn of this host; false when there is none. */
	step(): boolean {
		const turn = this.#turns.shift();
		if (turn === undefined) return false;
		turn();
		return true;
	}

	/** This thread dies where it stands: no turn or timer of it runs again, nobody is told. */
	kill(): void {
		this.#alive = false;
		this.#turns = [];
		this.world.remove(this);
	}

	/** Runs all waiting turns of the world; time stands still. */
	run(): void {
		this.world.run();
	}

	/** Lets `ms` of virtual time pass. */
	advance(ms: number): void {
		this.world.advance(ms);
	}

	/** See `SimWorld.runUntilIdle`. */
	runUntilIdle(maxMs?: number): boolean {
		return this.world.runUntilIdle(maxMs);
	}
}
