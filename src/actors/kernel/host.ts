/**
 * Everything the kernel needs from the world: a clock, timers, a turn, randomness, and a place to report bugs. The real
 * one is `real-host.ts`; `sim-host.ts` has a virtual clock and a seeded generator, so that a run is a function of its seed.
 */
import type { Telemetry } from './telemetry.ts';

/** Opaque: only the host that made it looks inside. */
export type TimerHandle = object;

export interface Host {
	/** Milliseconds, monotonic, the same clock on every thread of the process. */
	now(): number;
	/** In [0, 1). */
	random(): number;
	/** Runs `turn` soon, after the current callback: a microtask on the real host. */
	defer(turn: () => void): void;
	/** Runs `turn` after pending I/O had its chance: used when a turn's budget is spent, and for what many turns share. */
	yieldThen(turn: () => void): void;
	setTimer(delayMs: number, fire: () => void): TimerHandle;
	clearTimer(handle: TimerHandle): void;
	readonly telemetry: Telemetry;
	/**
	 * Hears of everything that an actor or edge is about to handle, in order: for simulations, which hash it. Absent on the
	 * real host.
	 */
	readonly trace?: (actor: string, kind: 'message' | 'signal', content: unknown) => void;
	/**
	 * May look at the invariant of an actor behind everything that it has handled: for simulations. Absent on the real host, where asking
	 * each time would cost too much.
	 */
	readonly check?: (actor: string, invariant: () => string | null) => void;
}
