/**
 * Which threads are stuck: pure judgement over their heartbeats, on the main thread. What follows a verdict is the crew's.
 */

export interface WatchedThread {
	readonly name: string;
	/** Heartbeats so far, of this incarnation. */
	readonly beats: number;
	/** A front's listening sockets make killing it fatal to the process: it is given `graceMs` more, then all ends. */
	readonly mayKill: boolean;
}

export interface WatchdogLimits {
	/** Without a heartbeat for so long a thread is stuck. */
	readonly stuckMs: number;
	/** A stuck thread that must not be killed may still come back for so long. */
	readonly graceMs: number;
}

export type Verdict = { readonly name: string; readonly verdict: 'kill' | 'end-daemon'; readonly silentMs: number };

/** Remembers when each thread was last heard. */
export class Watchdog {
	readonly #limits: WatchdogLimits;
	readonly #heard = new Map<string, { beats: number; at: number }>();

	constructor(limits: WatchdogLimits) {
		this.#limits = limits;
	}

	/** A thread was started (again): its silence counts from now. */
	expect(name: string, now: number): void {
		this.#heard.set(name, { beats: -1, at: now });
	}

	forget(name: string): void {
		this.#heard.delete(name);
	}

	judge(threads: readonly WatchedThread[], now: number): Verdict[] {
		const verdicts: Verdict[] = [];
		for (const { name, beats, mayKill } of threads) {
			const heard = this.#heard.get(name);
			if (heard === undefined) continue;
			if (heard.beats !== beats) {
				heard.beats = beats;
				heard.at = now;
				continue;
			}
			const silentMs = now - heard.at;
			const limit = mayKill ? this.#limits.stuckMs : this.#limits.stuckMs + this.#limits.graceMs;
			if (silentMs < limit) continue;
			this.#heard.delete(name);
			verdicts.push({ name, verdict: mayKill ? 'kill' : 'end-daemon', silentMs });
		}
		return verdicts;
	}
}
