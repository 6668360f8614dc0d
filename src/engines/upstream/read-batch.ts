/**
 * The generations of a front thread that have read something their tasks do not know yet. An engine writes one token for each of
 * its requests at a time, so many sockets are readable together: all are read, then all tasks run, then all clients are
 * written to, each step many times in a row. What costs at tens of tokens a millisecond is not their bytes, but code and
 * data that have left the processor's caches in between.
 */
import { performance } from 'node:perf_hooks';

/** Who has read something. */
export interface Reading {
	/** Tells its task, in this turn. */
	tellRead(now: number): void;
}

/** Those that were read first need not wait for all: beyond so many, they are told. */
const readingsMax = 32;

export class ReadBatch {
	#waiting: Reading[] = [];
	#comes = false;
	readonly #onLoop = (): void => {
		this.#comes = false;
		this.tell();
	};

	/** Once for each time that it is told. */
	add(reading: Reading): void {
		this.#waiting.push(reading);
		if (this.#waiting.length >= readingsMax) return this.tell();
		if (this.#comes) return;
		this.#comes = true;
		setImmediate(this.#onLoop);
	}

	tell(): void {
		const waiting = this.#waiting;
		if (waiting.length === 0) return;
		this.#waiting = [];
		const now = performance.now();
		for (let index = 0; index < waiting.length; index += 1) (waiting[index] as Reading).tellRead(now);
	}
}
