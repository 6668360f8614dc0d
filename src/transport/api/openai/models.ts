/** `GET /v1/models` and `GET /v1/models/{id}`: the models and aliases of the pools, as they are now, in the shape of OpenAI. On the front thread. */
import { failure } from '../../../actors/serving/failure.ts';
import type { PoolView } from '../../../actors/serving/messages.ts';
import type { Handler } from '../../http/application.ts';
import { httpStatus } from '../errors.ts';
import { shown } from '../field-problems.ts';
import type { FrontParts } from '../front-parts.ts';
import { takesTasks } from '../pools.ts';

export function listModelsHandler(parts: FrontParts): Handler {
	return (exchange) => {
		exchange.json(httpStatus.ok, { object: 'list', data: modelsOf(parts) });
		return null;
	};
}

export function getModelHandler(parts: FrontParts): Handler {
	return (exchange) => {
		const { owner, id: name = '' } = exchange.params;
		const id = owner === undefined ? name : `${owner}/${name}`;
		const model = modelsOf(parts).find((each) => each.id === id);
		if (model === undefined) exchange.fail(failure('NOT_FOUND', `there is no model ${shown(id)}; /v1/models lists them`));
		else exchange.json(httpStatus.ok, model);
		return null;
	};
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
			pools: pools.map(({ poolId }) => poolId),
			engines: unique(pools.map(({ engine }) => engine)),
			workloads: unique(facts.flatMap(({ workloads }) => workloads)),
			features: unique(facts.flatMap(({ features }) => features)),
			alias_of: unique(pools.filter(({ model }) => model !== id).map(({ model }) => model)),
		},
	};
}

function unique(values: readonly string[]): string[] {
	return [...new Set(values)].sort();
}
