/** Failures in the shape that Anthropic's clients read, with our code: `{type: "error", error: {type, message, code, …}}`. Pure. */
import { Type } from '@sinclair/typebox';
import { type FailureCode, failureCodes } from '../../../actors/serving/failure.ts';
import type { Envelope } from '../errors.ts';
import { oneOf } from '../schemas.ts';

const typeOf: Readonly<Record<FailureCode, string>> = {
	INVALID_PARAMS: 'invalid_request_error',
	DEADLINE_UNMET: 'invalid_request_error',
	UNAUTHORIZED: 'authentication_error',
	FORBIDDEN: 'permission_error',
	NOT_FOUND: 'not_found_error',
	CONFLICT: 'invalid_request_error',
	EVENTS_EXPIRED: 'not_found_error',
	CANCELED: 'api_error',
	MODEL_DEPRECATED: 'invalid_request_error',
	PAYLOAD_TOO_LARGE: 'request_too_large',
	UNTRUSTED_ARTIFACT: 'invalid_request_error',
	ADMISSION_REJECT: 'rate_limit_error',
	QUEUE_FULL_DROP_LRU: 'rate_limit_error',
	POOL_UNREADY: 'overloaded_error',
	POOL_UNAVAILABLE: 'overloaded_error',
	REPLICA_EXHAUSTED: 'overloaded_error',
	DECODE_TIMEOUT: 'timeout_error',
	WORKER_RESET: 'api_error',
	INTERNAL: 'api_error',
};

export function anthropicError({ code, message, correlation_id: id, ...more }: Envelope) {
	return {
		type: 'error',
		error: { type: typeOf[code], message: inTheirWords(message), code, ...more },
		request_id: id,
	};
}

/** Fields of ours, by the names that they have there. */
function inTheirWords(message: string): string {
	return message
		.replaceAll('model_ref', 'model')
		.replaceAll('sampling.json_schema', 'output_config.format')
		.replaceAll('sampling.stop', 'stop_sequences')
		.replaceAll('sampling.', '')
		.replaceAll('.function.parameters', '.input_schema');
}

const count = Type.Integer({ minimum: 0 });

export const anthropicErrorSchema = Type.Object({
	type: oneOf(['error'], 'What it is'),
	error: Type.Object({
		type: oneOf([...new Set(Object.values(typeOf))], 'Which error'),
		message: Type.String(),
		code: oneOf(failureCodes, 'What went wrong'),
		engine: Type.Optional(Type.String()),
		pool_id: Type.Optional(Type.String()),
		retriable: Type.Boolean(),
		retry_after_ms: Type.Optional(count),
		policy_label: Type.Optional(Type.String()),
	}),
	request_id: Type.String({ description: 'The correlation id' }),
});
