/**
 * Failures in the shape that OpenAI's clients read, under our codes: `{error: {message, type, code, param, …}}`. Its `type` and the status decide
 * which error their libraries throw; `X-Should-Retry` tells them whether to try again. Pure.
 */
import type { Failure, FailureCode } from '../../../actors/serving/failure.ts';
import type { Header } from '../../http/http-host.ts';
import type { Envelope } from '../errors.ts';

const typeOf: Readonly<Record<FailureCode, string>> = {
	INVALID_PARAMS: 'invalid_request_error',
	DEADLINE_UNMET: 'invalid_request_error',
	UNAUTHORIZED: 'authentication_error',
	FORBIDDEN: 'permission_error',
	NOT_FOUND: 'not_found_error',
	CONFLICT: 'conflict_error',
	EVENTS_EXPIRED: 'invalid_request_error',
	CANCELED: 'canceled_error',
	MODEL_DEPRECATED: 'invalid_request_error',
	PAYLOAD_TOO_LARGE: 'invalid_request_error',
	UNTRUSTED_ARTIFACT: 'invalid_request_error',
	ADMISSION_REJECT: 'rate_limit_error',
	QUEUE_FULL_DROP_LRU: 'rate_limit_error',
	POOL_UNREADY: 'server_error',
	POOL_UNAVAILABLE: 'server_error',
	REPLICA_EXHAUSTED: 'server_error',
	DECODE_TIMEOUT: 'server_error',
	WORKER_RESET: 'server_error',
	INTERNAL: 'server_error',
};
/** Messages about a field begin with it. */
const fieldFirst = /^(?:unknown field )?([a-z][a-z_]*(?:\[\d+\]|\.[a-z_]+)*)(?= (?:is|has|hold|names|and|with|needs|cannot|are)\b|;|$)/;
const foreignFields: ReadonlySet<string> = new Set(['the', 'there', 'all', 'no', 'prompts']);

export interface OpenAiError {
	readonly error: {
		readonly message: string;
		readonly type: string;
		readonly code: FailureCode;
		readonly param: string | null;
	} & Omit<Envelope, 'code' | 'message'>;
}

export function openaiError({ code, message: said, ...more }: Envelope): OpenAiError {
	// Fields of ours, by the names that they have here.
	const message = said.replaceAll('model_ref', 'model').replaceAll('sampling.json_schema', 'response_format').replaceAll('sampling.', '');
	const field = typeOf[code] === 'invalid_request_error' || code === 'NOT_FOUND' ? (fieldFirst.exec(message)?.[1] ?? null) : null;
	const param = field === null || foreignFields.has(field) ? null : field;
	return { error: { message, type: typeOf[code], code, param, ...more } };
}

export function retryHeader({ retriable }: Failure): Header {
	return ['X-Should-Retry', String(retriable)];
}
