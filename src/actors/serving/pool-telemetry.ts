/** What a pool reports of itself: its metrics and its log lines. Part of the Pool actor, control thread. */
import type { Labels, Telemetry } from '../kernel/telemetry.ts';
import type { BreakerState } from './circuit-breaker.ts';
import { expectOfPool, expectOfReplica } from './known-series.ts';
import type { LeaseLedger } from './lease-ledger.ts';
import type { LeaveReason } from './memory-messages.ts';
import type { Lease, ReplicaFacts, ReplicaState, TaskSummary } from './messages.ts';
import type { ReplicaRow } from './pool-replicas.ts';
import type { PoolSpec } from './pool-spec.ts';
import { type PriorityClass, priorityClasses } from './task-request.ts';

const breakerStates: readonly BreakerState[] = ['closed', 'open', 'half-open'];
const replicaStates: readonly (ReplicaState | 'draining')[] = ['starting', 'ready', 'draining', 'failed', 'stopped'];

const leaveWords: Readonly<Record<LeaveReason, string>> = {
	idle: 'for no task came',
	memory: 'for others want its memory',
	operator: 'as an operator wants',
};

export class PoolTelemetry {
	readonly #telemetry: Telemetry;
	readonly #spec: PoolSpec;
	/** Last value of each gauge: what has not moved costs nothing. */
	readonly #shown = new Map<string, number>();
	#queueLabels: Labels | null = null;
	readonly #poolLabels: Labels;
	/** Those of tasks, by class and replica: made once for an engine's version. */
	readonly #ofTasks: Readonly<Record<PriorityClass, Map<string, Labels>>> = { interactive: new Map(), batch: new Map() };
	#version = '';

	constructor(telemetry: Telemetry, spec: PoolSpec) {
		this.#telemetry = telemetry;
		this.#spec = spec;
		this.#poolLabels = { pool_id: spec.poolId };
		expectOfPool(telemetry, spec);
	}

	/** A replica can serve: its version is known. */
	ready({ engineVersion, replicaId }: ReplicaFacts): void {
		expectOfReplica(this.#telemetry, this.#spec, engineVersion, replicaId);
	}

	enqueued({ priority }: TaskSummary, facts: ReplicaFacts | null): void {
		this.#telemetry.count('tasks_enqueued_total', this.#taskLabels(facts, '', priority));
	}

	started({ priority }: TaskSummary, facts: ReplicaFacts, etaErrorRatio: number): void {
		this.#telemetry.count('tasks_started_total', this.#taskLabels(facts, facts.replicaId, priority));
		this.#telemetry.observe('eta_error_ratio', this.#poolLabels, etaErrorRatio);
	}

	dropped(summary: TaskSummary): void {
		this.#telemetry.count('tasks_dropped_total', { engine: this.#spec.engine, pool_id: this.#spec.poolId, priority: summary.priority });
	}

	preempted(): void {
		this.#telemetry.count('preemptions_total', { pool_id: this.#spec.poolId, reason: 'interactive' });
	}

	backpressure(): void {
		this.#telemetry.count('admission_backpressure_events_total', { engine: this.#spec.engine, policy: this.#spec.queue.fullPolicy });
	}

	staleSettlement(lease: Lease, correlationId: string | undefined): void {
		this.#telemetry.count('stale_settlements_total', { pool_id: this.#spec.poolId });
		this.#telemetry.log('warn', 'stale-settlement', {
			correlation_id: correlationId,
			pool_id: this.#spec.poolId,
			replica_id: lease.replicaId,
			epoch: lease.epoch,
			lease: lease.id,
		});
	}

	tripped({ replicaId, lastError }: ReplicaRow): void {
		this.#telemetry.log('warn', 'replica-tripped', {
			engine: this.#spec.engine,
			pool_id: this.#spec.poolId,
			replica_id: replicaId,
			human: `${lastError?.message ?? replicaId}.`,
		});
	}

	loaded(loadMs: number): void {
		this.#telemetry.count('model_loads_total', this.#poolLabels);
		this.#log('pool-loaded', `${this.#spec.poolId} is loaded, after ${(loadMs / 1000).toFixed(1)} s.`);
	}

	leaves(reason: LeaveReason): void {
		this.#telemetry.count('model_unloads_total', { ...this.#poolLabels, reason });
		this.#log('pool-unloads', `${this.#spec.poolId} is unloaded, ${leaveWords[reason]}.`);
	}

	#log(event: string, human: string): void {
		this.#telemetry.log('info', event, { engine: this.#spec.engine, pool_id: this.#spec.poolId, human });
	}

	reload(level: 'info' | 'warn', human: string): void {
		this.#telemetry.log(level, 'pool-reload', { engine: this.#spec.engine, pool_id: this.#spec.poolId, human });
	}

	/** Its series stay, for they were counted; it has no slots any more. */
	replicaGone(replicaId: string): void {
		const labels = { pool_id: this.#spec.poolId, replica_id: replicaId };
		for (const state of replicaStates) this.#gauge('replica_state', { ...labels, state }, state === 'stopped' ? 1 : 0);
		for (const state of breakerStates) this.#gauge('replica_breaker', { ...labels, state }, state === 'closed' ? 1 : 0);
		for (const state of ['busy', 'quarantined', 'free']) this.#gauge('slots', { ...labels, state }, 0);
	}

	configured(human: string): void {
		this.#telemetry.log('info', 'pool-configured', { engine: this.#spec.engine, pool_id: this.#spec.poolId, human });
	}

	serves(model: string, before: string): void {
		this.#telemetry.gauge('model_state', { model_id: before, state: 'Active' }, 0);
		this.#telemetry.gauge('model_state', { model_id: model, state: 'Active' }, 1);
		this.#telemetry.expect('model_state', { model_id: model, state: 'Retired' });
	}

	drift(words: string): void {
		this.#telemetry.count('ledger_drift_total', { pool_id: this.#spec.poolId });
		this.#telemetry.log('error', 'ledger-drift', { pool_id: this.#spec.poolId, human: words });
	}

	/** The gauges, now and then. */
	stands(queue: { depth(priority: PriorityClass): number }, rows: readonly ReplicaRow[], ledger: LeaseLedger, draining: boolean): void {
		const facts = rows.find((row) => row.facts !== null)?.facts ?? null;
		const labels = this.#labels(facts);
		const before = this.#queueLabels;
		this.#queueLabels = labels;
		for (const priority of priorityClasses) {
			// What waited for an engine whose version nobody knew yet must not be counted twice.
			if (before !== null && before['engine_version'] !== labels['engine_version']) this.#gauge('queue_depth', { ...before, priority }, 0);
			this.#gauge('queue_depth', { ...labels, priority }, queue.depth(priority));
		}
		for (const row of rows) {
			const labels = { pool_id: this.#spec.poolId, replica_id: row.replicaId };
			const shown = (draining || row.leaving || row.unloading || row.ending !== 'no') && row.state === 'ready' ? 'draining' : row.state;
			for (const state of replicaStates) this.#gauge('replica_state', { ...labels, state }, shown === state ? 1 : 0);
			for (const state of breakerStates) this.#gauge('replica_breaker', { ...labels, state }, row.breaker.state === state ? 1 : 0);
			const granted = ledger.slotsIn(row.replicaId, 'granted');
			const quarantined = ledger.slotsIn(row.replicaId, 'quarantined');
			const total = row.state === 'ready' ? (row.facts?.slots ?? 0) : 0;
			this.#gauge('slots', { ...labels, state: 'busy' }, granted);
			this.#gauge('slots', { ...labels, state: 'quarantined' }, quarantined);
			this.#gauge('slots', { ...labels, state: 'free' }, Math.max(0, total - granted - quarantined));
		}
	}

	#gauge(metric: string, labels: Labels, value: number): void {
		const key = `${metric} ${Object.values(labels).join(' ')}`;
		if (this.#shown.get(key) === value) return;
		this.#shown.set(key, value);
		this.#telemetry.gauge(metric, labels, value);
	}

	#taskLabels(facts: ReplicaFacts | null, replicaId: string, priority: PriorityClass): Labels {
		const version = facts?.engineVersion ?? '';
		if (version !== this.#version) for (const each of priorityClasses) this.#ofTasks[each].clear();
		this.#version = version;
		const ofClass = this.#ofTasks[priority];
		const known = ofClass.get(replicaId);
		if (known !== undefined) return known;
		const labels = { ...this.#labels(facts), replica_id: replicaId, priority };
		ofClass.set(replicaId, labels);
		return labels;
	}

	#labels(facts: ReplicaFacts | null): Labels {
		return { engine: this.#spec.engine, engine_version: facts?.engineVersion ?? '', pool_id: this.#spec.poolId };
	}
}
