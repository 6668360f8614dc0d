/**
 * The rates of the API keys, as token buckets in memory that all front threads share, so that a limit holds over all of them
 * together. No lock: a bucket is one word, the moment at which it is full again, moved by compare-and-swap (the generic cell
 * rate algorithm, ITU-T I.371). Main makes the memory, so no thread's end empties or fills a bucket.
 *
 * | word (BigInt64) of a key | meaning |
 * |---|---|
 * | 0 | when the bucket of requests is full, µs of the process's clock |
 * | 1 | when the bucket of tokens is full; later than its capacity allows: it is in debt |
 */
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { RateLimit } from '../../actors/serving/rate-limit.ts';

/** Null: no limit. */
export interface KeyRate {
	readonly requestsPerMinute: number | null;
	/** Requests that may come at once. */
	readonly burst: number;
	readonly tokensPerMinute: number | null;
}

const wordsPerKey = 2;
const minuteUs = 60_000_000;

/** What `capacity` units of something cost, and how long one takes to come back. */
interface Bucket {
	readonly word: number;
	readonly capacity: number;
	readonly usPerUnit: number;
}

interface Metered {
	readonly requests: Bucket | null;
	readonly tokens: Bucket | null;
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
		const bucket = keyName === null ? null : (this.#keys.get(keyName)?.tokens ?? null);
		if (bucket === null) return;
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
		const { requests, tokens: volume } = metered;
		const requestWaitUs = requests === null ? 0 : this.#draw(requests, 1, nowUs, takes);
		if (requests !== null && requestWaitUs > 0)
			return limited(`the key ${keyName} has sent as many requests as it may for now (${perMinute(requests)} a minute)`, requestWaitUs);
		if (volume === null) return null;
		// One that is larger than the bucket takes a full one.
		const tokenWaitUs = this.#draw(volume, Math.min(tokens, volume.capacity), nowUs, takes);
		if (tokenWaitUs === 0) return null;
		if (requests !== null && takes) Atomics.sub(this.#words, requests.word, BigInt(Math.round(requests.usPerUnit)));
		return limited(
			`the key ${keyName} has used as many tokens as it may for now (${perMinute(volume)} a minute; this needs up to ${tokens})`,
			tokenWaitUs,
		);
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
