/**
 * What is kept of responses beside their tasks: what was asked for, as JSON, on the front thread of the task. Bounded in count and bytes; the oldest
 * go first. It hangs on the task's request, so that whoever finds the task finds it, from another front thread too.
 */
import type { TaskNote } from '../../../actors/serving/task-request.ts';

export interface ShelfLimits {
	readonly countMax: number;
	readonly bytesMax: number;
}

export class ShelfNote implements TaskNote {
	json: string | null;

	constructor(json: string) {
		this.json = json;
	}

	drop(): void {
		this.json = null;
	}
}

export class ResponseShelf {
	readonly #limits: ShelfLimits;
	/** In the order of their keeping, with the bytes that each was. */
	readonly #notes = new Map<ShelfNote, number>();
	#bytes = 0;

	constructor(limits: ShelfLimits) {
		this.#limits = limits;
	}

	get count(): number {
		return this.#notes.size;
	}

	/** Again: nothing. */
	keep(note: ShelfNote): void {
		if (note.json === null || this.#notes.has(note)) return;
		const bytes = Buffer.byteLength(note.json);
		this.#notes.set(note, bytes);
		this.#bytes += bytes;
		for (const [oldest, size] of this.#notes) {
			const fits = this.#notes.size <= this.#limits.countMax && this.#bytes <= this.#limits.bytesMax;
			if (fits && oldest.json !== null) break;
			oldest.drop();
			this.#notes.delete(oldest);
			this.#bytes -= size;
		}
	}
}
