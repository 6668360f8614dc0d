/** What a pool says when it cannot take, keep or serve a task. Pure; words name the field, the value and what is allowed. */
import { type Failure, failure } from './failure.ts';
import type { QueueStanding, TaskSummary } from './messages.ts';
import type { PoolSpec } from './pool-spec.ts';

export class PoolRefusals {
	readonly #spec: PoolSpec;
	readonly #where: Pick<Failure, 'engine' | 'poolId'>;

	constructor(spec: PoolSpec) {
		this.#spec = spec;
		this.#where = { engine: spec.engine, poolId: spec.poolId };
	}

	/** Null: the request could be queued, were there room. */
	tooLarge({ queuedBytes }: TaskSummary): Failure | null {
		const { poolId, queue } = this.#spec;
		if (queuedBytes <= queue.bytesMax) return null;
		return failure(
			'INVALID_PARAMS',
			`the request holds ${queuedBytes} bytes; the queue of ${poolId} allows ${queue.bytesMax}`,
			this.#where,
		);
	}

	/** Of a deadline that cannot be met, by what was measured or configured. */
	tooLate({ deadlineAt }: TaskSummary, standing: QueueStanding, now: number): Failure | null {
		if (deadlineAt === null) return null;
		const words = `deadline_ms leaves ${Math.round(deadlineAt - now)} ms; the earliest that this can end in ${this.#spec.poolId} is in about ${Math.ceil(standing.predictedEndMs)} ms`;
		return failure('DEADLINE_UNMET', words, this.#where);
	}

	full(
		{ queuedBytes }: TaskSummary,
		{ length, bytes }: { readonly length: number; readonly bytes: number },
		retryAfterMs: number,
	): Failure {
		const { poolId, queue } = this.#spec;
		const code = queue.fullPolicy === 'drop-lru' ? 'QUEUE_FULL_DROP_LRU' : 'ADMISSION_REJECT';
		const words =
			length >= queue.capacity
				? `the queue of ${poolId} is full (${length} of ${queue.capacity} tasks)`
				: `the queue of ${poolId} has no room for ${queuedBytes} bytes more (${bytes} of ${queue.bytesMax} bytes)`;
		return failure(code, words, { ...this.#where, retryAfterMs, policyLabel: queue.fullPolicy });
	}

	dropped(retryAfterMs: number): Failure {
		const { poolId, queue } = this.#spec;
		const words = `dropped from the full queue of ${poolId} to make room`;
		return failure('QUEUE_FULL_DROP_LRU', words, { ...this.#where, retryAfterMs, policyLabel: queue.fullPolicy });
	}

	alreadyQueued(taskId: string): Failure {
		return failure('CONFLICT', `task_id ${taskId} is in the queue already`, this.#where);
	}

	/** `retryAfterMs` null: it never can. */
	cannotServe(why: string | null, retryAfterMs: number | null): Failure {
		const words = `${this.#spec.poolId} cannot serve: ${why ?? 'its replicas have failed'}`;
		if (retryAfterMs === null) return failure('POOL_UNAVAILABLE', words, { ...this.#where, retriable: false });
		return failure('POOL_UNREADY', words, { ...this.#where, retryAfterMs });
	}

	/** Every replica fails its tasks. */
	exhausted(why: string | null, retryAfterMs: number): Failure {
		return failure('REPLICA_EXHAUSTED', `no replica of ${this.#spec.poolId} takes tasks: ${why ?? 'all fail'}`, {
			...this.#where,
			retryAfterMs,
		});
	}

	alwaysLoaded(): Failure {
		const { poolId, engine } = this.#spec;
		return failure('CONFLICT', `${poolId} is always loaded; residency: on_demand in its configuration lets it be unloaded`, {
			poolId,
			engine,
		});
	}

	reloading(to: string): Failure {
		return failure('CONFLICT', `${this.#spec.poolId} is being reloaded with ${to} already`, this.#where);
	}

	notServed(model: string, serves: string): Failure {
		return failure('NOT_FOUND', `purge_models names ${JSON.stringify(model)}; ${this.#spec.poolId} holds ${serves} only`, this.#where);
	}

	busy(running: number): Failure {
		const words = `${running} tasks run in ${this.#spec.poolId}; drain_first waits for them, force does not`;
		return failure('CONFLICT', words, this.#where);
	}

	noWorker(engine: string): Failure {
		const { poolId, workers, engine: own } = this.#spec;
		if (!workers) return failure('INVALID_PARAMS', `pool_id is ${poolId}, which takes no workers (pools.workers)`, this.#where);
		return failure('INVALID_PARAMS', `engine is ${engine}; ${poolId} has ${own}`, this.#where);
	}

	otherWorker(replicaId: string): Failure {
		const words = `replica_id is ${replicaId}, a replica with another url or other slots, or one that is being taken out; register another id`;
		return failure('CONFLICT', words, this.#where);
	}

	tooManyWorkers(most: number): Failure {
		return failure('INVALID_PARAMS', `${this.#spec.poolId} has ${most} replicas, the most that it takes`, this.#where);
	}

	noEngineThread(retryAfterMs: number): Failure {
		return failure('POOL_UNREADY', `nobody can look at a model for ${this.#spec.poolId} right now`, { ...this.#where, retryAfterMs });
	}

	replicaLost(replicaId: string, why: string): Failure {
		return failure('WORKER_RESET', `replica ${replicaId}: ${why}`, this.#where);
	}
}
