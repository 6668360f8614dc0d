/**
 * What an owner may still use, kind by kind, as leases: reserved before it is used, settled by what it came to, so that tasks
 * beside each other never use more than there is. Pure; owned by the book of sessions.
 */
export const budgetKinds = ['tokens', 'timeMs', 'cost', 'gpuMs'] as const;
export type BudgetKind = (typeof budgetKinds)[number];
/** Tokens, ms of a slot, the currency of the pools' prices, ms of a GPU. */
export type Amounts = Readonly<Record<BudgetKind, number>>;
/** Null: without limit. */
export type Limits = Readonly<Record<BudgetKind, number | null>>;

export const nothing: Amounts = { tokens: 0, timeMs: 0, cost: 0, gpuMs: 0 };
export const unlimited: Limits = { tokens: null, timeMs: null, cost: null, gpuMs: null };

export class Budget {
	/** Of all that was and will be used. */
	#limits: Limits = unlimited;
	#used: Amounts = nothing;
	#reserved: Amounts = nothing;
	readonly #leases = new Map<number, Amounts>();
	/** Of leases that were handed over: who has what they had. */
	readonly #heirs = new Map<number, number>();

	/** Who kept it before may have reserved more than is known to be left. */
	#restored = false;

	get limits(): Limits {
		return this.#limits;
	}

	get used(): Amounts {
		return this.#used;
	}

	/** As it was kept elsewhere. */
	restore(limits: Limits): void {
		this.#limits = limits;
		this.#restored = true;
	}

	/** Without a lease: it was used before this budget was kept here. */
	use(amounts: Amounts): void {
		this.#used = plus(this.#used, amounts, 1);
	}

	get limited(): boolean {
		return budgetKinds.some((kind) => this.#limits[kind] !== null);
	}

	/** Leases that are out. */
	get open(): number {
		return this.#leases.size;
	}

	/** From now on so much may be used, beside what is reserved already; kinds that are not named stay as they are. */
	set(limits: Partial<Limits>): void {
		const next: Record<BudgetKind, number | null> = { ...this.#limits };
		for (const kind of budgetKinds) {
			const limit = limits[kind];
			if (limit === null) next[kind] = null;
			else if (limit !== undefined) next[kind] = limit + this.#used[kind] + this.#reserved[kind];
		}
		this.#limits = next;
	}

	/** What a newcomer may reserve; null: without limit, 0: exhausted. */
	remaining(kind: BudgetKind): number | null {
		const limit = this.#limits[kind];
		return limit === null ? null : Math.max(0, limit - this.#used[kind] - this.#reserved[kind]);
	}

	/** Never more than remains: the caller has asked. */
	reserve(lease: number, amounts: Amounts): void {
		if (this.#leases.has(lease)) throw new Error(`${lease} has reserved already`);
		this.#leases.set(lease, amounts);
		this.#reserved = plus(this.#reserved, amounts, 1);
	}

	/** Another lease has what `from` had. False: that is not known. */
	handOver(from: number, to: number): boolean {
		const amounts = this.#leases.get(from);
		if (amounts === undefined) return false;
		this.#leases.delete(from);
		this.#leases.set(to, amounts);
		this.#heirs.set(from, to);
		return true;
	}

	/** A part of what a lease holds is used; it goes on with the rest. */
	draw(lease: number, used: Amounts): void {
		const reserved = this.#leases.get(lease);
		if (reserved === undefined) return this.#settleForHeir(lease, used);
		const taken = least(used, reserved);
		this.#leases.set(lease, plus(reserved, taken, -1));
		this.#reserved = plus(this.#reserved, taken, -1);
		this.use(taken);
	}

	/** What was used of a lease, no more than it holds; null: all of it. What was handed over is its heir's. */
	settle(lease: number, used: Amounts | null): void {
		const reserved = this.#leases.get(lease);
		if (reserved === undefined) return this.#settleForHeir(lease, used ?? nothing);
		this.#leases.delete(lease);
		if (this.#leases.size === 0) this.#heirs.clear();
		this.#reserved = this.#leases.size === 0 ? nothing : plus(this.#reserved, reserved, -1);
		this.#used = plus(this.#used, used === null ? reserved : least(used, reserved), 1);
	}

	/** What was used of a lease before it was handed over is taken from what its heir has. */
	#settleForHeir(lease: number, used: Amounts): void {
		const heir = this.#heirs.get(lease);
		this.#heirs.delete(lease);
		if (heir !== undefined && this.#leases.has(heir)) this.draw(heir, used);
	}

	/** In use = the sum of leases, and never above a limit. Null: so it is; else what is wrong. */
	drift(): string | null {
		for (const kind of budgetKinds) {
			const sum = [...this.#leases.values()].reduce((total, lease) => total + lease[kind], 0);
			if (Math.abs(sum - this.#reserved[kind]) > 1e-6) return `${kind}: ${this.#reserved[kind]} reserved, leases hold ${sum}`;
			const limit = this.#limits[kind];
			const over = limit === null ? 0 : this.#reserved[kind] + this.#used[kind] - limit;
			if (over > 1e-6 && this.#leases.size > 0 && !this.#restored) return `${kind}: ${over} more than the limit is reserved`;
		}
		return null;
	}
}

/** The most of each. */
export function most(a: Amounts, b: Amounts): Amounts {
	return {
		tokens: Math.max(a.tokens, b.tokens),
		timeMs: Math.max(a.timeMs, b.timeMs),
		cost: Math.max(a.cost, b.cost),
		gpuMs: Math.max(a.gpuMs, b.gpuMs),
	};
}

export function least(a: Amounts, b: Amounts): Amounts {
	return {
		tokens: Math.min(a.tokens, b.tokens),
		timeMs: Math.min(a.timeMs, b.timeMs),
		cost: Math.min(a.cost, b.cost),
		gpuMs: Math.min(a.gpuMs, b.gpuMs),
	};
}

export function plus(a: Amounts, b: Amounts, sign: 1 | -1): Amounts {
	return {
		tokens: a.tokens + sign * b.tokens,
		timeMs: a.timeMs + sign * b.timeMs,
		cost: a.cost + sign * b.cost,
		gpuMs: a.gpuMs + sign * b.gpuMs,
	};
}
