/**
 * Stops admission on a front thread before its heap is full: out of memory in a thread with an open server ends the whole
 * process. Looks at the heap a few times a second at most.
 */
import { getHeapStatistics } from 'node:v8';
import { type Failure, failure } from '../../actors/serving/failure.ts';

const watermark = 0.85;
const lookMs = 250;

export class MemoryGate {
	readonly #now: () => number;
	readonly #usedPart: () => number;
	#lookedAt = Number.NEGATIVE_INFINITY;
	#full = false;

	constructor(now: () => number, usedPart: () => number = heapUsedPart) {
		this.#now = now;
		this.#usedPart = usedPart;
	}

	refusal(): Failure | null {
		const now = this.#now();
		if (now - this.#lookedAt >= lookMs) {
			this.#lookedAt = now;
			this.#full = this.#usedPart() > watermark;
		}
		return this.#full ? failure('ADMISSION_REJECT', 'this thread is short of memory', { retryAfterMs: 1000, policyLabel: 'memory' }) : null;
	}
}

function heapUsedPart(): number {
	const heap = getHeapStatistics();
	return heap.used_heap_size / heap.heap_size_limit;
}
