/** The paths of `/v1/responses` as a table: handlers, and what the OpenAPI document says of them. */
import { failureCodes } from '../../../actors/serving/failure.ts';
import type { FrontParts } from '../front-parts.ts';
import { idempotency } from '../openai/routes.ts';
import type { DocumentedRoute } from '../openapi.ts';
import { createResponseHandler, streamResponse } from './responses.ts';
import {
	inputItemsQuery,
	inputItemsSchema,
	responseDeletedSchema,
	responseSchema,
	responsesBodySchema,
	retrieveQuery,
} from './responses-schemas.ts';
import { cancelResponseHandler, deleteResponseHandler, getResponseHandler, inputItemsHandler } from './stored-responses.ts';

export function responsesRoutes(parts: FrontParts): readonly DocumentedRoute[] {
	return [
		{
			method: 'POST',
			path: '/v1/responses',
			handler: createResponseHandler(parts),
			doc: {
				summary: 'Makes a response; with `stream`, by server-sent events; with `background`, answered at once',
				headers: idempotency,
				body: responsesBodySchema,
				success: 'ok',
				answer: responseSchema,
				streams: true,
				failures: failureCodes,
			},
		},
		{
			method: 'GET',
			path: '/v1/responses/{id}',
			handler: getResponseHandler(parts, (exchange, found, after, arrivedAt) =>
				streamResponse(parts, exchange, { ...found, after, arrivedAt, clock: parts.clock }),
			),
			doc: {
				summary: 'A response as it stands; with `stream`, its events from the first one on',
				query: retrieveQuery,
				success: 'ok',
				answer: responseSchema,
				streams: true,
				failures: ['INVALID_PARAMS', 'NOT_FOUND', 'ADMISSION_REJECT', 'POOL_UNREADY'],
			},
		},
		{
			method: 'DELETE',
			path: '/v1/responses/{id}',
			handler: deleteResponseHandler(parts),
			doc: {
				summary: 'Forgets a response; its task goes on',
				success: 'ok',
				answer: responseDeletedSchema,
				failures: ['NOT_FOUND', 'POOL_UNREADY'],
			},
		},
		{
			method: 'POST',
			path: '/v1/responses/{id}/cancel',
			handler: cancelResponseHandler(parts),
			doc: {
				summary: 'Cancels a response that has not ended, and tells how it stands',
				success: 'ok',
				answer: responseSchema,
				failures: ['NOT_FOUND', 'POOL_UNREADY'],
			},
		},
		{
			method: 'GET',
			path: '/v1/responses/{id}/input_items',
			handler: inputItemsHandler(parts),
			doc: {
				summary: 'What a response was made from',
				query: inputItemsQuery,
				success: 'ok',
				answer: inputItemsSchema,
				failures: ['INVALID_PARAMS', 'NOT_FOUND', 'POOL_UNREADY'],
			},
		},
	];
}
