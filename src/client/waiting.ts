/** How long a client waits before it tries again. Pure but for the timer; for Node and browsers. */

const firstMs = 200;
const mostMs = 10_000;

/**
 * Before try `attempt` (from 1). What the daemon said is the least, and a quarter more at most, so that those who were refused
 * together do not come back together; without its word, full jitter over a delay that doubles (Brooker, "Exponential Backoff And
 * Jitter", AWS 2015).
 */
export function backoffMs(attempt: number, retryAfterMs: number | null, random: number, baseMs = firstMs): number {
	if (retryAfterMs !== null) return retryAfterMs * (1 + random / 4);
	return random * Math.min(mostMs, baseMs * 2 ** (attempt - 1));
}

/** Rejects with the reason of `signal` when that aborts. */
export function wait(ms: number, signal?: AbortSignal): Promise<void> {
	return new Promise((resolve, reject) => {
		if (signal?.aborted === true) return reject(signal.reason as Error);
		const aborted = (): void => {
			clearTimeout(timer);
			reject(signal?.reason as Error);
		};
		const timer = setTimeout(() => {
			signal?.removeEventListener('abort', aborted);
			resolve();
		}, ms);
		signal?.addEventListener('abort', aborted, { once: true });
	});
}
