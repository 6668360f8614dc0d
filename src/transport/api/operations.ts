/**
 * For people and monitors: `/health`, `/ready`, `/metrics`, `/v2/meta/version`. On the front thread.
 */
import { failure } from '../../actors/serving/failure.ts';
import type { Handler } from '../http/application.ts';
import { prometheusType } from '../telemetry/metrics-merge.ts';
import { httpStatus } from './errors.ts';
import type { FrontParts } from './front-parts.ts';
import { apiVersion, takesTasks } from './pools.ts';
import { shuttingDown } from './submit.ts';

/** The process answers: nothing more is said by it. */
export function healthHandler(parts: FrontParts): Handler {
	return (exchange) => {
		exchange.json(httpStatus.ok, { status: 'ok', uptime_ms: Math.round(parts.clock.now() - parts.startedAt) });
		return null;
	};
}

/** 200 once a pool can take a task; until then 503, saying why. */
export function readyHandler(parts: FrontParts): Handler {
	return (exchange) => {
		const { pools, controlReachable } = parts.directory;
		const states = pools.map((pool) => ({
			pool_id: pool.poolId,
			state: pool.state,
			draining: pool.drainingUntil !== null,
			last_error: pool.lastError,
		}));
		const ready = controlReachable && pools.some(takesTasks);
		if (ready && !parts.draining()) exchange.json(httpStatus.ok, { ready: true, pools: states });
		else {
			const reason = parts.draining() ? shuttingDown : failure('POOL_UNREADY', whyUnready(parts), { retryAfterMs: 1000 });
			exchange.fail(reason, [], undefined, { ready: false, pools: states });
		}
		return null;
	};
}

function whyUnready(parts: FrontParts): string {
	const { pools, controlReachable } = parts.directory;
	if (!controlReachable) return 'the scheduler is not reachable right now';
	if (pools.length === 0) return 'no pool is known yet';
	return pools
		.map(
			({ poolId, state, drainingUntil, lastError }) =>
				`pool ${poolId} ${drainingUntil !== null ? 'is draining' : state === 'failed' ? 'has failed' : `is ${state}`}${lastError === null ? '' : `: ${lastError}`}`,
		)
		.join('; ');
}

export function metricsHandler(parts: FrontParts): Handler {
	return (exchange) => {
		exchange.later(parts.collectMetrics(), (body) => exchange.text(httpStatus.ok, prometheusType, body));
		return null;
	};
}

export function versionHandler(parts: FrontParts): Handler {
	return (exchange) => {
		const { version, buildCommit, buildTime } = parts.options;
		exchange.json(httpStatus.ok, { api_version: apiVersion, version, build_commit: buildCommit, build_time: buildTime });
		return null;
	};
}
