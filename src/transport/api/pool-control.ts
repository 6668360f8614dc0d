/**
 * What an operator may do to a pool: drain it, have it take tasks again, give it another model. On the front thread; the pools themselves are on
 * the control thread, which answers once it is under way.
 */

import { canonicalRef } from '../../actors/catalog/model-ref.ts';
import { failure } from '../../actors/serving/failure.ts';
import type { PoolControlled, PoolOperation } from '../../actors/serving/operation-messages.ts';
import type { Handler } from '../http/application.ts';
import type { Exchange } from '../http/exchange.ts';
import { httpStatus } from './errors.ts';
import { checkerOf } from './field-problems.ts';
import { askFrom, type FrontParts, unanswered } from './front-parts.ts';
import { withOptionalBody } from './optional-body.ts';
import { drainBodySchema, purgeBodySchema, registerBodySchema, reloadBodySchema, undrainBodySchema } from './schemas.ts';

const controlMs = 5_000;
const drainDefaultMs = 30_000;
const checkDrain = checkerOf(drainBodySchema);
const checkPurge = checkerOf(purgeBodySchema);
const checkRegister = checkerOf(registerBodySchema);
const checkReload = checkerOf(reloadBodySchema);
const checkUndrain = checkerOf(undrainBodySchema);

export function drainHandler(parts: FrontParts): Handler {
	return withOptionalBody(parts, (exchange, json) => {
		const body = checkDrain(json);
		if (!body.ok) return exchange.fail(body.failure);
		const deadlineMs = body.value.deadline_ms ?? drainDefaultMs;
		control(parts, exchange, { kind: 'drain', deadlineMs }, { draining: true, deadline_ms: deadlineMs });
	});
}

export function undrainHandler(parts: FrontParts): Handler {
	return withOptionalBody(parts, (exchange, json) => {
		const body = checkUndrain(json);
		if (!body.ok) return exchange.fail(body.failure);
		control(parts, exchange, { kind: 'undrain' }, { draining: false });
	});
}

export function loadHandler(parts: FrontParts): Handler {
	return residencyHandler(parts, 'load', true);
}

export function unloadHandler(parts: FrontParts): Handler {
	return residencyHandler(parts, 'unload', false);
}

/** `loaded`: what it is on the way to. */
function residencyHandler(parts: FrontParts, kind: 'load' | 'unload', loaded: boolean): Handler {
	return withOptionalBody(parts, (exchange, json) => {
		const body = checkUndrain(json);
		if (!body.ok) return exchange.fail(body.failure);
		control(parts, exchange, { kind }, { loaded });
	});
}

export function reloadHandler(parts: FrontParts): Handler {
	return withOptionalBody(parts, (exchange, json) => {
		const body = checkReload(json);
		if (!body.ok) return exchange.fail(body.failure);
		const model = canonicalRef(body.value.new_model_ref);
		control(parts, exchange, { kind: 'reload', model }, (controlled) => ({ new_model_ref: controlled.model ?? model }));
	});
}

export function purgeHandler(parts: FrontParts): Handler {
	return withOptionalBody(parts, (exchange, json) => {
		const body = checkPurge(json);
		if (!body.ok) return exchange.fail(body.failure);
		const {
			purge_engine: engine,
			purge_models: models = [],
			delete_cache_dirs: caches = false,
			drain_first: drainFirst = true,
			force = false,
		} = body.value;
		if (engine === false && models.length === 0 && !caches) {
			return exchange.fail(
				failure('INVALID_PARAMS', 'purge_engine is false, and neither purge_models nor delete_cache_dirs names anything'),
			);
		}
		const operation = { kind: 'purge', models: models.map(canonicalRef), drainFirst, force, emptyCaches: caches } as const;
		control(parts, exchange, operation, ({ cacheDirs = [] }) => ({ purging: true, cache_dirs: cacheDirs }));
	});
}

/** Only with a key of the role worker, which the route asks for: nobody else may name an address that tasks are sent to. */
export function registerHandler(parts: FrontParts): Handler {
	return withOptionalBody(parts, (exchange, json) => {
		const body = checkRegister(json);
		if (!body.ok) return exchange.fail(body.failure);
		const { pool_id: poolId, replica_id: replicaId, engine, url, slots } = body.value;
		if (!isWorkerUrl(url)) {
			const words = 'url must be http://host:port or https://host, without a name, a key or a query';
			return exchange.fail(failure('INVALID_PARAMS', words));
		}
		control(parts, exchange, { kind: 'register', replicaId, engine, worker: { url, slots } }, { replica_id: replicaId, slots }, poolId);
	});
}

function isWorkerUrl(url: string): boolean {
	if (!URL.canParse(url)) return false;
	const { protocol, username, password, search, hash } = new URL(url);
	return (protocol === 'http:' || protocol === 'https:') && username + password + search + hash === '';
}

function control(
	parts: FrontParts,
	exchange: Exchange,
	operation: PoolOperation,
	answer: Readonly<Record<string, unknown>> | ((controlled: PoolControlled) => Readonly<Record<string, unknown>>),
	poolId = exchange.params['id'] ?? '',
): void {
	const dispatcher = parts.dispatcher();
	if (dispatcher === null) return exchange.fail(unanswered('the scheduler', 'closed'));
	const { correlationId } = exchange;
	askFrom<PoolControlled>(
		parts,
		controlMs,
		(replyTo) => dispatcher.tell({ type: 'control-pool', poolId, operation, correlationId, replyTo }),
		(answered) => {
			exchange.guarded(() => {
				if (!answered.ok) exchange.fail(unanswered('the scheduler', answered.reason));
				else if (answered.reply.failure !== null) exchange.fail(answered.reply.failure);
				else exchange.json(httpStatus.accepted, { pool_id: poolId, ...(typeof answer === 'function' ? answer(answered.reply) : answer) });
			});
		},
	);
}
