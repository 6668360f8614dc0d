/**
 * The catalog of models over HTTP: `/v2/catalog/models`. On the front thread; main has the catalog, and answers with bodies that are sent as
 * they are.
 */
import type { CatalogRequest } from '../../actors/serving/catalog-messages.ts';
import type { Handler } from '../http/application.ts';
import type { Exchange } from '../http/exchange.ts';
import { catalogModelSchema, catalogStateSchema } from './catalog-schemas.ts';
import { httpStatus } from './errors.ts';
import { sendJson, sendTagged } from './etag.ts';
import { checkerOf } from './field-problems.ts';
import { type FrontParts, unanswered } from './front-parts.ts';
import { withOptionalBody } from './optional-body.ts';
import { type QueryFields, queryOf } from './query.ts';

const drainDefaultMs = 30_000;
const checkModel = checkerOf(catalogModelSchema);
const checkState = checkerOf(catalogStateSchema);

export const modelsQuery = {
	limit: { kind: 'integer', minimum: 1, maximum: 1000, default: 100, description: 'Most models in one answer' },
	cursor: { kind: 'text', maxLength: 2048, description: '`next_cursor` of the page before' },
} as const satisfies QueryFields;

export function listModelsHandler(parts: FrontParts): Handler {
	return (exchange) => {
		const query = queryOf(exchange.request.query, modelsQuery);
		if (query.ok)
			ask(parts, exchange, { type: 'list-models', limit: query.value.limit, after: query.value.cursor }, (json) =>
				sendTagged(exchange, json),
			);
		else exchange.fail(query.failure);
		return null;
	};
}

export function getModelHandler(parts: FrontParts): Handler {
	return (exchange) => {
		ask(parts, exchange, { type: 'get-model', id: idOf(exchange) }, (json) => sendTagged(exchange, json));
		return null;
	};
}

export function addModelHandler(parts: FrontParts): Handler {
	return withOptionalBody(parts, (exchange, json) => {
		const body = checkModel(json);
		if (!body.ok) return exchange.fail(body.failure);
		const { source_url: ref, id = null, digest = null, tags = [], signatures = [], sbom = null } = body.value;
		ask(parts, exchange, { type: 'add-model', ref, id, digest: digest?.toLowerCase() ?? null, tags, signatures, sbom }, (entry) =>
			sendJson(exchange, httpStatus.created, entry),
		);
	});
}

export function deleteModelHandler(parts: FrontParts): Handler {
	return (exchange) => {
		ask(parts, exchange, { type: 'delete-model', id: idOf(exchange) }, () => exchange.empty(httpStatus.noContent));
		return null;
	};
}

export function verifyModelHandler(parts: FrontParts): Handler {
	return withOptionalBody(parts, (exchange) => {
		ask(parts, exchange, { type: 'verify-model', id: idOf(exchange) }, (entry) => sendJson(exchange, httpStatus.accepted, entry));
	});
}

export function pullModelHandler(parts: FrontParts): Handler {
	return withOptionalBody(parts, (exchange) => {
		ask(parts, exchange, { type: 'pull-model', id: idOf(exchange) }, (entry) => sendJson(exchange, httpStatus.accepted, entry));
	});
}

export function cancelPullHandler(parts: FrontParts): Handler {
	return (exchange) => {
		ask(parts, exchange, { type: 'cancel-pull', id: idOf(exchange) }, () => exchange.empty(httpStatus.noContent));
		return null;
	};
}

export function modelStateHandler(parts: FrontParts): Handler {
	return withOptionalBody(parts, (exchange, json) => {
		const body = checkState(json);
		if (!body.ok) return exchange.fail(body.failure);
		const { state, deadline_ms: deadlineMs = drainDefaultMs } = body.value;
		ask(parts, exchange, { type: 'set-model-state', id: idOf(exchange), state, deadlineMs }, (entry) =>
			sendJson(exchange, httpStatus.accepted, entry),
		);
	});
}

function idOf(exchange: Exchange): string {
	return exchange.params['id'] ?? '';
}

function ask(parts: FrontParts, exchange: Exchange, request: CatalogRequest, use: (json: string) => void): void {
	exchange.later(parts.catalog(request), (answer) => {
		if (answer === null) exchange.fail(unanswered('the catalog', 'closed'));
		else if (answer.ok) use(answer.json);
		else exchange.fail(answer.failure);
	});
}
