/**
 * The OpenAPI 3.1 document, made from the routes and from the schemas that check requests, so that it cannot say anything
 * else. Pure.
 */
import type { TSchema } from '@sinclair/typebox';
import type { FailureCode } from '../../actors/serving/failure.ts';
import type { Handler } from '../http/application.ts';
import type { Route } from '../http/routes.ts';
import { httpStatus, statusFor } from './errors.ts';
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
		components: { schemas: { Error: envelopeSchema, OpenAiError: openaiErrorSchema } },
	});
}

function operationOf({ path, doc }: DocumentedRoute): unknown {
	const success = httpStatus[doc.success];
	const error = { $ref: `#/components/schemas/${path.startsWith('/v1/') ? 'OpenAiError' : 'Error'}` };
	const statuses = new Map<number, FailureCode[]>();
	for (const code of doc.failures) statuses.set(statusFor(code), [...(statuses.get(statusFor(code)) ?? []), code]);
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
		...(doc.body === undefined ? {} : { requestBody: { required: true, content: { 'application/json': { schema: doc.body } } } }),
		responses: {
			[success]: { description: 'Success', ...contentOf(doc.answer, doc.streams) },
			...Object.fromEntries(
				[...statuses].map(([status, codes]) => [
					status,
					{ description: codes.join(', '), content: { 'application/json': { schema: error } } },
				]),
			),
		},
	};
}

function contentOf(answer: OperationDoc['answer'], streams = false): Readonly<Record<string, unknown>> {
	if (answer === undefined) return {};
	const { contentType } = answer as { readonly contentType?: unknown };
	if (typeof contentType === 'string') return { content: { [contentType]: { schema: { type: 'string' } } } };
	return {
		content: { 'application/json': { schema: answer }, ...(streams ? { 'text/event-stream': { schema: { type: 'string' } } } : {}) },
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
