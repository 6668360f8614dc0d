/**
 * The labels under which tasks are counted, made once for all tasks that share them: a series is found by the object that names it. Of one
 * thread; owns no task.
 */
import type { Labels } from '../kernel/telemetry.ts';
import type { PoolView } from './messages.ts';
import type { TaskRecord } from './task-record.ts';
import type { TaskRequest } from './task-request.ts';

/** More than pools, replicas, versions, classes and operations make; beyond it they are made anew. */
const setsMax = 1_024;

export function genAiLabels(operation: string, engine: string, model: string): Labels {
	return { gen_ai_operation_name: operation, gen_ai_provider_name: engine, gen_ai_request_model: model };
}

type Placed = Pick<TaskRecord, 'engine' | 'engineVersion' | 'poolId' | 'replicaId'> & { readonly request: Pick<TaskRequest, 'priority'> };

/** Of the tasks of one place, class and operation. What is not known is ''. */
export class TaskLabels {
	readonly replica: Labels;
	readonly pool: Labels;
	readonly genAi: Labels;
	readonly #placed: Placed;
	readonly #ended = new Map<string, Labels>();
	readonly #canceled = new Map<string, Labels>();

	constructor(placed: Placed, operation: string, model: string) {
		const { engine, engineVersion, poolId, replicaId, request } = placed;
		this.#placed = { engine, engineVersion, poolId, replicaId, request: { priority: request.priority } };
		const [engineLabel, versionLabel, poolLabel] = [engine ?? '', engineVersion ?? '', poolId ?? ''];
		this.replica = { engine: engineLabel, engine_version: versionLabel, pool_id: poolLabel, replica_id: replicaId ?? '' };
		this.pool = { engine: engineLabel, engine_version: versionLabel, pool_id: poolLabel, priority: request.priority };
		this.genAi = genAiLabels(operation, engineLabel, model);
	}

	/** Whether they are those of this one too. */
	fits(task: Placed, operation: string, model: string): boolean {
		const placed = this.#placed;
		return (
			placed.replicaId === task.replicaId &&
			placed.poolId === task.poolId &&
			placed.engine === task.engine &&
			placed.engineVersion === task.engineVersion &&
			placed.request.priority === task.request.priority &&
			this.genAi['gen_ai_operation_name'] === operation &&
			this.genAi['gen_ai_request_model'] === model
		);
	}

	/** `errorType`: '' of one that is done. */
	ended(errorType: string): Labels {
		return kept(this.#ended, errorType, () => ({ ...this.genAi, error_type: errorType }));
	}

	canceled(reason: string): Labels {
		return kept(this.#canceled, reason, () => ({ ...this.replica, reason }));
	}
}

function kept(labels: Map<string, Labels>, key: string, make: () => Labels): Labels {
	let known = labels.get(key);
	if (known === undefined) labels.set(key, (known = make()));
	return known;
}

export class TaskLabelBook {
	readonly #sets = new Map<string, TaskLabels>();
	/** Found last, of tasks that have a place and of those that have none: as a rule the next one is like one of them. */
	#placed: TaskLabels | null = null;
	#unplaced: TaskLabels | null = null;

	/** As the task stands now. */
	of(task: Placed, operation: string, pools: readonly PoolView[]): TaskLabels {
		const { engine, engineVersion, poolId, replicaId, request } = task;
		const last = replicaId === null ? this.#unplaced : this.#placed;
		// The pool's name of its model, however the client called it: clients cannot make up labels.
		let model = '';
		for (const pool of pools) if (pool.poolId === poolId) model = pool.model;
		if (last?.fits(task, operation, model) === true) return last;
		const key = `${replicaId}\n${poolId}\n${engineVersion}\n${engine}\n${request.priority}\n${operation}\n${model}`;
		let known = this.#sets.get(key);
		if (known === undefined) {
			if (this.#sets.size === setsMax) this.#sets.clear();
			known = new TaskLabels(task, operation, model);
			this.#sets.set(key, known);
		}
		if (replicaId === null) this.#unplaced = known;
		else this.#placed = known;
		return known;
	}
}
