/** The catalog's part of the native API: its paths, their handlers, and what the OpenAPI document says of them. */
import {
	addModelHandler,
	cancelPullHandler,
	deleteModelHandler,
	getModelHandler,
	listModelsHandler,
	modelStateHandler,
	modelsQuery,
	pullModelHandler,
	verifyModelHandler,
} from './catalog.ts';
import { modelEventsHandler } from './catalog-events.ts';
import { catalogEntrySchema, catalogListSchema, catalogModelSchema, catalogStateSchema } from './catalog-schemas.ts';
import type { FrontParts } from './front-parts.ts';
import type { DocumentedRoute } from './openapi.ts';

const headers = { 'If-None-Match': 'The `ETag` of an earlier answer: 304 when nothing has changed' };

export function catalogRoutes(parts: FrontParts): readonly DocumentedRoute[] {
	return [
		{
			method: 'GET',
			path: '/v2/catalog/models',
			handler: listModelsHandler(parts),
			doc: {
				summary: 'Models that are known here, by id',
				query: modelsQuery,
				headers,
				success: 'ok',
				answer: catalogListSchema,
				failures: ['INVALID_PARAMS', 'POOL_UNREADY'],
			},
		},
		{
			method: 'POST',
			path: '/v2/catalog/models',
			access: 'operator',
			handler: addModelHandler(parts),
			doc: {
				summary: 'Takes a model into the catalog: a file is hashed behind the answer, what is elsewhere is fetched by `pull`',
				body: catalogModelSchema,
				success: 'created',
				answer: catalogEntrySchema,
				failures: ['INVALID_PARAMS', 'CONFLICT', 'PAYLOAD_TOO_LARGE', 'POOL_UNREADY'],
			},
		},
		{
			method: 'GET',
			path: '/v2/catalog/models/{id}',
			handler: getModelHandler(parts),
			doc: { summary: 'One model', headers, success: 'ok', answer: catalogEntrySchema, failures: ['NOT_FOUND', 'POOL_UNREADY'] },
		},
		{
			method: 'DELETE',
			path: '/v2/catalog/models/{id}',
			access: 'operator',
			handler: deleteModelHandler(parts),
			doc: {
				summary: 'Forgets a model, with what was fetched for it; the file of a user stays where it is',
				success: 'noContent',
				failures: ['NOT_FOUND', 'CONFLICT', 'POOL_UNREADY'],
			},
		},
		{
			method: 'POST',
			path: '/v2/catalog/models/{id}/verify',
			access: 'operator',
			handler: verifyModelHandler(parts),
			doc: {
				summary: 'Reads the bytes of a model again; `verification` says what came of it',
				success: 'accepted',
				answer: catalogEntrySchema,
				failures: ['NOT_FOUND', 'CONFLICT', 'POOL_UNREADY'],
			},
		},
		{
			method: 'POST',
			path: '/v2/catalog/models/{id}/pull',
			access: 'operator',
			handler: pullModelHandler(parts),
			doc: {
				summary: 'Fetches a model, unless it is here; one that is being fetched is joined',
				success: 'accepted',
				answer: catalogEntrySchema,
				failures: ['INVALID_PARAMS', 'FORBIDDEN', 'NOT_FOUND', 'POOL_UNREADY'],
			},
		},
		{
			method: 'DELETE',
			path: '/v2/catalog/models/{id}/pull',
			access: 'operator',
			handler: cancelPullHandler(parts),
			doc: {
				summary: 'Calls a pull off; what has come stays, and the next pull goes on behind it',
				success: 'noContent',
				failures: ['NOT_FOUND', 'POOL_UNREADY'],
			},
		},
		{
			method: 'GET',
			path: '/v2/catalog/models/{id}/events',
			handler: modelEventsHandler(parts),
			doc: {
				summary: 'How far a pull is: `progress` as it comes, then `end` with the model, or `error`',
				success: 'ok',
				answer: { contentType: 'text/event-stream' },
				failures: ['NOT_FOUND', 'ADMISSION_REJECT', 'POOL_UNREADY'],
			},
		},
		{
			method: 'POST',
			path: '/v2/catalog/models/{id}/state',
			access: 'operator',
			handler: modelStateHandler(parts),
			doc: {
				summary: 'Retires a model, or makes it active again',
				body: catalogStateSchema,
				success: 'accepted',
				answer: catalogEntrySchema,
				failures: ['INVALID_PARAMS', 'NOT_FOUND', 'POOL_UNREADY'],
			},
		},
	];
}
