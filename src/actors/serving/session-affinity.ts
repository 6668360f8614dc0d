/**
 * Which pool had the last task of a session: its next one finds there what is still in the cache. For the Dispatcher alone;
 * bounded, the least recently used go first.
 */
const kept = 10_000;

export class SessionAffinity {
	readonly #pools = new Map<string, string>();

	poolOf(sessionId: string | null): string | null {
		return sessionId === null ? null : (this.#pools.get(sessionId) ?? null);
	}

	went(sessionId: string | null, poolId: string): void {
		if (sessionId === null) return;
		this.#pools.delete(sessionId);
		this.#pools.set(sessionId, poolId);
		if (this.#pools.size <= kept) return;
		for (const oldest of this.#pools.keys()) {
			this.#pools.delete(oldest);
			return;
		}
	}
}
