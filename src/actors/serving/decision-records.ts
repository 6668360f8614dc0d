/**
 * What the Dispatcher decided of the last few thousand tasks, and how long it took: what `explain` shows. On the control thread, for
 * the Dispatcher alone; holds nothing of a request but what is refused for.
 *
 * A record lives for some thousand decisions: long enough for the collector to copy it twice, only to find it dead later. So what
 * they nearly all are (every pool could have taken it) is written into columns of numbers, over and over; the others stay as they are.
 */
import type { DecidedBy, DecisionRecord } from './decision-messages.ts';
import type { Decision } from './placement.ts';

/** Beyond this many the oldest are forgotten. */
const kept = 4_096;
/** Pools of a record that is written into columns. */
const poolsMax = 16;
const stageNames = ['admission', 'feasibility', 'ranking', 'handover'] as const;

export class DecisionRecords {
	/** By task, where its record is. */
	readonly #slots = new Map<string, number>();
	readonly #tasks: (string | undefined)[] = new Array(kept);
	/** Those that are no columns. */
	readonly #whole: (DecisionRecord | undefined)[] = new Array(kept);
	readonly #at = new Float64Array(kept);
	readonly #stages = new Float64Array(kept * stageNames.length);
	readonly #decidedBy: DecidedBy[] = new Array<DecidedBy>(kept);
	readonly #fallback = new Uint8Array(kept);
	readonly #poolId = new Uint16Array(kept);
	readonly #considered = new Uint8Array(kept);
	readonly #consideredIds = new Uint16Array(kept * poolsMax);
	readonly #passed = new Uint8Array(kept * poolsMax);
	/** Predicted start and end. */
	readonly #predicted = new Float64Array(kept * poolsMax * 2);
	readonly #poolIds: string[] = [];
	readonly #numbers = new Map<string, number>();
	#next = 0;

	get(taskId: string): DecisionRecord | null {
		const slot = this.#slots.get(taskId);
		return slot === undefined ? null : (this.#whole[slot] ?? this.#read(slot));
	}

	put(taskId: string, record: DecisionRecord): void {
		const slot = this.#next;
		this.#next = (slot + 1) % kept;
		const oldest = this.#tasks[slot];
		// Of a task that was decided again, the later one stays.
		if (oldest !== undefined && this.#slots.get(oldest) === slot) this.#slots.delete(oldest);
		this.#tasks[slot] = taskId;
		this.#slots.set(taskId, slot);
		this.#whole[slot] = this.#write(slot, record) ? undefined : record;
	}

	/** False: it does not fit. */
	#write(slot: number, { at, poolId, decidedBy, fallback, considered, stages }: DecisionRecord): boolean {
		if (poolId === null || decidedBy === null || considered.length > poolsMax) return false;
		for (let index = 0; index < considered.length; index += 1) {
			const each = considered[index];
			if (each === undefined || each.refusedFor !== null) return false;
			const place = slot * poolsMax + index;
			this.#consideredIds[place] = this.#numberOf(each.poolId);
			this.#passed[place] = each.passed;
			this.#predicted[2 * place] = each.predictedStartMs;
			this.#predicted[2 * place + 1] = each.predictedEndMs;
		}
		this.#at[slot] = at;
		this.#poolId[slot] = this.#numberOf(poolId);
		this.#decidedBy[slot] = decidedBy;
		this.#fallback[slot] = Number(fallback);
		this.#considered[slot] = considered.length;
		for (let stage = 0; stage < stageNames.length; stage += 1)
			this.#stages[slot * stageNames.length + stage] = stages[stageNames[stage] as (typeof stageNames)[number]];
		return true;
	}

	#read(slot: number): DecisionRecord {
		const considered = Array.from({ length: this.#considered[slot] ?? 0 }, (_, index) => {
			const place = slot * poolsMax + index;
			return {
				poolId: this.#poolIds[this.#consideredIds[place] ?? 0] ?? '',
				passed: this.#passed[place] ?? 0,
				refusedFor: null,
				predictedStartMs: this.#predicted[2 * place] ?? 0,
				predictedEndMs: this.#predicted[2 * place + 1] ?? 0,
			};
		});
		const [admission = 0, feasibility = 0, ranking = 0, handover = 0] = this.#stages.subarray(slot * stageNames.length);
		return {
			at: this.#at[slot] ?? 0,
			outcome: 'assigned',
			poolId: this.#poolIds[this.#poolId[slot] ?? 0] ?? '',
			decidedBy: this.#decidedBy[slot] ?? null,
			fallback: this.#fallback[slot] === 1,
			considered,
			stages: { admission, feasibility, ranking, handover },
		};
	}

	/** Pools come and go with the configuration: their names are few. */
	#numberOf(poolId: string): number {
		let number = this.#numbers.get(poolId);
		if (number === undefined) {
			number = this.#poolIds.push(poolId) - 1;
			this.#numbers.set(poolId, number);
		}
		return number;
	}
}

/** `times`: on `Host.now`, ms, at the start and behind each stage. */
export function decisionRecord(decision: Decision, times: readonly [number, number, number, number, number]): DecisionRecord {
	const [at, admitted, considered, chosen, handedOver] = times;
	const assigned = decision.kind === 'assigned' ? decision : null;
	const microseconds = (from: number, to: number): number => Math.max(0, Math.round((to - from) * 1000));
	return {
		at,
		outcome: decision.kind,
		poolId: assigned?.poolId ?? null,
		decidedBy: assigned?.decidedBy ?? null,
		fallback: assigned?.fallback ?? false,
		considered: decision.considered,
		stages: {
			admission: microseconds(at, admitted),
			feasibility: microseconds(admitted, considered),
			ranking: microseconds(considered, chosen),
			handover: microseconds(chosen, handedOver),
		},
	};
}
