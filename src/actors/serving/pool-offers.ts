/** Waiting tasks of a pool that it cannot serve now: offered to the others by way of the Dispatcher. Part of the Pool actor. */
import { noOthers } from './declines.ts';
import type { PoolCommand } from './pool-messages.ts';
import type { PoolState } from './pool-state.ts';

type Enqueue = Extract<PoolCommand, { type: 'enqueue' }>;

export class PoolOffers {
	readonly #pool: PoolState;
	readonly #keep: (task: Enqueue) => void;

	/** `keep`: the Dispatcher has no room, and the task stays. */
	constructor(pool: PoolState, keep: (task: Enqueue) => void) {
		this.#pool = pool;
		this.#keep = keep;
	}

	/** Nobody can say when this pool serves them: another may. */
	all(): void {
		const { drain, queue } = this.#pool;
		drain.offer([...queue]);
		this.next();
	}

	next(): void {
		const { drain, queue, spec, ctx } = this.#pool;
		for (const waiting of drain.next()) {
			if (queue.get(waiting.taskId) !== waiting) continue;
			this.#pool.dequeue(waiting);
			this.displace({ summary: waiting.summary, terms: waiting.terms, replyTo: waiting.ref }, spec.poolId, null);
		}
		if (!drain.done) ctx.setTimer('offer', 0, { type: 'offer-due' });
	}

	displace({ summary, terms, replyTo }: Pick<Enqueue, 'summary' | 'terms' | 'replyTo'>, poolId: string, not: string | null): void {
		if (this.#pool.dispatcher.tell({ type: 'displaced', poolId, summary, terms, not, replyTo }) === 'accepted') return;
		this.#keep({ type: 'enqueue', summary, terms, origin: { kind: 'stays' }, asked: noOthers, replyTo });
	}
}
