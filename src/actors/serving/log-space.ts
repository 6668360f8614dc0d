/**
 * The ledger of `tasks.log_bytes_max` on a front thread: what running tasks have reserved for their logs and what
 * finished ones still hold. In use = the sum of the leases. Space that only finished tasks hold can be had by forgetting
 * them; space of a running task is never taken. So a log is bounded before it is written, and nothing ever has to pause.
 */
import { isMovable } from './continuation.ts';
import type { Failure } from './failure.ts';
import { failure } from './failure.ts';
import type { TaskRequest } from './task-request.ts';

/**
 * A frame of an ordinary token is 50-60 bytes plus two of index; the rest is room for long pieces and escapes. A text
 * that needs more than its reservation takes it from what is free, and is cut where there is none.
 */
const tokenBytes = 96;
const tokenLogprobBytes = 144;
/** Of each of the likeliest tokens beside it. */
const topTokenBytes = 56;
/** Arguments of a call come in JSON of their own. */
const tokenCallBytes = 192;
/** Kept beside the log while a task runs that may go on elsewhere. */
export const tokenIdBytes = 4;
/** `started`, the terminal event and the slack of the first chunk. */
export const logHeadBytes = 2048;
/** 1 024 dimensions; corrected when the vectors are there. */
const vectorBytes = 4096;

/** Until something frees space there is no rate to predict from. */
export const logRetryAfterMs = 1000;

/** Bytes to reserve for a task that generates at most `outputTokens`. */
export function logBytesFor(request: TaskRequest, outputTokens: number): number {
	const vectors = request.input.kind === 'inputs' ? request.input.inputs.length * vectorBytes : 0;
	const calls = request.input.kind === 'messages' && request.input.toolUse !== undefined;
	const { logprobs, topLogprobs = 0 } = request.sampling;
	const frame = calls ? tokenCallBytes : logprobs ? tokenLogprobBytes + topLogprobs * topTokenBytes : tokenBytes;
	return logHeadBytes + outputTokens * (frame + (isMovable(request) ? tokenIdBytes : 0)) + vectors;
}

/** Why a task is cut whose texts outgrew its reservation. */
export function logFull(): Failure {
	const message = 'the output outgrew the log space reserved for it, and running tasks hold the rest (tasks.log_bytes_max)';
	return failure('ADMISSION_REJECT', message, { retryAfterMs: logRetryAfterMs, policyLabel: 'log' });
}

export interface LogLease {
	readonly bytes: number;
}

interface OwnLease {
	bytes: number;
	/** Its task has ended: `forgetOldest` can get these bytes back. */
	finished: boolean;
}

export class LogSpace {
	readonly bytesMax: number;
	#inUse = 0;
	#finished = 0;
	readonly #leases = new Map<LogLease, OwnLease>();
	readonly #forgetOldest: () => boolean;

	/** `forgetOldest` forgets the finished task that ended first, releasing its lease; false when there is none. */
	constructor(bytesMax: number, forgetOldest: () => boolean) {
		this.bytesMax = bytesMax;
		this.#forgetOldest = forgetOldest;
	}

	get inUse(): number {
		return this.#inUse;
	}

	/** Null: the space is taken by running tasks. Nothing is forgotten in vain. */
	reserve(bytes: number): LogLease | null {
		if (!this.#makeRoom(bytes)) return null;
		const lease: OwnLease = { bytes, finished: false };
		this.#leases.set(lease, lease);
		this.#inUse += bytes;
		return lease;
	}

	/** As `reserve`, of a task that had its space before the daemon or its thread was lost: it is not refused now. */
	restore(bytes: number): LogLease {
		const lease = this.reserve(bytes);
		if (lease !== null) return lease;
		const over: OwnLease = { bytes, finished: false };
		this.#leases.set(over, over);
		this.#inUse += bytes;
		return over;
	}

	/** Sets what a running task's lease holds. False, and unchanged, when it would have to grow and cannot. */
	resize(lease: LogLease, bytes: number): boolean {
		const own = this.#own(lease);
		if (own.finished) throw new Error('log space: a finished lease only shrinks by release');
		if (bytes > own.bytes && !this.#makeRoom(bytes - own.bytes)) return false;
		this.#inUse += bytes - own.bytes;
		own.bytes = bytes;
		return true;
	}

	/**
	 * The task has ended and holds `bytes` from now on. The truth, even where it is more than there is: a log may be over
	 * by the batch that ended it.
	 */
	finish(lease: LogLease, bytes: number): void {
		const own = this.#own(lease);
		if (own.finished) throw new Error('log space: a lease was finished twice');
		this.#makeRoom(bytes - own.bytes);
		this.#inUse += bytes - own.bytes;
		own.bytes = bytes;
		own.finished = true;
		this.#finished += bytes;
	}

	release(lease: LogLease): void {
		const own = this.#own(lease);
		this.#leases.delete(lease);
		this.#inUse -= own.bytes;
		if (own.finished) this.#finished -= own.bytes;
	}

	/** Throws when the sums do not equal the leases. */
	check(): void {
		let inUse = 0;
		let finished = 0;
		for (const lease of this.#leases.values()) {
			inUse += lease.bytes;
			if (lease.finished) finished += lease.bytes;
		}
		if (inUse !== this.#inUse || finished !== this.#finished) {
			throw new Error(`log space: ${this.#inUse} in use, leases hold ${inUse}`);
		}
	}

	#makeRoom(bytes: number): boolean {
		if (this.#inUse - this.#finished + bytes > this.bytesMax) return false;
		while (this.#inUse + bytes > this.bytesMax) {
			if (!this.#forgetOldest()) throw new Error('log space: finished bytes without a finished task');
		}
		return true;
	}

	#own(lease: LogLease): OwnLease {
		const own = this.#leases.get(lease);
		if (own === undefined) throw new Error('log space: a lease was released twice');
		return own;
	}
}
