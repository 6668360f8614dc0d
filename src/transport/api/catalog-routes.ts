/** The catalog's part of the native API: its paths, their handlers, and what the OpenAPI document says of them. */
import {
	addModelHandler,
	deleteModelHandler,
	getModelHandler,
	listModelsHandler,
	modelStateHandler,
	modelsQuery,
	verifyModelHandler,
} from './catalog.ts';
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
				summary: 'Takes a model file into the catalog; it is hashed behind the answer',
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
				summary: 'Forgets a model; its file stays where it is',
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
				failures: ['NOT_FOUND', 'POOL_UNREADY'],
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
