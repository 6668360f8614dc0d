/**
 * Artifacts over HTTP: `/v2/artifacts`. On the front thread; main has them, and answers with bodies that are sent as they are. Never what
 * is of another tenant, unless to an operator.
 */
import { type ArtifactName, type ArtifactRequest, artifactKinds } from '../../actors/serving/artifact-messages.ts';
import { failure } from '../../actors/serving/failure.ts';
import { isOperator, maySee, tenantFor } from '../auth/principal.ts';
import type { Handler } from '../http/application.ts';
import type { Exchange } from '../http/exchange.ts';
import { artifactBodySchema } from './artifact-schemas.ts';
import { httpStatus } from './errors.ts';
import { asksForOther, etagOf, sendJson, sendTagged } from './etag.ts';
import { checkerOf, shown } from './field-problems.ts';
import { type FrontParts, unanswered } from './front-parts.ts';
import { parseJsonBody } from './json-body.ts';
import { type QueryFields, queryOf } from './query.ts';

const metadataBytesMax = 16 * 1024;
const checkBody = checkerOf(artifactBodySchema);
const isId = /^sha256:[0-9a-f]{64}$/;
const isCursor = /^[0-9a-z]{11}$/;

const tenantField = { kind: 'text', maxLength: 64, description: 'Of this tenant; another than its own is for operators' } as const;
export const artifactQuery = { tenant: tenantField } as const satisfies QueryFields;
export const artifactsQuery = {
	kind: { kind: 'one-of', values: artifactKinds, description: 'Only artifacts of this kind' },
	tag: { kind: 'text', maxLength: 128, description: 'Only artifacts with this tag' },
	tenant: { kind: 'text', maxLength: 64, description: 'Only artifacts of this tenant' },
	limit: { kind: 'integer', minimum: 1, maximum: 1000, default: 100, description: 'Most artifacts in one answer' },
	cursor: { kind: 'text', maxLength: 64, description: '`next_cursor` of the page before' },
} as const satisfies QueryFields;

export function addArtifactHandler(parts: FrontParts): Handler {
	return (exchange) =>
		exchange.body((bytes) => {
			const json = parseJsonBody(bytes);
			if (!json.ok) return exchange.fail(json.failure);
			const body = checkBody(json.value);
			if (!body.ok) return exchange.fail(body.failure);
			const { kind, content, tags = [], parent = null, metadata = {} } = body.value;
			const size = Buffer.byteLength(JSON.stringify(metadata));
			if (size > metadataBytesMax)
				return exchange.fail(failure('INVALID_PARAMS', `metadata has ${size} bytes as JSON; it must have ${metadataBytesMax} at most`));
			const tenant = tenantFor(exchange.principal, body.value.tenant);
			if (typeof tenant !== 'string') return exchange.fail(tenant);
			ask(parts, exchange, { type: 'put-artifact', kind, content, tags, parent, metadata, tenant }, (entry) =>
				sendJson(exchange, httpStatus.created, entry),
			);
		}, parts.options.bodyBytesMax);
}

export function getArtifactHandler(parts: FrontParts): Handler {
	return named((exchange, name) => {
		const whole = (): void =>
			// The tag is of what is said of it: the content is in its id.
			ask(parts, exchange, { type: 'get-artifact', ...name }, (json, entry) => sendTagged(exchange, json, etagOf(entry)));
		if (exchange.request.header('if-none-match') === undefined) return whole();
		ask(parts, exchange, { type: 'describe-artifact', ...name }, (json) => {
			const etag = etagOf(json);
			if (asksForOther(exchange, etag)) whole();
			else exchange.empty(httpStatus.notModified, [['ETag', etag]]);
		});
	});
}

export function deleteArtifactHandler(parts: FrontParts): Handler {
	return named((exchange, name) => ask(parts, exchange, { type: 'delete-artifact', ...name }, () => exchange.empty(httpStatus.noContent)));
}

export function listArtifactsHandler(parts: FrontParts): Handler {
	return (exchange) => {
		const query = queryOf(exchange.request.query, artifactsQuery);
		if (!query.ok) {
			exchange.fail(query.failure);
			return null;
		}
		const { kind, tag, limit, cursor, tenant } = query.value;
		if (cursor !== null && !isCursor.test(cursor))
			exchange.fail(failure('INVALID_PARAMS', `query parameter cursor is ${shown(cursor)}; it must be next_cursor of the page before`));
		else if (mayAsk(exchange, tenant)) {
			const of = tenant ?? (isOperator(exchange.principal) ? null : exchange.principal.tenant);
			ask(parts, exchange, { type: 'list-artifacts', kind, tag, limit, after: cursor, tenant: of }, (json) => sendTagged(exchange, json));
		}
		return null;
	};
}

/** For requests that name an artifact in their path. */
function named(use: (exchange: Exchange, name: ArtifactName) => void): Handler {
	return (exchange) => {
		const query = queryOf(exchange.request.query, artifactQuery);
		const id = exchange.params['id'] ?? '';
		if (!query.ok) exchange.fail(query.failure);
		else if (!isId.test(id)) exchange.fail(failure('NOT_FOUND', 'there is no such artifact; an id is sha256: and 64 hexadecimal digits'));
		else if (mayAsk(exchange, query.value.tenant)) {
			const { principal } = exchange;
			const { tenant } = query.value;
			use(exchange, { id, tenant: tenant ?? principal.tenant, foreign: tenant === null && isOperator(principal) });
		}
		return null;
	};
}

function mayAsk(exchange: Exchange, tenant: string | null): boolean {
	if (tenant === null || maySee(exchange.principal, tenant)) return true;
	exchange.fail(failure('FORBIDDEN', `tenant is ${shown(tenant)}; the key is one of tenant ${shown(exchange.principal.tenant)}`));
	return false;
}

function ask(parts: FrontParts, exchange: Exchange, request: ArtifactRequest, use: (json: string, entry: string) => void): void {
	exchange.later(parts.artifacts(request), (answer) => {
		if (answer === null) exchange.fail(unanswered('the store', 'closed'));
		else if (answer.ok) use(answer.json, answer.entry ?? answer.json);
		else exchange.fail(answer.failure);
	});
}
