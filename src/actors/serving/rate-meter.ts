/**
 * The rates and budgets of the API keys, in memory that all front threads share, so that a limit holds over all of them together. No
 * lock: a rate is a token bucket in one word, the moment at which it is full again (the generic cell rate algorithm, ITU-T I.371),
 * a budget what is used or reserved of it; both move by compare-and-swap. Main makes the memory, one for each name of a key,
 * so neither a thread's end nor a change of the configuration empties or fills anything.
 *
 * | word (BigInt64) of a key | meaning |
 * |---|---|
 * | 0 | when the bucket of requests is full, µs of the process's clock |
 * | 1 | when the bucket of tokens is full; later than its capacity allows: it is in debt |
 * | 2 … 5 | what is used or reserved of tokens, time (µs), cost (10⁻⁹) and GPU time (µs), whether or not there is a limit |
 */
import { type Amounts, type BudgetKind, budgetKinds, type Limits } from './budget.ts';
import { type Weighed, weigh } from './budget-weighing.ts';
import { type Failure, failure } from './failure.ts';
import { type KeyAsk, type KeyTerms, noKeyTerms, type RateLimit } from './rate-limit.ts';

/** Null: no limit. */
export interface KeyRate {
	readonly requestsPerMinute: number | null;
	/** Requests that may come at once. */
	readonly burst: number;
	readonly tokensPerMinute: number | null;
}

/** A key as the meter needs it. */
export interface MeteredKey {
	readonly name: string;
	readonly rate: KeyRate;
	/** For as long as the daemon runs. */
	readonly budgets: Limits;
	/** The same for all who meter the name. */
	readonly memory: SharedArrayBuffer;
}

const requestsWord = 0;
const tokensWord = 1;
const budgetWord = 2;
const words = budgetWord + budgetKinds.length;
const minuteUs = 60_000_000;
/** Units of a budget in one of its kind. */
const scales: Amounts = { tokens: 1, timeMs: 1_000, cost: 1e9, gpuMs: 1_000 };
/** What running tasks have reserved and do not use comes back within a while, or nothing does. */
const budgetRetryMs = 10_000;

/** What `capacity` units of something cost, and how long one takes to come back. */
interface Bucket {
	readonly word: number;
	readonly capacity: number;
	readonly usPerUnit: number;
}

interface Metered {
	readonly words: BigInt64Array;
	readonly requests: Bucket | null;
	readonly tokens: Bucket | null;
	readonly limits: Limits;
	readonly limited: boolean;
}

/** Of one key. */
export function rateMemory(): SharedArrayBuffer {
	return new SharedArrayBuffer(words * BigInt64Array.BYTES_PER_ELEMENT);
}

export class RateMeter implements RateLimit {
	/** Those that are none any more too: their tasks still give back what they do not use. */
	readonly #keys = new Map<string, Metered>();
	readonly #nowMs: () => number;

	/** `nowMs`: the same clock on every thread. */
	constructor(keys: readonly MeteredKey[], nowMs: () => number) {
		this.#nowMs = nowMs;
		this.use(keys);
	}

	/** From now on these are the limits; what was used stays used. */
	use(keys: readonly MeteredKey[]): void {
		for (const { name, rate, budgets, memory } of keys) {
			this.#keys.set(name, {
				words: new BigInt64Array(memory),
				requests: bucketOf(requestsWord, rate.requestsPerMinute, rate.burst),
				tokens: bucketOf(tokensWord, rate.tokensPerMinute, rate.tokensPerMinute ?? 0),
				limits: budgets,
				limited: budgetKinds.some((kind) => budgets[kind] !== null),
			});
		}
	}

	take(keyName: string | null, ask: KeyAsk): KeyTerms | Failure {
		const metered = keyName === null ? undefined : this.#keys.get(keyName);
		return metered === undefined ? noKeyTerms : this.#ask(keyName as string, metered, ask, true);
	}

	check(keyName: string | null, ask: KeyAsk): Failure | null {
		const metered = keyName === null ? undefined : this.#keys.get(keyName);
		const asked = metered === undefined ? noKeyTerms : this.#ask(keyName as string, metered, ask, false);
		return 'code' in asked ? asked : null;
	}

	settle(keyName: string | null, { tokens, reserved }: KeyTerms, used: Amounts): void {
		const metered = keyName === null ? undefined : this.#keys.get(keyName);
		if (metered === undefined) return;
		for (const [at, kind] of budgetKinds.entries())
			Atomics.add(metered.words, budgetWord + at, unitsOf(kind, used[kind]) - unitsOf(kind, reserved[kind]));
		if (metered.tokens !== null) this.#refill(metered, metered.tokens, tokens - used.tokens);
	}

	#ask(keyName: string, metered: Metered, ask: KeyAsk, takes: boolean): KeyTerms | Failure {
		const nowUs = Math.round(this.#nowMs() * 1_000);
		const { requests, tokens: volume } = metered;
		const requestWaitUs = requests === null ? 0 : draw(metered, requests, 1, nowUs, takes);
		if (requests !== null && requestWaitUs > 0)
			return limited(`the key ${keyName} has sent as many requests as it may for now (${perMinute(requests)} a minute)`, requestWaitUs);
		const undoRequest = (): void => {
			if (takes && requests !== null) Atomics.sub(metered.words, requestsWord, BigInt(Math.round(requests.usPerUnit)));
		};
		// One that is larger than the bucket takes a full one.
		const fromVolume = volume === null ? 0 : Math.min(ask.tokens, volume.capacity);
		const volumeWaitUs = volume === null ? 0 : draw(metered, volume, fromVolume, nowUs, takes);
		if (volume !== null && volumeWaitUs > 0) {
			undoRequest();
			const said = `the key ${keyName} has used as many tokens as it may for now (${perMinute(volume)} a minute; this needs up to ${ask.tokens})`;
			return limited(said, volumeWaitUs);
		}
		const weighed = reserve(keyName, metered, ask, takes);
		if ('code' in weighed) {
			undoRequest();
			if (takes && volume !== null) this.#refill(metered, volume, fromVolume);
			return weighed;
		}
		const { reserve: reserved, outputCap, wallCapMs } = weighed;
		return { tokens: fromVolume, reserved, outputCap, wallCapMs, left: metered.limited ? leftOf(metered, takenOf(metered)) : null };
	}

	#refill({ words: memory }: Metered, bucket: Bucket, tokens: number): void {
		const backUs = BigInt(Math.round(tokens * bucket.usPerUnit));
		const nowUs = BigInt(Math.round(this.#nowMs() * 1_000));
		for (;;) {
			const before = Atomics.load(memory, bucket.word);
			// A debt begins now; what comes back to a bucket that is full is nothing.
			const after = (backUs < 0n && before < nowUs ? nowUs : before) - backUs;
			if (Atomics.compareExchange(memory, bucket.word, before, after) === before) return;
		}
	}
}

function bucketOf(word: number, ofMinute: number | null, capacity: number): Bucket | null {
	return ofMinute === null ? null : { word, capacity, usPerUnit: minuteUs / ofMinute };
}

function unitsOf(kind: BudgetKind, amount: number): bigint {
	return BigInt(Math.round(amount * scales[kind]));
}

/** What is used or reserved now, kind by kind. */
function takenOf({ words: memory }: Metered): bigint[] {
	return budgetKinds.map((_kind, at) => Atomics.load(memory, budgetWord + at));
}

function leftOf({ limits }: Metered, taken: readonly bigint[]): Limits {
	const [tokens = null, timeMs = null, cost = null, gpuMs = null] = budgetKinds.map((kind, at) => {
		const limit = limits[kind];
		return limit === null ? null : Math.max(0, Number(unitsOf(kind, limit) - (taken[at] ?? 0n)) / scales[kind]);
	});
	return { tokens, timeMs, cost, gpuMs };
}

/** All kinds, or none: what another thread has moved meanwhile is weighed again. */
function reserve(keyName: string, metered: Metered, ask: KeyAsk, takes: boolean): Weighed | Failure {
	const { words: memory } = metered;
	const owner = { name: `the key ${keyName}`, retryAfterMs: budgetRetryMs };
	for (;;) {
		const before = takenOf(metered);
		const weighed = weigh(leftOf(metered, before), ask, ask.worst, owner);
		if ('code' in weighed || !takes) return weighed;
		const wanted = budgetKinds.map((kind) => unitsOf(kind, weighed.reserve[kind]));
		const moved = budgetKinds.findIndex((_kind, at) => {
			const was = before[at] as bigint;
			return Atomics.compareExchange(memory, budgetWord + at, was, was + (wanted[at] as bigint)) !== was;
		});
		if (moved < 0) return weighed;
		for (let at = 0; at < moved; at += 1) Atomics.sub(memory, budgetWord + at, wanted[at] as bigint);
	}
}

/** 0: there are so many units, and with `takes` they are taken; else how long until there are. */
function draw({ words: memory }: Metered, { word, capacity, usPerUnit }: Bucket, units: number, nowUs: number, takes: boolean): number {
	const cost = Math.round(units * usPerUnit);
	const depth = Math.round(capacity * usPerUnit);
	for (;;) {
		const before = Atomics.load(memory, word);
		const fullAt = Math.max(nowUs, Number(before)) + cost;
		if (fullAt - nowUs > depth) return fullAt - nowUs - depth;
		if (!takes || Atomics.compareExchange(memory, word, before, BigInt(fullAt)) === before) return 0;
	}
}

function perMinute({ usPerUnit }: Bucket): number {
	return Math.round((minuteUs / usPerUnit) * 1_000) / 1_000;
}

function limited(said: string, waitUs: number): Failure {
	return failure('ADMISSION_REJECT', said, { policyLabel: 'rate', retryAfterMs: Math.max(1, Math.ceil(waitUs / 1_000)) });
}
