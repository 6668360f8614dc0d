/**
 * How full the KV caches are with the tasks of a front thread: what they have of prompt and output, over what the slots of their
 * replica can hold. Looked up when the metrics are asked for; what idle slots still hold for a next turn counts as free.
 */
import type { Labels, Telemetry } from '../kernel/telemetry.ts';
import type { PoolView } from './messages.ts';
import type { TaskView } from './task-directory.ts';

type RunningTask = Pick<TaskView, 'replicaId' | 'tokensIn' | 'tokensOut'>;

export class KvUsage {
	readonly #telemetry: Telemetry;
	/** Series that were shown: of one whose replica is gone, or has another version, nothing is used. */
	#shown = new Map<string, Labels>();

	constructor(telemetry: Telemetry) {
		this.#telemetry = telemetry;
	}

	show(pools: readonly PoolView[], running: Iterable<RunningTask>): void {
		const tokens = new Map<string, number>();
		for (const { replicaId, tokensIn, tokensOut } of running) {
			if (replicaId !== null) tokens.set(replicaId, (tokens.get(replicaId) ?? 0) + tokensIn + tokensOut);
		}
		const before = this.#shown;
		this.#shown = new Map();
		for (const { poolId, engine, replicas } of pools) {
			for (const { replicaId, facts } of replicas) {
				if (facts === null || facts.tellsKvUsage === true) continue;
				const labels = { engine, engine_version: facts.engineVersion, pool_id: poolId, replica_id: replicaId };
				this.#shown.set(`${replicaId} ${facts.engineVersion}`, labels);
				this.#telemetry.gauge('kv_cache_usage_ratio', labels, (tokens.get(replicaId) ?? 0) / (facts.slots * facts.ctx));
			}
		}
		for (const [key, labels] of before) {
			if (!this.#shown.has(key)) this.#telemetry.gauge('kv_cache_usage_ratio', labels, 0);
		}
	}
}
