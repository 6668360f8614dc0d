/** Tries again what may pass by itself: growing delays, the server's own wish first, until there have been too many failures in a row. */
import { asFetchError, FetchCanceled, FetchError } from './fetch-error.ts';

export interface RetryRules {
	readonly firstMs: number;
	readonly maxMs: number;
	/** Failures in a row, without any progress, before it is given up. */
	readonly failuresMax: number;
}

export interface RetryOptions {
	readonly about: string;
	readonly retry: RetryRules;
	readonly signal: AbortSignal;
	/** It waits before another try; null: it goes on. */
	onWait(note: string | null): void;
	/** The higher, the further it has come. Default: it is done or not. */
	readonly progress?: () => number;
}

/** Throws `FetchError` or `FetchCanceled`. */
export async function retrying<T>(
	attempt: () => Promise<T>,
	{ about, retry, signal, onWait, progress = () => 0 }: RetryOptions,
): Promise<T> {
	let best = progress();
	for (let failures = 0; ; ) {
		try {
			return await attempt();
		} catch (thrown) {
			if (signal.aborted) throw new FetchCanceled();
			const error = asFetchError(thrown, about);
			if (error instanceof FetchCanceled || !error.retriable) throw error;
			const reached = progress();
			failures = reached > best ? 1 : failures + 1;
			best = Math.max(best, reached);
			if (failures > retry.failuresMax) {
				const words = `${error.message}; given up after ${failures} tries in a row`;
				throw new FetchError(error.code, words, { retriable: true });
			}
			const delayMs = error.retryAfterMs ?? backoffMs(failures, retry);
			onWait(`${error.message}; tried again in ${(delayMs / 1000).toFixed(1)} s`);
			await pause(delayMs, signal);
			onWait(null);
		}
	}
}

function backoffMs(failures: number, { firstMs, maxMs }: RetryRules): number {
	return Math.min(maxMs, firstMs * 2 ** Math.min(failures - 1, 16)) * (0.9 + 0.2 * Math.random());
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
	return new Promise((resolve, reject) => {
		const stop = (): void => {
			clearTimeout(timer);
			reject(new FetchCanceled());
		};
		const timer = setTimeout(() => {
			signal.removeEventListener('abort', stop);
			resolve();
		}, ms);
		if (signal.aborted) stop();
		else signal.addEventListener('abort', stop, { once: true });
	});
}
