/**
 * How long the engines of a pool take from their start to readiness, by model: as measured, before that as configured
 * (`perf_prior.load_ms`), else a guess. Of a load that goes on it says what the past ones would leave of it. Pure; one a pool, on the
 * control thread, the one place where this is known. A new control thread is told the last load of each engine by its Replica.
 */

import type { ModelFetch } from './warm-up-messages.ts';

/** What is left of a load, ms. */
export interface LoadLeft {
	/** As likely sooner as later. */
	readonly p50Ms: number;
	/** Not exceeded by nine of ten. */
	readonly p90Ms: number;
	/** What is as likely as each other: at least one, ascending. */
	readonly possibleMs: readonly number[];
	/** `guess`: nobody has measured it or said it. */
	readonly basis: 'measured' | 'prior' | 'guess';
}

/** Of a pool none of whose replicas takes tasks: what is left until one does. */
export interface WarmUp extends LoadLeft {
	/** `running`: an engine is being started; `waiting`: it will be, for it has failed. */
	readonly status: 'running' | 'waiting';
	/** Its model comes first, which is counted in; null: it is here. */
	readonly fetch: ModelFetch | null;
}

/** Loads of a model that are remembered, and models. */
const kept = 16;
const modelsMax = 16;
const guessMs = 5_000;

export class LoadTimes {
	/** As configured, ms; null: it is not. */
	prior: number | null;
	/** Ascending, and in order of arrival; the model that was loaded last is the last. */
	readonly #models = new Map<string, { readonly sorted: number[]; readonly arrived: number[] }>();

	constructor(prior: number | null) {
		this.prior = prior;
	}

	/** What a control thread before this one had measured, where this one has nothing yet. */
	recall(model: string, loadMs: number): void {
		if (!this.#models.has(model)) this.measured(model, loadMs);
	}

	measured(model: string, loadMs: number): void {
		const loads = this.#models.get(model) ?? { sorted: [], arrived: [] };
		this.#models.delete(model);
		this.#models.set(model, loads);
		if (loads.arrived.length === kept) loads.sorted.splice(loads.sorted.indexOf(loads.arrived.shift() as number), 1);
		loads.arrived.push(loadMs);
		loads.sorted.push(loadMs);
		loads.sorted.sort((a, b) => a - b);
		const [oldest] = this.#models.keys();
		if (this.#models.size > modelsMax && oldest !== undefined) this.#models.delete(oldest);
	}

	/** As long as what was loaded last here, whatever it was. */
	get #guessMs(): number {
		const last = [...this.#models.values()].at(-1)?.sorted ?? [];
		return last[last.length >> 1] ?? guessMs;
	}

	/** Of a load that has gone on for so long. */
	left(model: string, elapsedMs: number): LoadLeft {
		const measured = this.#models.get(model)?.sorted;
		const known = measured ?? (this.prior === null ? [] : [this.prior]);
		const possibleMs = known.filter((each) => each >= elapsedMs).map((each) => each - elapsedMs);
		const basis = measured !== undefined ? 'measured' : known.length > 0 ? 'prior' : 'guess';
		// Longer than any that was known: it may be over at once, or go on for as long as it has.
		if (possibleMs.length === 0)
			return anyOf(basis === 'guess' ? Math.max(this.#guessMs - elapsedMs, elapsedMs / 2) : elapsedMs / 2, basis);
		return {
			p50Ms: possibleMs[(possibleMs.length - 1) >> 1] as number,
			p90Ms: possibleMs[Math.min(possibleMs.length, Math.ceil((possibleMs.length + 1) * 0.9)) - 1] as number,
			possibleMs,
			basis,
		};
	}
}

/** Of what nobody knows: from nothing to four times as much. */
function anyOf(middleMs: number, basis: LoadLeft['basis']): LoadLeft {
	return { p50Ms: middleMs, p90Ms: 4 * middleMs, possibleMs: [0, middleMs / 2, middleMs, 2 * middleMs, 4 * middleMs], basis };
}

/** What is left when the load begins only in a while. */
export function later(left: LoadLeft, inMs: number): LoadLeft {
	return {
		p50Ms: inMs + left.p50Ms,
		p90Ms: inMs + left.p90Ms,
		possibleMs: left.possibleMs.map((each) => inMs + each),
		basis: left.basis,
	};
}
