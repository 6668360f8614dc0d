/** The OpenAI paths as a table: handlers, and what the OpenAPI document says of them. */
import type { TSchema } from '@sinclair/typebox';
import { failureCodes } from '../../../actors/serving/failure.ts';
import type { Handler } from '../../http/application.ts';
import type { FrontParts } from '../front-parts.ts';
import type { DocumentedRoute } from '../openapi.ts';
import * as answers from './answer-schemas.ts';
import { chatBodySchema, completionBodySchema, embeddingsBodySchema, rerankBodySchema } from './chat-schemas.ts';
import { chatCompletionsHandler, completionsHandler } from './completions.ts';
import { getModelHandler, listModelsHandler } from './models.ts';
import { embeddingsHandler, rerankHandler } from './vectors.ts';

/** Of all that generate. */
export const idempotency = {
	'Idempotency-Key':
		'The same key and body is the same task: its answer is given again, or its stream from its first event; at most 128 characters',
};

export function openaiRoutes(parts: FrontParts): readonly DocumentedRoute[] {
	const model = (path: string): DocumentedRoute => ({
		method: 'GET',
		path,
		handler: getModelHandler(parts),
		doc: { summary: 'A model or an alias', success: 'ok', answer: answers.eitherModelSchema, failures: ['NOT_FOUND'] },
	});
	return [
		generating(
			'/v1/chat/completions',
			'Completes a chat; with `stream`, by server-sent events',
			chatCompletionsHandler(parts),
			chatBodySchema,
			answers.chatAnswerSchema,
			true,
		),
		generating(
			'/v1/completions',
			'Completes a raw prompt; with `stream`, by server-sent events',
			completionsHandler(parts),
			completionBodySchema,
			answers.completionAnswerSchema,
			true,
		),
		generating('/v1/embeddings', 'Embeds texts', embeddingsHandler(parts), embeddingsBodySchema, answers.embeddingsAnswerSchema, false),
		generating(
			'/v1/rerank',
			'Ranks texts by their fit to a query',
			rerankHandler(parts),
			rerankBodySchema,
			answers.rerankAnswerSchema,
			false,
		),
		{
			method: 'GET',
			path: '/v1/models',
			handler: listModelsHandler(parts),
			doc: { summary: 'Models and aliases that are served', success: 'ok', answer: answers.modelListSchema, failures: [] },
		},
		model('/v1/models/{id}'),
		// Of a name with a slash that was not encoded.
		model('/v1/models/{owner}/{id}'),
	];
}

function generating(path: string, summary: string, handler: Handler, body: TSchema, answer: TSchema, streams: boolean): DocumentedRoute {
	return {
		method: 'POST',
		path,
		handler,
		doc: { summary, headers: idempotency, body, success: 'ok', answer, streams, failures: failureCodes },
	};
}
