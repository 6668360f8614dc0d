/**
 * The kernel's world on a real thread: its event loop, its clock, its timers. One per thread. The clock is the process's
 * monotonic one, so that times may be compared between threads.
 */
import type { Host, TimerHandle } from './host.ts';
import { silentTelemetry, type Telemetry } from './telemetry.ts';

export interface RealHostOptions {
	/**
	 * Whether a timer that is set keeps the thread alive. Off by default: in a server, its sockets and ports do, and a timer
	 * must not delay the exit. A program with nothing but actors wants it.
	 */
	readonly timersKeepAlive?: boolean;
}

/** Held: on the global object it is behind a getter. */
const { hrtime } = process;
/** What `setTimeout` takes; a longer delay fires early, and is then set again by the kernel. */
const delayMaxMs = 2 ** 31 - 1;

export class RealHost implements Host {
	readonly telemetry: Telemetry;
	readonly #timersKeepAlive: boolean;

	constructor(telemetry: Telemetry = silentTelemetry, options: RealHostOptions = {}) {
		this.telemetry = telemetry;
		this.#timersKeepAlive = options.timersKeepAlive ?? false;
	}

	/** Not `performance.now()`: its origin is another one on each thread. */
	now(): number {
		const [seconds, nanoseconds] = hrtime();
		return seconds * 1_000 + nanoseconds / 1_000_000;
	}

	random(): number {
		return Math.random();
	}

	/** A microtask: the turn runs when the callback that told has returned, before any other I/O. */
	defer(turn: () => void): void {
		queueMicrotask(turn);
	}

	/** Keeps the thread alive: messages wait. */
	yieldThen(turn: () => void): void {
		setImmediate(turn);
	}

	setTimer(delayMs: number, fire: () => void): TimerHandle {
		const timeout = setTimeout(fire, Math.min(Math.max(0, delayMs), delayMaxMs));
		return this.#timersKeepAlive ? timeout : timeout.unref();
	}

	clearTimer(handle: TimerHandle): void {
		clearTimeout(handle as NodeJS.Timeout);
	}
}
