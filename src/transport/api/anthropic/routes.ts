/** The Anthropic paths as a table: handlers, and what the OpenAPI document says of them. */
import { failureCodes } from '../../../actors/serving/failure.ts';
import type { FrontParts } from '../front-parts.ts';
import { idempotency } from '../openai/routes.ts';
import type { DocumentedRoute } from '../openapi.ts';
import { countTokensAnswerSchema, countTokensBodySchema, messageAnswerSchema, messagesBodySchema } from './message-schemas.ts';
import { countTokensHandler, messagesHandler } from './messages.ts';

export function anthropicRoutes(parts: FrontParts): readonly DocumentedRoute[] {
	return [
		{
			method: 'POST',
			path: '/v1/messages',
			handler: messagesHandler(parts),
			doc: {
				summary: 'Completes a conversation, in the shape of Anthropic; with `stream`, by server-sent events',
				headers: idempotency,
				body: messagesBodySchema,
				success: 'ok',
				answer: messageAnswerSchema,
				streams: true,
				failures: failureCodes,
			},
		},
		{
			method: 'POST',
			path: '/v1/messages/count_tokens',
			handler: countTokensHandler(parts),
			doc: {
				summary: 'Counts the tokens of a conversation, with the tokenizer and the template of its model',
				body: countTokensBodySchema,
				success: 'ok',
				answer: countTokensAnswerSchema,
				failures: ['INVALID_PARAMS', 'NOT_FOUND', 'PAYLOAD_TOO_LARGE', 'POOL_UNREADY', 'ADMISSION_REJECT'],
			},
		},
	];
}
