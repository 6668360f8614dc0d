/**
 * Which slot of a replica a task of a session is to have, for engines that let a client name one: that of the task before it, whose prompt
 * is held there. What an engine chooses by itself is often the slot of another session that began in the same words. Pure; part of the
 * ledger of leases, on the control thread.
 *
 * A slot is named only where it is sure to be idle: while the engine has chosen one for any task, nobody knows which is. Where tasks without
 * a session come in between, the engine chooses for all: it knows better than we which prompts it holds.
 */

interface NamedSlot {
	inUse: boolean;
	/** Whose prompt it holds; null: nobody's that comes again. */
	session: string | null;
	/** Grows with each use; 0: never used. */
	usedAt: number;
}

/** After a task without a session, so many times its slots of tasks that have one go by before slots are named again. */
const calmRounds = 4;

export class SessionSlots {
	readonly #slots: NamedSlot[];
	/** Tasks whose slot the engine has chosen. */
	#unnamed = 0;
	/** Tasks of sessions until slots are named again. */
	#calmIn = 0;
	#uses = 0;

	constructor(slots: number) {
		this.#slots = Array.from({ length: slots }, () => ({ inUse: false, session: null, usedAt: 0 }));
	}

	/** For the next task; null: the engine is to choose. */
	choose(session: string | null): number | null {
		if (session === null) {
			this.#calmIn = calmRounds * this.#slots.length;
			return null;
		}
		if (this.#calmIn > 0) this.#calmIn -= 1;
		if (this.#calmIn > 0 || this.#unnamed > 0) return null;
		let best = -1;
		for (const [index, slot] of this.#slots.entries()) {
			if (slot.inUse) continue;
			if (slot.session === session) return index;
			if (best < 0 || slot.usedAt < (this.#slots[best] as NamedSlot).usedAt) best = index;
		}
		return best < 0 ? null : best;
	}

	/** A task runs: in that slot; null: the engine chooses. */
	hold(slot: number | null, session: string | null): void {
		const named = slot === null ? undefined : this.#slots[slot];
		if (named === undefined) this.#unnamed += 1;
		else Object.assign(named, { inUse: true, session });
	}

	/** It runs no more. */
	free(slot: number | null): void {
		const named = slot === null ? undefined : this.#slots[slot];
		if (named === undefined) this.#unnamed -= 1;
		else {
			this.#uses += 1;
			named.inUse = false;
			named.usedAt = this.#uses;
		}
	}

	/** What is wrong, in words; `named`: the slots that leases have, `unnamed`: how many have none. */
	drift(named: readonly number[], unnamed: number): string | null {
		const inUse = this.#slots.filter((slot) => slot.inUse).length;
		const known = named.filter((slot) => slot < this.#slots.length);
		if (new Set(known).size !== known.length) return 'a slot is named by two leases';
		if (inUse !== known.length) return `${inUse} named slots in use, leases hold ${known.length}`;
		const others = unnamed + named.length - known.length;
		return this.#unnamed === others ? null : `${this.#unnamed} slots in use that the engine chose, leases hold ${others}`;
	}
}
