/**
 * How the messages of every task cross between a front and the control thread: as lists of values in a fixed order. A structured clone
 * writes the name of each field of each object it meets, and looks it up on the other side, which is most of what such a message costs; what is
 * long and the same each time (a replica's facts) crosses once. All other messages cross as they are. One for each link and side.
 *
 * | list | message |
 * |---|---|
 * | 1, … | `submit` |
 * | 2, … | `queued` |
 * | 3, … | `granted` |
 * | 4, … | `settle` |
 *
 * No message is itself a list, so none is taken for another.
 */
import type { TaskClaim } from './home-messages.ts';
import type { DispatcherCommand, Lease, PlacementNews, QueueStanding, ReplicaFacts, Settlement, TaskSummary } from './messages.ts';
import { anyPlacement, type Placement } from './task-request.ts';

type Submit = Extract<DispatcherCommand, { readonly type: 'submit' }>;
type Settle = Extract<DispatcherCommand, { readonly type: 'settle' }>;
type Queued = Extract<PlacementNews, { readonly type: 'queued' }>;
type Granted = Extract<PlacementNews, { readonly type: 'granted' }>;
/** In order: a form reads what it wrote. */
type Values = unknown[];

const submitForm = 1;
const queuedForm = 2;
const grantedForm = 3;
const settleForm = 4;
/** Objects that have crossed and are named by number from then on; beyond that their numbers are given anew. */
const knownMax = 256;
const nothing: readonly never[] = [];

export class MessageForms {
	/** Of what was sent, and what came. */
	#sent = new Map<ReplicaFacts, number>();
	readonly #came: ReplicaFacts[] = [];

	/** `message` as its link has it: with an address for a ref. */
	pack(message: unknown): unknown {
		switch ((message as { readonly type?: unknown }).type) {
			case 'submit':
				return packSubmit(message as Submit);
			case 'queued':
				return packQueued(message as Queued);
			case 'granted':
				return this.#packGranted(message as Granted);
			case 'settle':
				return packSettle(message as Settle);
			default:
				return message;
		}
	}

	unpack(packed: unknown): unknown {
		if (!Array.isArray(packed)) return packed;
		const values = packed as Values;
		switch (values[0]) {
			case submitForm:
				return unpackSubmit(values);
			case queuedForm:
				return unpackQueued(values);
			case grantedForm:
				return this.#unpackGranted(values);
			case settleForm:
				return unpackSettle(values);
			default:
				throw new Error(`a message crossed in a form ${String(values[0])} that nobody knows`);
		}
	}

	#packGranted({ lease, replica, ctx, maxTokensOut, migration, timeouts, standing }: Granted): Values {
		const { firstTokenMs, idleMs, wallMs } = timeouts;
		const values: Values = [grantedForm, ctx, maxTokensOut, migration, firstTokenMs, idleMs, wallMs];
		putLease(values, lease);
		putStanding(values, standing);
		let known = this.#sent.get(replica);
		if (known === undefined) {
			if (this.#sent.size === knownMax) this.#sent = new Map();
			known = this.#sent.size;
			this.#sent.set(replica, known);
			values.push(known, replica);
		} else values.push(known, null);
		return values;
	}

	#unpackGranted(values: Values): Granted {
		const [, ctx, maxTokensOut, migration, firstTokenMs, idleMs, wallMs] = values as [
			number,
			number,
			number,
			boolean,
			number,
			number,
			number,
		];
		const known = values[grantedValues] as number;
		const came = values[grantedValues + 1] as ReplicaFacts | null;
		if (came !== null) this.#came[known] = came;
		const replica = this.#came[known];
		if (replica === undefined) throw new Error('a lease crossed on a replica that did not');
		return {
			type: 'granted',
			lease: leaseAt(values, 7),
			replica,
			ctx,
			maxTokensOut,
			migration,
			timeouts: { firstTokenMs, idleMs, wallMs },
			standing: standingAt(values, 7 + leaseValues),
		};
	}
}

// ── the parts ──────────────────────────────────────────────────────────────────────────────────────────────────────

const leaseValues = 6;
const standingValues = 9;
const grantedValues = 7 + leaseValues + standingValues;

function putLease(values: Values, { epoch, id, poolId, replicaId, exclusive, slot }: Lease): void {
	values.push(epoch, id, poolId, replicaId, exclusive, slot ?? null);
}

function leaseAt(values: Values, at: number): Lease {
	const lease = {
		epoch: values[at] as number,
		id: values[at + 1] as number,
		poolId: values[at + 2] as string,
		replicaId: values[at + 3] as string,
		exclusive: values[at + 4] as boolean,
	};
	const slot = values[at + 5] as number | null;
	return slot === null ? lease : { ...lease, slot };
}

function putStanding(values: Values, standing: QueueStanding): void {
	values.push(
		standing.position,
		standing.at,
		standing.predictedStartMs,
		standing.predictedEndMs,
		standing.predictedStartP90Ms,
		standing.predictedEndP90Ms,
		standing.estimated,
		standing.queueDepth,
		standing.warmUp,
	);
}

function standingAt(values: Values, at: number): QueueStanding {
	return {
		position: values[at] as number,
		at: values[at + 1] as number,
		predictedStartMs: values[at + 2] as number,
		predictedEndMs: values[at + 3] as number,
		predictedStartP90Ms: values[at + 4] as number,
		predictedEndP90Ms: values[at + 5] as number,
		estimated: values[at + 6] as QueueStanding['estimated'],
		queueDepth: values[at + 7] as number,
		warmUp: values[at + 8] as QueueStanding['warmUp'],
	};
}

/** Null: where no pool is named, which is as a rule. */
function placementValue(placement: Placement): Placement | null {
	const { mode, pinPoolId, preferPools, avoidPools, requireDeviceMask, allowFallback } = placement;
	const isAny = mode === 'auto' && pinPoolId === null && requireDeviceMask === null && allowFallback;
	return isAny && preferPools.length === 0 && avoidPools.length === 0 ? null : placement;
}

function listValue<T>(list: readonly T[]): readonly T[] | null {
	return list.length === 0 ? null : list;
}

// ── the messages ───────────────────────────────────────────────────────────────────────────────────────────────────

function packSubmit({ summary: task, claim, again, replyTo }: Submit): Values {
	return [
		submitForm,
		again,
		replyTo,
		claim.frontId,
		claim.bodyHash,
		listValue(claim.keys),
		claim.exclusive,
		task.taskId,
		task.sessionId,
		task.correlationId,
		task.workload,
		task.modelRef,
		task.engine,
		task.priority,
		task.tenant,
		task.promptTokens,
		task.promptBytes,
		task.ctx,
		task.maxTokens,
		task.expectedTokens,
		task.deadlineAt,
		task.admittedAt,
		task.strict,
		task.samplerProfileVersion,
		listValue(task.needs),
		placementValue(task.placement),
		listValue(task.prefixes),
		task.queuedBytes,
		task.held,
		task.counted,
		task.recalled,
		task.movable,
		task.resume,
	];
}

function unpackSubmit(values: Values): Submit {
	const claim: TaskClaim = {
		frontId: values[3] as string,
		bodyHash: values[4] as string,
		keys: (values[5] ?? nothing) as readonly string[],
		exclusive: values[6] as boolean,
	};
	const summary: TaskSummary = {
		taskId: values[7] as string,
		sessionId: values[8] as string | null,
		correlationId: values[9] as string,
		workload: values[10] as TaskSummary['workload'],
		modelRef: values[11] as string,
		engine: values[12] as TaskSummary['engine'],
		priority: values[13] as TaskSummary['priority'],
		tenant: values[14] as string,
		promptTokens: values[15] as number | null,
		promptBytes: values[16] as number,
		ctx: values[17] as number | null,
		maxTokens: values[18] as number | null,
		expectedTokens: values[19] as number | null,
		deadlineAt: values[20] as number | null,
		admittedAt: values[21] as number,
		strict: values[22] as boolean,
		samplerProfileVersion: values[23] as string | null,
		needs: (values[24] ?? nothing) as readonly string[],
		placement: (values[25] ?? anyPlacement) as Placement,
		prefixes: (values[26] ?? nothing) as readonly number[],
		queuedBytes: values[27] as number,
		held: values[28] as TaskSummary['held'],
		counted: values[29] as boolean,
		recalled: values[30] as boolean,
		movable: values[31] as boolean,
		resume: values[32] as TaskSummary['resume'],
	};
	return { type: 'submit', summary, claim, again: values[1] as boolean, replyTo: values[2] as Submit['replyTo'] };
}

function packQueued({ poolId, engine, standing, onTimeProbability, budget, held }: Queued): Values {
	const values: Values = [queuedForm, poolId, engine, onTimeProbability, budget, held];
	putStanding(values, standing);
	return values;
}

function unpackQueued(values: Values): Queued {
	return {
		type: 'queued',
		poolId: values[1] as string,
		engine: values[2] as Queued['engine'],
		standing: standingAt(values, 6),
		onTimeProbability: values[3] as number | null,
		budget: values[4] as Queued['budget'],
		held: values[5] as Queued['held'],
	};
}

function packSettle({ lease, settlement, correlationId }: Settle): Values {
	const { outcome, slot, tokensIn, tokensOut, prefillMs, decodeMs, reason } = settlement;
	const values: Values = [settleForm, outcome, slot, tokensIn, tokensOut, prefillMs, decodeMs, reason, correlationId];
	putLease(values, lease);
	return values;
}

function unpackSettle(values: Values): Settle {
	const settlement: Settlement = {
		outcome: values[1] as Settlement['outcome'],
		slot: values[2] as Settlement['slot'],
		tokensIn: values[3] as number,
		tokensOut: values[4] as number,
		prefillMs: values[5] as number,
		decodeMs: values[6] as number,
		reason: values[7] as string,
	};
	const lease = leaseAt(values, 9);
	const correlationId = values[8] as string | undefined;
	return correlationId === undefined ? { type: 'settle', lease, settlement } : { type: 'settle', lease, settlement, correlationId };
}
