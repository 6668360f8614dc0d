/** The ref of a local actor, and an actor as its relatives see it. A ref outlives its actor and keeps none of its state. */
import { type Address, LocalAddress } from './address.ts';
import type { Signal, StopReason } from './behavior.ts';
import type { Delivery } from './ref.ts';

/** A cell as its parent, its children and its system see it: whatever it understands. */
export interface Relative {
	readonly ref: Address<never>;
	readonly path: string;
	/** The path with `kind` in place of the name, where there is one: bounded in number. */
	readonly kindPath: string;
	readonly inboxLength: number;
	readonly children: Iterable<Relative>;
	/** Ends it after its current turn, its children first. */
	requestStop(): void;
	/** Asks it to finish its work and end; it is stopped after `shutdownMs` of its supervision. Idempotent. */
	requestDrain(): void;
	childFailed(signal: Signal): void;
	childEnded(name: string): void;
}

export class LocalRef<in M> extends LocalAddress<M> {
	readonly name: string;
	readonly parent: Address<never> | null;
	#cell: { tell(message: M): Delivery } | null;

	constructor(cell: { tell(message: M): Delivery }, name: string, parent: Address<never> | null) {
		super();
		this.#cell = cell;
		this.name = name;
		this.parent = parent;
	}

	tell(message: M): Delivery {
		return this.#cell === null ? 'closed' : this.#cell.tell(message);
	}

	override end(reason: StopReason): void {
		this.#cell = null;
		super.end(reason);
	}
}
