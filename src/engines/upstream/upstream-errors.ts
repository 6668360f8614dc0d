/** From what an engine answers to what our client is told. Pure. What an engine says may quote the request: it is not repeated. */
import { type EngineKind, type Failure, failure } from '../../actors/serving/failure.ts';

const retryMaxMs = 30_000;
const retryDefaultMs = 1_000;

/** `retryAfter`: the header, seconds or a date; null without. */
export function failureOf(status: number, engine: EngineKind, retryAfter: string | null, now: number): Failure {
	const says = `the engine answered ${status}`;
	switch (status) {
		case 400:
		case 422:
			return failure('INVALID_PARAMS', `${says}: it does not take this request`, { engine });
		case 413:
			return failure('PAYLOAD_TOO_LARGE', `${says}: the request is too long for it`, { engine });
		case 401:
		case 403:
			// Not our client's key, but ours.
			return failure('POOL_UNAVAILABLE', `${says}: the key of the pool is not accepted`, { engine, retriable: false });
		case 404:
			return failure('POOL_UNAVAILABLE', `${says}: it does not know the model or the path`, { engine, retriable: false });
		case 409:
			return failure('POOL_UNREADY', `${says}: it is busy with something else`, { engine, retryAfterMs: retryMs(retryAfter, now) });
		case 408:
		case 504:
			return failure('DECODE_TIMEOUT', says, { engine });
		case 429:
			return failure('ADMISSION_REJECT', `${says}: it has too much to do`, {
				engine,
				policyLabel: 'upstream',
				retryAfterMs: retryMs(retryAfter, now),
			});
		case 501:
			return failure('INVALID_PARAMS', `${says}: it cannot do that, as it was started`, { engine });
		case 503:
			return failure('POOL_UNREADY', `${says}: it is not ready`, { engine, retryAfterMs: retryMs(retryAfter, now) });
		default:
			return failure('WORKER_RESET', says, { engine });
	}
}

/** Milliseconds of a `Retry-After`, at most half a minute. */
export function retryMs(retryAfter: string | null, now: number): number {
	if (retryAfter === null) return retryDefaultMs;
	const seconds = /^\d{1,9}$/.test(retryAfter.trim()) ? Number(retryAfter) * 1_000 : Date.parse(retryAfter) - now;
	return Number.isFinite(seconds) ? Math.min(retryMaxMs, Math.max(1, Math.round(seconds))) : retryDefaultMs;
}
