/**
 * `GET /v1/models` and `GET /v1/models/{id}`: the models and aliases of the pools, as they are now, in the shape of OpenAI, or of Anthropic for clients
 * that send `anthropic-version`: both APIs have the path. On the front thread.
 */
import { failure } from '../../../actors/serving/failure.ts';
import type { PoolView } from '../../../actors/serving/messages.ts';
import type { Handler } from '../../http/application.ts';
import type { Exchange } from '../../http/exchange.ts';
import { httpStatus } from '../errors.ts';
import { shown } from '../field-problems.ts';
import type { FrontParts } from '../front-parts.ts';
import { takesTasks } from '../pools.ts';

export function listModelsHandler(parts: FrontParts): Handler {
	return (exchange) => {
		const models = modelsOf(parts);
		if (isAnthropic(exchange)) exchange.json(httpStatus.ok, anthropicPage(models, new URLSearchParams(exchange.request.query)));
		else exchange.json(httpStatus.ok, { object: 'list', data: models });
		return null;
	};
}

export function getModelHandler(parts: FrontParts): Handler {
	return (exchange) => {
		const { owner, id: name = '' } = exchange.params;
		const id = owner === undefined ? name : `${owner}/${name}`;
		const model = modelsOf(parts).find((each) => each.id === id);
		if (model === undefined) exchange.fail(failure('NOT_FOUND', `there is no model ${shown(id)}; /v1/models lists them`));
		else exchange.json(httpStatus.ok, isAnthropic(exchange) ? anthropicModel(model) : model);
		return null;
	};
}

function isAnthropic({ request }: Exchange): boolean {
	return request.header('anthropic-version') !== undefined;
}

function modelsOf(parts: FrontParts) {
	const byName = new Map<string, PoolView[]>();
	for (const pool of parts.directory.pools)
		for (const name of [pool.model, ...pool.aliases]) byName.set(name, [...(byName.get(name) ?? []), pool]);
	const created = Math.floor((parts.clock.wallNow() - parts.clock.now() + parts.startedAt) / 1000);
	return [...byName].map(([id, pools]) => modelJson(id, pools, created));
}

function modelJson(id: string, pools: readonly PoolView[], created: number) {
	const facts = pools.flatMap(({ replicas }) => replicas.flatMap((replica) => (replica.facts === null ? [] : [replica.facts])));
	const ctx = Math.max(0, ...pools.map((pool) => pool.ctx));
	return {
		id,
		object: 'model',
		created,
		owned_by: 'orchestratord',
		...(ctx === 0 ? {} : { max_model_len: ctx }),
		orchestratord: {
			context_length: ctx === 0 ? null : ctx,
			max_tokens_out: Math.max(...pools.map(({ maxTokensOut }) => maxTokensOut)),
			ready: pools.some(takesTasks),
			state: nearest(pools),
			pools: pools.map(({ poolId }) => poolId),
			engines: unique(pools.map(({ engine }) => engine)),
			workloads: unique(facts.flatMap(({ workloads }) => workloads)),
			features: unique(facts.flatMap(({ features }) => features)),
			alias_of: unique(pools.filter(({ model }) => model !== id).map(({ model }) => model)),
		},
	};
}

/** Of the pool that would serve it soonest. */
function nearest(pools: readonly PoolView[]): PoolView['state'] {
	return (['ready', 'starting', 'unloading', 'unloaded'] as const).find((state) => pools.some((pool) => pool.state === state)) ?? 'failed';
}

function unique(values: readonly string[]): string[] {
	return [...new Set(values)].sort();
}

type Model = ReturnType<typeof modelJson>;

/** Nothing is known of what it will be. */
function anthropicModel({ id, created, orchestratord }: Model) {
	return {
		type: 'model',
		id,
		display_name: id,
		created_at: new Date(created * 1000).toISOString(),
		max_input_tokens: orchestratord.context_length,
		max_tokens: orchestratord.max_tokens_out,
		capabilities: null,
		lifecycle: 'active',
		line: null,
		deprecated_at: null,
		retires_at: null,
		orchestratord,
	};
}

/** Behind `after_id`, or before `before_id`, no more than `limit`. */
function anthropicPage(models: readonly Model[], query: URLSearchParams) {
	const limit = Math.min(pageMax, Math.max(1, Number.parseInt(query.get('limit') ?? '', 10) || pageDefault));
	const [after, before] = ['after_id', 'before_id'].map((name) => models.findIndex(({ id }) => id === query.get(name)));
	const rest = before !== undefined && before >= 0 ? models.slice(0, before) : models.slice((after ?? -1) + 1);
	const page = before !== undefined && before >= 0 ? rest.slice(-limit) : rest.slice(0, limit);
	return {
		data: page.map(anthropicModel),
		has_more: page.length < rest.length,
		first_id: page[0]?.id ?? null,
		last_id: page.at(-1)?.id ?? null,
	};
}

const pageDefault = 20;
const pageMax = 1000;
