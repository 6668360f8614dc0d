/**
 * Time for transport, as a port: the front's own on a running thread, a hand-moved one in tests.
 */

export interface Clock {
	/** Milliseconds, monotonic: that of the actors' host. */
	now(): number;
	/** Milliseconds since 1970. */
	wallNow(): number;
	/** Each returns what stops it. None keeps the thread alive. */
	every(ms: number, tick: () => void): () => void;
	after(ms: number, fire: () => void): () => void;
	/** Once pending I/O had its chance. */
	soon(run: () => void): void;
}

export function realClock(now: () => number): Clock {
	return {
		now,
		wallNow: Date.now,
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
