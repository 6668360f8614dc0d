/**
 * Time for transport, as a port: the front's own on a running thread, a hand-moved one in tests.
 */
import { WallTime, wallOffset } from '../actors/kernel/wall-time.ts';

export interface Clock {
	/** Milliseconds, monotonic: that of the actors' host. */
	now(): number;
	/** Milliseconds since 1970. */
	wallNow(): number;
	/** The same of an instant of `now`, whole, and whenever it is asked for. */
	wallOf(at: number): number;
	/** Each returns what stops it. None keeps the thread alive. */
	every(ms: number, tick: () => void): () => void;
	after(ms: number, fire: () => void): () => void;
	/** Once pending I/O had its chance. */
	soon(run: () => void): void;
}

export function realClock(now: () => number, wall = new WallTime(now, Date.now, wallOffset(now, Date.now))): Clock {
	return {
		now,
		wallNow: Date.now,
		wallOf: (at) => wall.wallOf(at),
		every(ms, tick) {
			const timer = setInterval(tick, ms).unref();
			return () => clearInterval(timer);
		},
		after(ms, fire) {
			const timer = setTimeout(fire, ms).unref();
			return () => clearTimeout(timer);
		},
		soon(run) {
			setImmediate(run);
		},
	};
}
