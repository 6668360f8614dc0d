/**
 * The only file that knows HTTP numbers: the status of each failure code, and the envelope and headers that carry a
 * failure to a client. Pure.
 */
import type { Failure, FailureCode } from '../../actors/serving/failure.ts';
import type { Header } from '../http/http-host.ts';

const statusOf: Readonly<Record<FailureCode, number>> = {
	INVALID_PARAMS: 400,
	DEADLINE_UNMET: 400,
	UNAUTHORIZED: 401,
	FORBIDDEN: 403,
	NOT_FOUND: 404,
	CONFLICT: 409,
	EVENTS_EXPIRED: 410,
	// 409 would be right, too, but the official clients of other APIs try that again.
	CANCELED: 410,
	MODEL_DEPRECATED: 409,
	PAYLOAD_TOO_LARGE: 413,
	UNTRUSTED_ARTIFACT: 400,
	ADMISSION_REJECT: 429,
	QUEUE_FULL_DROP_LRU: 429,
	POOL_UNREADY: 503,
	POOL_UNAVAILABLE: 503,
	REPLICA_EXHAUSTED: 503,
	DECODE_TIMEOUT: 504,
	WORKER_RESET: 502,
	INTERNAL: 500,
};

export const httpStatus = {
	ok: 200,
	created: 201,
	accepted: 202,
	noContent: 204,
	notModified: 304,
	methodNotAllowed: 405,
	unavailable: 503,
} as const;

/** Statuses that say when to come back. */
const backoffStatuses: readonly number[] = [429, 503];
const backoffMsDefault = 1000;
const retryAfterSecondsMax = 30;

export function statusFor(code: FailureCode): number {
	return statusOf[code];
}

/** The error envelope of every path. */
export interface Envelope {
	readonly code: FailureCode;
	readonly message: string;
	readonly engine?: string;
	readonly pool_id?: string;
	readonly retriable: boolean;
	readonly retry_after_ms?: number;
	readonly policy_label?: string;
	readonly correlation_id: string;
}

export function envelopeOf(failure: Failure, correlationId: string): Envelope {
	const retryAfterMs = backoffMs(failure) ?? failure.retryAfterMs;
	return {
		code: failure.code,
		message: failure.message,
		...(failure.engine === undefined ? {} : { engine: failure.engine }),
		...(failure.poolId === undefined ? {} : { pool_id: failure.poolId }),
		retriable: failure.retriable,
		...(retryAfterMs === undefined ? {} : { retry_after_ms: retryAfterMs }),
		...(failure.policyLabel === undefined ? {} : { policy_label: failure.policyLabel }),
		correlation_id: correlationId,
	};
}

/** `Retry-After` and `X-Backoff-Ms` where the status wants them. */
export function backoffHeaders(failure: Failure): readonly Header[] {
	const ms = backoffMs(failure);
	if (ms === undefined) return [];
	const seconds = Math.min(retryAfterSecondsMax, Math.max(1, Math.ceil(ms / 1000)));
	return [
		['Retry-After', String(seconds)],
		['X-Backoff-Ms', String(ms)],
	];
}

/** Milliseconds on a 429 and a retriable 503; undefined elsewhere. */
function backoffMs(failure: Failure): number | undefined {
	const wanted = backoffStatuses.includes(statusOf[failure.code]) && failure.retriable;
	return wanted ? Math.max(0, Math.ceil(failure.retryAfterMs ?? backoffMsDefault)) : undefined;
}
