/**
 * The native API as a table: every path that the daemon answers, its handler, and what the OpenAPI document says of it.
 */
import { failureCodes } from '../../actors/serving/failure.ts';
import { anthropicRoutes } from './anthropic/routes.ts';
import { artifactRoutes } from './artifact-routes.ts';
import { catalogRoutes } from './catalog-routes.ts';
import { httpStatus } from './errors.ts';
import { eventsHandler, eventsQuery } from './events.ts';
import { explainHandler } from './explain.ts';
import type { FrontParts } from './front-parts.ts';
import { openaiRoutes } from './openai/routes.ts';
import { type DocumentedRoute, openApiOf } from './openapi.ts';
import { healthHandler, metricsHandler, readyHandler, versionHandler } from './operations.ts';
import { drainHandler, loadHandler, purgeHandler, registerHandler, reloadHandler, undrainHandler, unloadHandler } from './pool-control.ts';
import { poolLogHandler, poolLogQuery } from './pool-log.ts';
import { apiVersion, capabilitiesHandler, getPoolHandler, listPoolsHandler, poolHealthHandler } from './pools.ts';
import { reloadConfigHandler } from './reload.ts';
import * as answers from './response-schemas.ts';
import { responsesRoutes } from './responses/routes.ts';
import { resultHandler, resultQuery } from './result.ts';
import {
	drainBodySchema,
	purgeBodySchema,
	registerBodySchema,
	reloadBodySchema,
	sessionBodySchema,
	taskBodySchema,
	tokenizeBodySchema,
	undrainBodySchema,
} from './schemas.ts';
import { deleteSessionHandler, getSessionHandler, putSessionHandler } from './sessions.ts';
import { previewHandler, submitHandler } from './submit.ts';
import { cancelHandler, getTaskHandler, listQuery, listTasksHandler } from './tasks.ts';
import { tokenizeHandler } from './tokenize.ts';

export function nativeRoutes(parts: FrontParts): readonly DocumentedRoute[] {
	const routes: DocumentedRoute[] = [
		...taskRoutes(parts),
		...poolRoutes(parts),
		...sessionRoutes(parts),
		...catalogRoutes(parts),
		...artifactRoutes(parts),
		...operationRoutes(parts),
		...openaiRoutes(parts),
		...responsesRoutes(parts),
		...anthropicRoutes(parts),
	];
	let document: unknown;
	routes.push({
		method: 'GET',
		path: '/openapi.json',
		handler: (exchange) => {
			document ??= openApiOf(routes, apiVersion);
			exchange.json(httpStatus.ok, document);
			return null;
		},
		doc: { summary: 'This document', success: 'ok', answer: { contentType: 'application/json' }, failures: [] },
	});
	return routes;
}

function taskRoutes(parts: FrontParts): readonly DocumentedRoute[] {
	const cancel = cancelHandler(parts);
	return [
		{
			method: 'POST',
			path: '/v2/tasks',
			handler: submitHandler(parts),
			doc: {
				summary: 'Enqueues a task; it runs whether or not anyone watches it',
				headers: {
					'Idempotency-Key': 'The same key and body is the same task; at most 128 characters',
					Accept: "`text/event-stream`: the answer is the task's event stream, with status 200 and its id in `X-Task-Id`",
				},
				body: taskBodySchema,
				success: 'accepted',
				answer: answers.acceptedSchema,
				failures: failureCodes.filter((code) => code !== 'DECODE_TIMEOUT' && code !== 'WORKER_RESET' && code !== 'CANCELED'),
			},
		},
		{
			method: 'GET',
			path: '/v2/tasks',
			handler: listTasksHandler(parts),
			doc: {
				summary: 'Tasks that are known, newest first',
				query: listQuery,
				success: 'ok',
				answer: answers.taskListSchema,
				failures: ['INVALID_PARAMS'],
			},
		},
		{
			method: 'POST',
			path: '/v2/tasks/preview',
			handler: previewHandler(parts),
			doc: {
				summary: 'What would become of a task; enqueues nothing',
				body: taskBodySchema,
				success: 'ok',
				answer: answers.previewSchema,
				failures: ['INVALID_PARAMS', 'DEADLINE_UNMET', 'PAYLOAD_TOO_LARGE', 'POOL_UNREADY'],
			},
		},
		{
			method: 'GET',
			path: '/v2/tasks/{id}',
			handler: getTaskHandler(parts),
			doc: {
				summary: 'State, timings and placement of a task',
				success: 'ok',
				answer: answers.taskSchema,
				failures: ['NOT_FOUND', 'EVENTS_EXPIRED'],
			},
		},
		{
			method: 'DELETE',
			path: '/v2/tasks/{id}',
			handler: cancel,
			doc: { summary: 'Cancels a task; the same as cancel', success: 'noContent', failures: [] },
		},
		{
			method: 'POST',
			path: '/v2/tasks/{id}/cancel',
			handler: cancel,
			doc: { summary: 'Cancels a task, queued or running; idempotent, an unknown id included', success: 'noContent', failures: [] },
		},
		{
			method: 'GET',
			path: '/v2/tasks/{id}/events',
			handler: eventsHandler(parts),
			doc: {
				summary: 'Events of a task from its first one on: started, token, metrics, end, error',
				query: eventsQuery,
				headers: { 'Last-Event-ID': 'Resumes behind this event' },
				success: 'ok',
				answer: { contentType: 'text/event-stream' },
				failures: ['INVALID_PARAMS', 'NOT_FOUND', 'EVENTS_EXPIRED', 'ADMISSION_REJECT'],
			},
		},
		{
			method: 'GET',
			path: '/v2/tasks/{id}/result',
			handler: resultHandler(parts),
			doc: {
				summary: 'Waits for the end of a task, then the whole of it; 202 when it has not ended by then',
				query: resultQuery,
				success: 'ok',
				answer: answers.resultSchema,
				failures: failureCodes.filter((code) => code !== 'CANCELED'),
			},
		},
		{
			method: 'GET',
			path: '/v2/tasks/{id}/explain',
			handler: explainHandler(parts),
			doc: {
				summary: 'Why a task waits, and what each pool is to it',
				success: 'ok',
				answer: answers.explainSchema,
				failures: ['NOT_FOUND', 'EVENTS_EXPIRED'],
			},
		},
		{
			method: 'POST',
			path: '/v2/tokenize',
			handler: tokenizeHandler(parts),
			doc: {
				summary: 'A text as the tokens of a model',
				body: tokenizeBodySchema,
				success: 'ok',
				answer: answers.tokenizedSchema,
				failures: ['INVALID_PARAMS', 'NOT_FOUND', 'PAYLOAD_TOO_LARGE', 'POOL_UNREADY'],
			},
		},
	];
}

function poolRoutes(parts: FrontParts): readonly DocumentedRoute[] {
	return [
		{
			method: 'GET',
			path: '/v2/pools',
			handler: listPoolsHandler(parts),
			doc: { summary: 'All pools', success: 'ok', answer: answers.poolListSchema, failures: [] },
		},
		{
			method: 'GET',
			path: '/v2/pools/{id}',
			handler: getPoolHandler(parts),
			doc: { summary: 'One pool', success: 'ok', answer: answers.poolSchema, failures: ['NOT_FOUND'] },
		},
		{
			method: 'GET',
			path: '/v2/pools/{id}/health',
			handler: poolHealthHandler(parts),
			doc: { summary: 'Whether a pool lives and is ready', success: 'ok', answer: answers.poolHealthSchema, failures: ['NOT_FOUND'] },
		},
		{
			method: 'GET',
			path: '/v2/pools/{id}/logs',
			access: 'operator',
			handler: poolLogHandler(parts),
			doc: {
				summary:
					'What the engines of the pool wrote, which may quote what clients sent; with `follow`, as it is written, as events named `line`',
				query: poolLogQuery,
				headers: {
					Accept: '`text/event-stream`: the same as `follow`',
					'Last-Event-ID': 'The same as `after`',
				},
				success: 'ok',
				answer: answers.poolLogSchema,
				failures: ['INVALID_PARAMS', 'NOT_FOUND', 'POOL_UNREADY', 'ADMISSION_REJECT'],
			},
		},
		{
			method: 'POST',
			path: '/v2/pools/{id}/drain',
			access: 'operator',
			handler: drainHandler(parts),
			doc: {
				summary: 'No task starts in the pool any more; running ones may go on to the deadline, waiting ones go to other pools',
				body: drainBodySchema,
				success: 'accepted',
				answer: answers.poolControlledSchema,
				failures: ['INVALID_PARAMS', 'NOT_FOUND', 'POOL_UNREADY'],
			},
		},
		{
			method: 'POST',
			path: '/v2/pools/{id}/load',
			access: 'operator',
			handler: loadHandler(parts),
			doc: {
				summary: 'Loads the model of a pool that is loaded on demand, before a task comes',
				body: undrainBodySchema,
				success: 'accepted',
				answer: answers.poolLoadedSchema,
				failures: ['INVALID_PARAMS', 'NOT_FOUND', 'CONFLICT', 'POOL_UNREADY'],
			},
		},
		{
			method: 'POST',
			path: '/v2/pools/{id}/unload',
			access: 'operator',
			handler: unloadHandler(parts),
			doc: {
				summary: 'Unloads the model of a pool that is loaded on demand, behind its last running task; waiting ones load it again',
				body: undrainBodySchema,
				success: 'accepted',
				answer: answers.poolLoadedSchema,
				failures: ['INVALID_PARAMS', 'NOT_FOUND', 'CONFLICT', 'POOL_UNREADY'],
			},
		},
		{
			method: 'POST',
			path: '/v2/pools/{id}/reload',
			access: 'operator',
			handler: reloadHandler(parts),
			doc: {
				summary: 'The replicas of the pool get another model, one after the other; the old one comes back if that does not start',
				body: reloadBodySchema,
				success: 'accepted',
				answer: answers.poolReloadedSchema,
				failures: ['INVALID_PARAMS', 'NOT_FOUND', 'CONFLICT', 'POOL_UNREADY'],
			},
		},
		{
			method: 'POST',
			path: '/v2/pools/{id}/purge',
			access: 'operator',
			handler: purgeHandler(parts),
			doc: {
				summary: 'Each engine of the pool ends and starts anew, and loses what it held in its caches',
				body: purgeBodySchema,
				success: 'accepted',
				answer: answers.poolPurgedSchema,
				failures: ['INVALID_PARAMS', 'NOT_FOUND', 'CONFLICT', 'POOL_UNREADY'],
			},
		},
		{
			method: 'POST',
			path: '/v2/workers/register',
			access: 'worker',
			handler: registerHandler(parts),
			doc: {
				summary: 'A worker joins a pool as a replica; always with a key of the role worker. The same again changes nothing',
				body: registerBodySchema,
				success: 'accepted',
				answer: answers.workerRegisteredSchema,
				failures: ['INVALID_PARAMS', 'UNAUTHORIZED', 'FORBIDDEN', 'NOT_FOUND', 'CONFLICT', 'POOL_UNREADY'],
			},
		},
		{
			method: 'POST',
			path: '/v2/pools/{id}/undrain',
			access: 'operator',
			handler: undrainHandler(parts),
			doc: {
				summary: 'The pool takes tasks again',
				body: undrainBodySchema,
				success: 'accepted',
				answer: answers.poolControlledSchema,
				failures: ['INVALID_PARAMS', 'NOT_FOUND', 'POOL_UNREADY'],
			},
		},
		{
			method: 'GET',
			path: '/v2/meta/capabilities',
			handler: capabilitiesHandler(parts),
			doc: { summary: 'What the running engines can do', success: 'ok', answer: answers.capabilitiesSchema, failures: [] },
		},
	];
}

function sessionRoutes(parts: FrontParts): readonly DocumentedRoute[] {
	const failures = ['NOT_FOUND', 'POOL_UNREADY'] as const;
	return [
		{
			method: 'GET',
			path: '/v2/sessions/{id}',
			handler: getSessionHandler(parts),
			doc: { summary: 'Turns and budgets of a session', success: 'ok', answer: answers.sessionSchema, failures: [...failures] },
		},
		{
			method: 'PUT',
			path: '/v2/sessions/{id}',
			handler: putSessionHandler(parts),
			doc: {
				summary: 'Sets what a session may use from now on',
				body: sessionBodySchema,
				success: 'ok',
				answer: answers.sessionSchema,
				failures: ['INVALID_PARAMS', ...failures],
			},
		},
		{
			method: 'DELETE',
			path: '/v2/sessions/{id}',
			handler: deleteSessionHandler(parts),
			doc: { summary: 'Forgets a session; its tasks go on', success: 'noContent', failures: [...failures] },
		},
	];
}

function operationRoutes(parts: FrontParts): readonly DocumentedRoute[] {
	return [
		{
			method: 'POST',
			path: '/v2/config/reload',
			access: 'operator',
			handler: reloadConfigHandler(parts),
			doc: {
				summary: 'Reads the configuration anew: pools that are new start, those that are gone end with their last task, others change',
				success: 'ok',
				answer: answers.configReloadedSchema,
				failures: ['INVALID_PARAMS', 'POOL_UNREADY'],
			},
		},
		{
			method: 'GET',
			path: '/v2/meta/version',
			handler: versionHandler(parts),
			doc: { summary: 'Versions of the API and of the daemon', success: 'ok', answer: answers.versionSchema, failures: [] },
		},
		{
			method: 'GET',
			path: '/health',
			access: 'public',
			handler: healthHandler(parts),
			doc: { summary: 'The daemon answers', success: 'ok', answer: answers.healthSchema, failures: [] },
		},
		{
			method: 'GET',
			path: '/ready',
			access: 'public',
			handler: readyHandler(parts),
			doc: { summary: 'Whether a pool can take tasks', success: 'ok', answer: answers.readySchema, failures: ['POOL_UNREADY'] },
		},
		{
			method: 'GET',
			path: '/metrics',
			access: 'metrics',
			handler: metricsHandler(parts),
			doc: { summary: 'Metrics as Prometheus reads them', success: 'ok', answer: { contentType: 'text/plain' }, failures: [] },
		},
	];
}
