/**
 * The OpenAPI 3.1 document, made from the routes and from the schemas that check requests, so that it cannot say anything
 * else. Pure.
 */
import type { TSchema } from '@sinclair/typebox';
import { type FailureCode, failure } from '../../actors/serving/failure.ts';
import type { Handler } from '../http/application.ts';
import type { Route } from '../http/routes.ts';
import { anthropicErrorSchema } from './anthropic/anthropic-errors.ts';
import { errorShapes, shapeOf } from './error-shapes.ts';
import { envelopeOf, httpStatus, statusFor } from './errors.ts';
import { examples, failureMessages } from './examples.ts';
import { openaiErrorSchema } from './openai/answer-schemas.ts';
import type { QueryField, QueryFields } from './query.ts';
import { envelopeSchema } from './response-schemas.ts';
import { published } from './schemas.ts';

/** What a route promises, beside what holds for all. */
export interface OperationDoc {
	readonly summary: string;
	readonly query?: QueryFields;
	/** Request headers with a meaning, and what it is. */
	readonly headers?: Readonly<Record<string, string>>;
	readonly body?: TSchema;
	readonly success: keyof typeof httpStatus;
	/** Absent: the answer has no body. */
	readonly answer?: TSchema | { readonly contentType: string };
	/** The answer may come as server-sent events, too. */
	readonly streams?: boolean;
	readonly failures: readonly FailureCode[];
}

export interface DocumentedRoute extends Route<Handler> {
	readonly doc: OperationDoc;
}

/** What any operation may be answered with, whatever it is: by the guard of the door, or because of a bug. */
const always: readonly FailureCode[] = ['UNAUTHORIZED', 'FORBIDDEN', 'INTERNAL'];
const correlationId = '7c2bb683-850b-4896-a2ad-154de83c1453';

export function openApiOf(routes: readonly DocumentedRoute[], apiVersion: string): unknown {
	const paths: Record<string, Record<string, unknown>> = {};
	for (const route of routes) {
		const path = paths[route.path] ?? {};
		path[route.method.toLowerCase()] = operationOf(route);
		paths[route.path] = path;
	}
	return published({
		openapi: '3.1.0',
		info: {
			title: 'orchestratord',
			version: apiVersion,
			description: 'Queues, schedules, streams and cancels LLM tasks over pools of local engines.',
			license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
		},
		servers: [{ url: '/' }],
		paths,
		components: {
			schemas: { Error: envelopeSchema, OpenAiError: openaiErrorSchema, AnthropicError: anthropicErrorSchema },
			securitySchemes: { bearer: { type: 'http', scheme: 'bearer' }, key: { type: 'apiKey', in: 'header', name: 'X-API-Key' } },
		},
		// Where no keys are configured none is needed.
		security: [{}, { bearer: [] }, { key: [] }],
	});
}

function operationOf({ method, path, doc }: DocumentedRoute): unknown {
	const success = httpStatus[doc.success];
	const example = examples[`${method} ${path}`];
	const statuses = new Map<number, FailureCode[]>();
	for (const code of new Set([...doc.failures, ...always])) statuses.set(statusFor(code), [...(statuses.get(statusFor(code)) ?? []), code]);
	return {
		summary: doc.summary,
		parameters: [
			...[...path.matchAll(/\{(\w+)\}/g)].map((match) => ({ name: match[1], in: 'path', required: true, schema: { type: 'string' } })),
			...Object.entries(doc.query ?? {}).map(([name, field]) => ({
				name,
				in: 'query',
				description: field.description,
				schema: parameterSchema(field),
			})),
			...Object.entries(doc.headers ?? {}).map(([name, description]) => ({ name, in: 'header', description, schema: { type: 'string' } })),
		],
		...(doc.body === undefined
			? {}
			: { requestBody: { required: true, content: { 'application/json': { schema: doc.body, example: example?.body } } } }),
		responses: {
			[success]: { description: 'Success', ...contentOf(doc.answer, example?.answer, doc.streams) },
			...(doc.headers?.['If-None-Match'] === undefined ? {} : { 304: { description: 'Nothing has changed' } }),
			...Object.fromEntries(
				[...statuses].map(([status, codes]) => [
					status,
					{ description: codes.join(', '), content: { 'application/json': failureContent(path, codes) } },
				]),
			),
		},
	};
}

const errorSchemas = { native: 'Error', openai: 'OpenAiError', anthropic: 'AnthropicError' } as const;

function failureContent(path: string, codes: readonly FailureCode[]): unknown {
	const shape = shapeOf(path);
	const shown = (code: FailureCode): unknown => ({
		value: errorShapes[shape](envelopeOf(failure(code, failureMessages[code]), correlationId)),
	});
	return {
		schema: { $ref: `#/components/schemas/${errorSchemas[shape]}` },
		examples: Object.fromEntries(codes.map((code) => [code, shown(code)])),
	};
}

function contentOf(answer: OperationDoc['answer'], example: unknown, streams = false): Readonly<Record<string, unknown>> {
	if (answer === undefined) return {};
	const { contentType } = answer as { readonly contentType?: unknown };
	if (typeof contentType === 'string') {
		return { content: { [contentType]: { schema: { type: contentType === 'application/json' ? 'object' : 'string' } } } };
	}
	return {
		content: {
			'application/json': { schema: answer, example },
			...(streams ? { 'text/event-stream': { schema: { type: 'string' } } } : {}),
		},
	};
}

function parameterSchema(field: QueryField): unknown {
	switch (field.kind) {
		case 'text':
			return { type: 'string', maxLength: field.maxLength };
		case 'one-of':
			return { type: 'string', enum: field.values };
		case 'integer':
			return { type: 'integer', minimum: field.minimum, maximum: field.maximum, default: field.default };
		case 'flag':
			return { type: 'boolean', default: false };
	}
}
