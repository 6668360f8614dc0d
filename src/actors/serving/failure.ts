/**
 * The closed union of everything that can go wrong for a client, as plain data: it crosses threads and sockets
 * unchanged. Only `transport/api/errors.ts` knows the HTTP status of a code.
 */

export const failureCodes = [
	'INVALID_PARAMS',
	'DEADLINE_UNMET',
	'UNAUTHORIZED',
	'FORBIDDEN',
	'NOT_FOUND',
	'CONFLICT',
	'EVENTS_EXPIRED',
	'CANCELED',
	'MODEL_DEPRECATED',
	'PAYLOAD_TOO_LARGE',
	'UNTRUSTED_ARTIFACT',
	'ADMISSION_REJECT',
	'QUEUE_FULL_DROP_LRU',
	'POOL_UNREADY',
	'POOL_UNAVAILABLE',
	'REPLICA_EXHAUSTED',
	'DECODE_TIMEOUT',
	'WORKER_RESET',
	'INTERNAL',
] as const;

export type FailureCode = (typeof failureCodes)[number];

export interface Failure {
	readonly code: FailureCode;
	/** Names the field, the value and what is allowed. Never a prompt, an output or a key. */
	readonly message: string;
	readonly retriable: boolean;
	/** Milliseconds; on every 429 and retriable 503. */
	readonly retryAfterMs?: number;
	readonly engine?: EngineKind;
	readonly poolId?: string;
	/** Which bound refused: `reject`, `rate`, `log`, `budget.tokens`, … */
	readonly policyLabel?: string;
}

export const engineKinds = ['llamacpp', 'vllm', 'tgi', 'triton', 'openai', 'scripted'] as const;
export type EngineKind = (typeof engineKinds)[number];

const retriable: Readonly<Record<FailureCode, boolean>> = {
	INVALID_PARAMS: false,
	DEADLINE_UNMET: false,
	UNAUTHORIZED: false,
	FORBIDDEN: false,
	NOT_FOUND: false,
	CONFLICT: false,
	EVENTS_EXPIRED: false,
	CANCELED: false,
	MODEL_DEPRECATED: false,
	PAYLOAD_TOO_LARGE: false,
	UNTRUSTED_ARTIFACT: false,
	ADMISSION_REJECT: true,
	QUEUE_FULL_DROP_LRU: true,
	POOL_UNREADY: true,
	POOL_UNAVAILABLE: true,
	REPLICA_EXHAUSTED: true,
	DECODE_TIMEOUT: true,
	WORKER_RESET: true,
	INTERNAL: false,
};

/** A failure with the retriability that its code implies, unless `more` says otherwise. */
export function failure(code: FailureCode, message: string, more: Partial<Omit<Failure, 'code' | 'message'>> = {}): Failure {
	return { code, message, retriable: retriable[code], ...more };
}
