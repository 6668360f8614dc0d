/**
 * The kernel's world on a real thread: its event loop, its clock, its timers. One per thread. The clock is the process's
 * monotonic one, so that times may be compared between threads.
 */
import type { Host, TimerHandle } from './host.ts';
import type { Telemetry } from './telemetry.ts';

export class RealHost implements Host {
	readonly telemetry: Telemetry;

	constructor(telemetry: Telemetry) {
		this.telemetry = telemetry;
	}

	now(): number {
		const [seconds, nanoseconds] = process.hrtime();
		return seconds * 1_000 + nanoseconds / 1_000_000;
	}

	random(): number {
		return Math.random();
	}

	defer(turn: () => void): void {
		queueMicrotask(turn);
	}

	yieldThen(turn: () => void): void {
		setImmediate(turn);
	}

	/** Timers do not keep a thread alive: its sockets and ports do. */
	setTimer(delayMs: number, fire: () => void): TimerHandle {
		return setTimeout(fire, Math.min(Math.max(0, delayMs), 2 ** 31 - 1)).unref();
	}

	clearTimer(handle: TimerHandle): void {
		clearTimeout(handle as NodeJS.Timeout);
	}
}
