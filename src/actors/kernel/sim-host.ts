/**
 * The kernel's world in a simulation: a virtual clock, a seeded generator, no I/O. A run is a function of its seed. Several
 * hosts of one `SimWorld` are several threads that share the clock: which of them runs next is drawn from the seed.
 */
import type { Host, TimerHandle } from './host.ts';
import { silentTelemetry, type Telemetry } from './telemetry.ts';

/** xoshiro128** (Blackman, Vigna, 2018), its state filled by splitmix32 from the seed. Not for secrets. */
export class SeededRandom {
	readonly #state = new Uint32Array(4);

	constructor(seed: number) {
		let word = seed >>> 0;
		for (let index = 0; index < 4; index += 1) {
			word = (word + 0x9e3779b9) >>> 0;
			let mixed = word;
			mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
			mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
			this.#state[index] = mixed ^ (mixed >>> 16);
		}
	}

	/** Next 32 bits. */
	bits(): number {
		const state = this.#state;
		const [a = 0, b = 0, c = 0, d = 0] = state;
		const scaled = Math.imul(b, 5);
		const result = Math.imul((scaled << 7) | (scaled >>> 25), 9) >>> 0;
		const mixed = d ^ b;
		state[2] = c ^ a ^ (b << 9);
		state[3] = (mixed << 11) | (mixed >>> 21);
		state[1] = b ^ c ^ a;
		state[0] = a ^ mixed;
		return result;
	}

	/** In [0, 1). */
	next(): number {
		return this.bits() / 2 ** 32;
	}

	/** A whole number in [0, below). */
	below(below: number): number {
		return Math.floor(this.next() * below);
	}
}

interface SimTimer {
	readonly at: number;
	readonly order: number;
	readonly fire: () => void;
}

/** A clock, a generator and what is to run, shared by the hosts of one simulation. */
export class SimWorld {
	readonly random: SeededRandom;
	#now = 0;
	#order = 0;
	readonly #timers = new Set<SimTimer>();
	readonly #hosts: SimHost[] = [];

	constructor(seed: number) {
		this.random = new SeededRandom(seed);
	}

	get now(): number {
		return this.#now;
	}

	get timers(): number {
		return this.#timers.size;
	}

	/** By a host that is made. */
	adopt(host: SimHost): void {
		this.#hosts.push(host);
	}

	remove(host: SimHost): void {
		const index = this.#hosts.indexOf(host);
		if (index >= 0) this.#hosts.splice(index, 1);
	}

	setTimer(delayMs: number, fire: () => void): TimerHandle {
		this.#order += 1;
		const timer: SimTimer = { at: this.#now + Math.max(0, delayMs), order: this.#order, fire };
		this.#timers.add(timer);
		return timer;
	}

	clearTimer(handle: TimerHandle): void {
		this.#timers.delete(handle as SimTimer);
	}

	/** Runs one waiting turn of a host drawn from those that have one. False when none has. */
	step(): boolean {
		const ready = this.#hosts.filter((host) => host.waiting > 0);
		const host = ready.length < 2 ? ready[0] : ready[this.random.below(ready.length)];
		return host?.step() ?? false;
	}

	/** Runs all waiting turns; time stands still. */
	run(): void {
		while (this.step());
	}

	/** Lets `ms` pass: timers fire at their time, in the order they were set where that is the same. */
	advance(ms: number): void {
		const until = this.#now + ms;
		this.run();
		for (let timer = this.#nextTimer(until); timer !== null; timer = this.#nextTimer(until)) {
			this.#timers.delete(timer);
			this.#now = Math.max(this.#now, timer.at);
			timer.fire();
			this.run();
		}
		this.#now = until;
	}

	/** Runs until no turn waits and no timer is set, at most `maxMs` of virtual time. True when all is quiet. */
	runUntilIdle(maxMs = 86_400_000): boolean {
		const until = this.#now + maxMs;
		this.run();
		for (let timer = this.#nextTimer(until); timer !== null; timer = this.#nextTimer(until)) {
			this.advance(timer.at - this.#now);
		}
		return this.#timers.size === 0;
	}

	#nextTimer(until: number): SimTimer | null {
		let next: SimTimer | null = null;
		for (const timer of this.#timers) {
			if (timer.at > until) continue;
			if (next === null || timer.at < next.at || (timer.at === next.at && timer.order < next.order)) next = timer;
		}
		return next;
	}
}

export class SimHost implements Host {
	readonly world: SimWorld;
	readonly telemetry: Telemetry;
	#turns: (() => void)[] = [];

	/** A simulated thread: alone in a world of its own made from a seed, or one more of a world. */
	constructor(seedOrWorld: number | SimWorld, telemetry: Telemetry = silentTelemetry) {
		this.world = typeof seedOrWorld === 'number' ? new SimWorld(seedOrWorld) : seedOrWorld;
		this.telemetry = telemetry;
		this.world.adopt(this);
	}

	now(): number {
		return this.world.now;
	}

	random(): number {
		return this.world.random.next();
	}

	defer(turn: () => void): void {
		this.#turns.push(turn);
	}

	yieldThen(turn: () => void): void {
		this.#turns.push(turn);
	}

	setTimer(delayMs: number, fire: () => void): TimerHandle {
		return this.world.setTimer(delayMs, fire);
	}

	clearTimer(handle: TimerHandle): void {
		this.world.clearTimer(handle);
	}

	/** Turns that wait. */
	get waiting(): number {
		return this.#turns.length;
	}

	/** Runs the oldest waiting turn of this host; false when there is none. */
	step(): boolean {
		const turn = this.#turns.shift();
		if (turn === undefined) return false;
		turn();
		return true;
	}

	/** Drops what waits: this thread is dead. */
	kill(): void {
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
