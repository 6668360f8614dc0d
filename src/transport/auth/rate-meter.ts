/**
 * The rates and budgets of the API keys; rates as token buckets in memory that all front threads share, so that a limit holds over all of them
 * together. No lock: a bucket is one word, the moment at which it is full again, moved by compare-and-swap (the generic cell
 * rate algorithm, ITU-T I.371). Main makes the memory, so no thread's end empties or fills a bucket.
 *
 * | word (BigInt64) of a key | meaning |
 * |---|---|
 * | 0 | when the bucket of requests is full, µs of the process's clock |
 * | 1 | when the bucket of tokens is full; later than its capacity allows: it is in debt |
 * | 2 | tokens of the budget that are used or reserved |
 */
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { RateLimit } from '../../actors/serving/rate-limit.ts';

/** Null: no limit. */
export interface KeyRate {
	readonly requestsPerMinute: number | null;
	/** Requests that may come at once. */
	readonly burst: number;
	readonly tokensPerMinute: number | null;
	/** For as long as the daemon runs. */
	readonly tokensBudget: number | null;
}

const wordsPerKey = 3;
const minuteUs = 60_000_000;
/** What running tasks have reserved and do not use comes back within a while, or nothing does. */
const budgetRetryMs = 10_000;

/** What `capacity` units of something cost, and how long one takes to come back. */
interface Bucket {
	readonly word: number;
	readonly capacity: number;
	readonly usPerUnit: number;
}

interface Metered {
	readonly requests: Bucket | null;
	readonly tokens: Bucket | null;
	readonly budget: { readonly word: number; readonly limit: number } | null;
}

export function rateMemory(keys: number): SharedArrayBuffer {
	return new SharedArrayBuffer(Math.max(1, keys) * wordsPerKey * BigInt64Array.BYTES_PER_ELEMENT);
}

export class RateMeter implements RateLimit {
	readonly #words: BigInt64Array;
	readonly #keys = new Map<string, Metered>();
	readonly #nowMs: () => number;

	/** `keys` in the same order on every thread; `nowMs`: the same clock on every thread. */
	constructor(keys: readonly { readonly name: string; readonly rate: KeyRate }[], memory: SharedArrayBuffer, nowMs: () => number) {
		this.#words = new BigInt64Array(memory);
		this.#nowMs = nowMs;
		for (const [index, { name, rate }] of keys.entries()) {
			const bucket = (word: number, perMinute: number | null, capacity: number): Bucket | null =>
				perMinute === null ? null : { word: index * wordsPerKey + word, capacity, usPerUnit: minuteUs / perMinute };
			this.#keys.set(name, {
				requests: bucket(0, rate.requestsPerMinute, rate.burst),
				tokens: bucket(1, rate.tokensPerMinute, rate.tokensPerMinute ?? 0),
				budget: rate.tokensBudget === null ? null : { word: index * wordsPerKey + 2, limit: rate.tokensBudget },
			});
		}
	}

	take(keyName: string | null, tokens: number): Failure | null {
		return this.#ask(keyName, tokens, true);
	}

	check(keyName: string | null, tokens: number): Failure | null {
		return this.#ask(keyName, tokens, false);
	}

	giveBack(keyName: string | null, tokens: number): void {
		const metered = keyName === null ? undefined : this.#keys.get(keyName);
		if (metered === undefined) return;
		if (metered.budget !== null) Atomics.sub(this.#words, metered.budget.word, BigInt(Math.round(tokens)));
		if (metered.tokens !== null) this.#refill(metered.tokens, tokens);
	}

	#refill(bucket: Bucket, tokens: number): void {
		const backUs = BigInt(Math.round(tokens * bucket.usPerUnit));
		const nowUs = BigInt(Math.round(this.#nowMs() * 1_000));
		for (;;) {
			const before = Atomics.load(this.#words, bucket.word);
			// A debt begins now; what comes back to a bucket that is full is nothing.
			const after = (backUs < 0n && before < nowUs ? nowUs : before) - backUs;
			if (Atomics.compareExchange(this.#words, bucket.word, before, after) === before) return;
		}
	}

	#ask(keyName: string | null, tokens: number, takes: boolean): Failure | null {
		const metered = keyName === null ? undefined : this.#keys.get(keyName);
		if (metered === undefined) return null;
		const nowUs = Math.round(this.#nowMs() * 1_000);
		const { requests, tokens: volume, budget } = metered;
		const requestWaitUs = requests === null ? 0 : this.#draw(requests, 1, nowUs, takes);
		if (requests !== null && requestWaitUs > 0)
			return limited(`the key ${keyName} has sent as many requests as it may for now (${perMinute(requests)} a minute)`, requestWaitUs);
		const refused = this.#askVolume(keyName, volume, tokens, nowUs, takes) ?? this.#askBudget(keyName, metered, tokens, takes);
		if (refused !== null && takes && requests !== null) Atomics.sub(this.#words, requests.word, BigInt(Math.round(requests.usPerUnit)));
		if (refused !== null && takes && volume !== null && budget !== null && refused.policyLabel !== 'rate')
			this.#refill(volume, Math.min(tokens, volume.capacity));
		return refused;
	}

	#askVolume(keyName: string | null, volume: Bucket | null, tokens: number, nowUs: number, takes: boolean): Failure | null {
		if (volume === null) return null;
		// One that is larger than the bucket takes a full one.
		const waitUs = this.#draw(volume, Math.min(tokens, volume.capacity), nowUs, takes);
		if (waitUs === 0) return null;
		const words = `the key ${keyName} has used as many tokens as it may for now (${perMinute(volume)} a minute; this needs up to ${tokens})`;
		return limited(words, waitUs);
	}

	#askBudget(keyName: string | null, { budget }: Metered, tokens: number, takes: boolean): Failure | null {
		if (budget === null) return null;
		for (;;) {
			const before = Atomics.load(this.#words, budget.word);
			const left = budget.limit - Number(before);
			if (tokens > left) {
				const words = `the token budget of the key ${keyName} has ${Math.max(0, left)} left; the task needs up to ${tokens}`;
				return failure('ADMISSION_REJECT', words, { policyLabel: 'budget.tokens', retryAfterMs: budgetRetryMs });
			}
			if (!takes || Atomics.compareExchange(this.#words, budget.word, before, before + BigInt(Math.round(tokens))) === before) return null;
		}
	}

	/** 0: there are so many units, and with `takes` they are taken; else how long until there are. */
	#draw({ word, capacity, usPerUnit }: Bucket, units: number, nowUs: number, takes: boolean): number {
		const cost = Math.round(units * usPerUnit);
		const depth = Math.round(capacity * usPerUnit);
		for (;;) {
			const before = Atomics.load(this.#words, word);
			const fullAt = Math.max(nowUs, Number(before)) + cost;
			if (fullAt - nowUs > depth) return fullAt - nowUs - depth;
			if (!takes || Atomics.compareExchange(this.#words, word, before, BigInt(fullAt)) === before) return 0;
		}
	}
}

function perMinute({ usPerUnit }: Bucket): number {
	return Math.round((minuteUs / usPerUnit) * 1_000) / 1_000;
}

function limited(words: string, waitUs: number): Failure {
	return failure('ADMISSION_REJECT', words, { policyLabel: 'rate', retryAfterMs: Math.max(1, Math.ceil(waitUs / 1_000)) });
}
