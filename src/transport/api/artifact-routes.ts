/** The part of the native API that is about artifacts: its paths, their handlers, and what the OpenAPI document says of them. */
import { artifactBodySchema, artifactEntrySchema, artifactListSchema, artifactSchema } from './artifact-schemas.ts';
import {
	addArtifactHandler,
	artifactQuery,
	artifactsQuery,
	deleteArtifactHandler,
	getArtifactHandler,
	listArtifactsHandler,
} from './artifacts.ts';
import type { FrontParts } from './front-parts.ts';
import type { DocumentedRoute } from './openapi.ts';

const headers = { 'If-None-Match': 'The `ETag` of an earlier answer: 304 when nothing has changed' };

export function artifactRoutes(parts: FrontParts): readonly DocumentedRoute[] {
	return [
		{
			method: 'POST',
			path: '/v2/artifacts',
			handler: addArtifactHandler(parts),
			doc: {
				summary: 'Keeps a text under the SHA-256 of it; the same text again is the same artifact, with what is said of it now',
				body: artifactBodySchema,
				success: 'created',
				answer: artifactEntrySchema,
				failures: ['INVALID_PARAMS', 'NOT_FOUND', 'PAYLOAD_TOO_LARGE', 'ADMISSION_REJECT', 'POOL_UNREADY'],
			},
		},
		{
			method: 'GET',
			path: '/v2/artifacts',
			handler: listArtifactsHandler(parts),
			doc: {
				summary: 'Artifacts without their contents, the newest first; a page may be shorter than `limit` and not be the last',
				query: artifactsQuery,
				headers,
				success: 'ok',
				answer: artifactListSchema,
				failures: ['INVALID_PARAMS', 'POOL_UNREADY'],
			},
		},
		{
			method: 'GET',
			path: '/v2/artifacts/{id}',
			handler: getArtifactHandler(parts),
			doc: {
				summary: 'One artifact with its content, which has been hashed again',
				query: artifactQuery,
				headers,
				success: 'ok',
				answer: artifactSchema,
				failures: ['INVALID_PARAMS', 'NOT_FOUND', 'UNTRUSTED_ARTIFACT', 'POOL_UNREADY'],
			},
		},
		{
			method: 'DELETE',
			path: '/v2/artifacts/{id}',
			handler: deleteArtifactHandler(parts),
			doc: {
				summary: 'Deletes an artifact; those made from it stay',
				query: artifactQuery,
				success: 'noContent',
				failures: ['INVALID_PARAMS', 'NOT_FOUND', 'POOL_UNREADY'],
			},
		},
	];
}
