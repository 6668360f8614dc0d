/** What a pool tells the book of sessions of the tasks that have one: where they run, and what they came to. Part of the Pool actor. */
import type { ActorRef } from '../kernel/ref.ts';
import { type Amounts, nothing } from './budget.ts';
import type { ReplicaFacts, Settlement, TaskSummary } from './messages.ts';
import type { PoolNews } from './pool-messages.ts';
import type { PoolSpec } from './pool-spec.ts';
import type { SessionTerms } from './session-messages.ts';

/** A task of the pool, with what its session allows it. */
export interface OfSession {
	readonly summary: TaskSummary;
	readonly terms: SessionTerms;
}

export class PoolSessions {
	readonly #spec: PoolSpec;
	readonly #dispatcher: ActorRef<PoolNews>;

	constructor(spec: PoolSpec, dispatcher: ActorRef<PoolNews>) {
		this.#spec = spec;
		this.#dispatcher = dispatcher;
	}

	runs({ summary }: OfSession, { poolId, replicaId, address }: ReplicaFacts): void {
		const { sessionId } = summary;
		if (sessionId !== null) this.#dispatcher.tell({ type: 'session-task-runs', sessionId, at: { poolId, replicaId, address } });
	}

	/** It has ended there, and left so many tokens in the cache of its slot. */
	#stays({ summary }: OfSession, { poolId, replicaId, address }: ReplicaFacts, tokens: number): void {
		const { sessionId } = summary;
		if (sessionId === null || tokens === 0) return;
		this.#dispatcher.tell({ type: 'session-task-runs', sessionId, at: { poolId, replicaId, address, tokens } });
	}

	/** It was never queued: nothing was used, and it was no turn. */
	refused(task: OfSession): void {
		this.#over(task, nothing, true);
	}

	/** Its slot is gone with its engine, and it comes back for another. */
	lost(task: OfSession): void {
		this.#between(task, nothing);
	}

	/** It left the queue without a slot. */
	left(task: OfSession): void {
		this.#over(task, nothing, false);
	}

	settled(task: OfSession, settlement: Settlement, heldMs: number, facts: ReplicaFacts | null): void {
		const { tokensOut, outcome } = settlement;
		// Of one that goes on the prompt was paid with the slot where it began.
		const goneOn = (task.summary.resume?.tokens ?? 0) > 0;
		const tokensIn = goneOn ? 0 : settlement.tokensIn;
		if (outcome === 'unused' && tokensIn + tokensOut === 0) return goesOn(settlement) ? this.#between(task, nothing) : this.left(task);
		const { perTokenIn, perTokenOut } = this.#spec.prices;
		const gpuMs = heldMs * gpusOf(this.#spec, facts);
		const cost = tokensIn * perTokenIn + tokensOut * perTokenOut;
		const used = { tokens: tokensIn + tokensOut, timeMs: heldMs, cost, gpuMs };
		if (facts !== null) this.#stays(task, facts, settlement.tokensIn + tokensOut);
		if (goesOn(settlement)) this.#between(task, used);
		else this.#over(task, used, false);
	}

	/** Nobody will ever say what it came to: all that was reserved. */
	vanished(task: OfSession): void {
		this.#over(task, null, false);
	}

	#between({ summary, terms }: OfSession, used: Amounts): void {
		const { sessionId } = summary;
		if (sessionId === null || terms.lease === null) return;
		this.#dispatcher.tell({ type: 'session-task-between', sessionId, lease: terms.lease, used });
	}

	#over({ summary, terms }: OfSession, used: Amounts | null, refused: boolean): void {
		const { sessionId } = summary;
		if (sessionId === null || terms.lease === null) return;
		this.#dispatcher.tell({ type: 'session-task-over', sessionId, lease: terms.lease, used, refused });
	}
}

/** It comes back for another slot. */
function goesOn({ outcome, reason }: Settlement): boolean {
	return outcome === 'moved' || (outcome === 'unused' && reason === 'unreachable');
}

/** Devices that a task of the pool keeps busy. */
export function gpusOf({ devices }: PoolSpec, facts: ReplicaFacts | null): number {
	return devices?.length ?? (facts?.device.startsWith('GPU') === true ? 1 : 0);
}
