/**
 * The series that will be there whatever comes: shown at 0 from the start, so that a rate over them has a beginning. Each
 * function tells them once there is enough to name them: from the configuration, or when a replica says its version.
 */
import type { Telemetry } from '../kernel/telemetry.ts';
import { type EngineKind, failureCodes } from './failure.ts';
import { leaveReasons } from './memory-messages.ts';
import type { PoolView } from './messages.ts';
import type { PoolSpec } from './pool-spec.ts';
import { cancelReasons } from './task-directory.ts';
import { genAiLabels } from './task-labels.ts';
import { type PriorityClass, priorityClasses } from './task-request.ts';
import { genAiOperations, moveReasons } from './task-telemetry.ts';

/** Of a front thread, before it knows of any pool. */
export function expectOfFront(telemetry: Telemetry): void {
	for (const reason of failureCodes) telemetry.expect('tasks_rejected_total', { engine: '', reason });
	// Of what is full on the front itself: the space for logs.
	telemetry.expect('admission_backpressure_events_total', { engine: '', policy: 'log' });
	for (const stage of ['slot-free', 'quarantined']) telemetry.expect('cancel_latency_ms', { stage });
	for (const reason of cancelReasons) telemetry.expect('wasted_tokens_total', { reason });
}

/** Of the tasks of a front thread: what is new in the pools that it was told of. */
export class ExpectedOfPools {
	readonly #telemetry: Telemetry;
	readonly #told = new Set<string>();

	constructor(telemetry: Telemetry) {
		this.#telemetry = telemetry;
	}

	see(pools: readonly PoolView[]): void {
		for (const pool of pools) {
			if (this.#isNew(pool.poolId)) this.#expectPool(pool);
			for (const { replicaId, facts } of pool.replicas) {
				if (facts === null) continue;
				if (this.#isNew(`${pool.poolId} ${facts.engineVersion}`)) this.#expectVersion(pool, facts.engineVersion);
				if (this.#isNew(`${replicaId} ${facts.engineVersion}`)) this.#expectReplica(pool, facts.engineVersion, replicaId);
			}
		}
	}

	#isNew(key: string): boolean {
		const size = this.#told.size;
		return this.#told.add(key).size > size;
	}

	#expectPool({ poolId, engine, model }: PoolView): void {
		for (const reason of failureCodes) this.#telemetry.expect('tasks_rejected_total', { engine, reason });
		for (const operation of genAiOperations) {
			const labels = genAiLabels(operation, engine, model);
			this.#telemetry.expect('gen_ai_server_request_duration', { ...labels, error_type: '' });
			this.#telemetry.expect('gen_ai_server_time_to_first_token', labels);
			this.#telemetry.expect('gen_ai_server_time_per_output_token', labels);
		}
		for (const reason of moveReasons) this.#telemetry.expect('migrations_total', { pool_id: poolId, reason });
		// Of tasks that are cancelled while they wait.
		this.#expectCanceled(engine, '', poolId, '');
	}

	#expectVersion({ poolId, engine }: PoolView, engineVersion: string): void {
		for (const priority of priorityClasses) {
			const labels = { engine, engine_version: engineVersion, pool_id: poolId, priority };
			for (const metric of ['latency_first_token_ms', 'latency_decode_ms', 'inter_token_latency_ms'])
				this.#telemetry.expect(metric, labels);
		}
	}

	#expectReplica({ poolId, engine }: PoolView, engineVersion: string, replicaId: string): void {
		const labels = { engine, engine_version: engineVersion, pool_id: poolId, replica_id: replicaId };
		for (const metric of ['tokens_in_total', 'tokens_out_total']) this.#telemetry.expect(metric, labels);
		this.#expectCanceled(engine, engineVersion, poolId, replicaId);
	}

	#expectCanceled(engine: EngineKind, engineVersion: string, poolId: string, replicaId: string): void {
		const labels = { engine, engine_version: engineVersion, pool_id: poolId, replica_id: replicaId };
		for (const reason of cancelReasons) this.#telemetry.expect('tasks_canceled_total', { ...labels, reason });
	}
}

/** Of the Dispatcher. A pin has no fallback. */
export function expectOfDispatcher(telemetry: Telemetry): void {
	for (const outcome of ['assigned', 'none']) {
		for (const pinned of ['true', 'false']) telemetry.expect('placement_decisions_total', { outcome, pinned, fallback: 'false' });
	}
	telemetry.expect('placement_decisions_total', { outcome: 'assigned', pinned: 'false', fallback: 'true' });
	// Of the budgets of sessions, which are of no pool.
	telemetry.expect('ledger_drift_total', { pool_id: '' });
}

/** Of a Pool, as it is configured. */
export function expectOfPool(telemetry: Telemetry, { poolId, engine, queue, model, residency }: PoolSpec): void {
	if (residency.kind === 'on_demand') {
		telemetry.expect('model_loads_total', { pool_id: poolId });
		for (const reason of leaveReasons) telemetry.expect('model_unloads_total', { pool_id: poolId, reason });
	}
	telemetry.expect('admission_backpressure_events_total', { engine, policy: queue.fullPolicy });
	telemetry.expect('eta_error_ratio', { pool_id: poolId });
	telemetry.expect('stale_settlements_total', { pool_id: poolId });
	telemetry.expect('ledger_drift_total', { pool_id: poolId });
	telemetry.expect('preemptions_total', { pool_id: poolId, reason: 'interactive' });
	for (const priority of priorityClasses) telemetry.expect('tasks_dropped_total', { engine, pool_id: poolId, priority });
	// Models of pools serve; others are not known yet.
	telemetry.gauge('model_state', { model_id: model, state: 'Active' }, 1);
	telemetry.expect('model_state', { model_id: model, state: 'Retired' });
}

/** Of a Pool, once a replica has told its version. */
export function expectOfReplica(telemetry: Telemetry, { poolId, engine }: PoolSpec, engineVersion: string, replicaId: string): void {
	const labels = (priority: PriorityClass) => ({ engine, engine_version: engineVersion, pool_id: poolId, priority });
	for (const priority of priorityClasses) {
		telemetry.expect('queue_depth', labels(priority));
		telemetry.expect('tasks_enqueued_total', { ...labels(priority), replica_id: '' });
		telemetry.expect('tasks_started_total', { ...labels(priority), replica_id: replicaId });
	}
}
