/**
 * What a task needs to go on in another slot: the ids of its tokens so far, what it may still make, why it left. Part of the Task
 * actor, same thread and turn. The ids take four bytes a token, within what is reserved for the log.
 *
 * ```
 *   begins ── pieces ──► (leaving ── the engine lets go ──►) left ── next lease ──► begins, behind its tokens
 * ```
 * A slot can be lost to a crash a few times only, and only twice in a row without a new token: the request may be what kills
 * its engines. Leaving for others costs nothing of that.
 */
import { isMovable, isSameModel } from './continuation.ts';
import { type GenerateRequest, type Pieces, pieceHasIds, recordTextAt } from './decode.ts';
import { type Failure, failure } from './failure.ts';
import { tokenIdBytes } from './log-space.ts';
import type { LeftBehind, PlacementNews, ReplicaFacts, TaskSummary } from './messages.ts';
import type { TaskRecord } from './task-record.ts';
import type { MoveReason } from './task-telemetry.ts';

type Granted = Extract<PlacementNews, { type: 'granted' }>;

/** A replica that cannot be reached is known to its pool within this many tries, as a rule. */
const attemptsMax = 20;
/** Of those, with engines that may have had the request and died before they began: it may be what kills them. */
const uncertainMax = 2;
const lossesMax = 8;
const fruitlessMax = 2;
const idsMin = 64;
const emptyIds = new Uint32Array(0);
const noIds: readonly number[] = [];

export class TaskContinuation {
	readonly #record: TaskRecord;
	readonly #movable: boolean;
	/** The pool and the engine of the lease allow it. */
	#allowed = false;
	/** Of the first slot: it would have ended there by these. */
	#bounds: Pick<GenerateRequest, 'maxTokens' | 'ctx'> | null = null;
	#ids = emptyIds;
	#count = 0;
	/** The model that the tokens are of, and where it was. */
	#left: Omit<LeftBehind, 'tokens'> | null = null;
	/** Leases whose engine could not be reached. */
	#attempts = 0;
	#uncertain = 0;
	#begun = false;
	#losses = 0;
	#fruitless = 0;
	/** Asked to leave the slot: the engine has yet to let go. */
	leaving: MoveReason | null = null;
	/** Why the last slot was left; null: it has not left any, or is in its next. */
	left: MoveReason | null = null;

	constructor(record: TaskRecord) {
		this.#record = record;
		this.#movable = isMovable(record.request);
	}

	/** Nothing stands against going on elsewhere, behind all tokens so far. */
	get possible(): boolean {
		return this.#allowed && this.#count === this.#record.log.tokens;
	}

	/** Whether a slot with this model serves for what is left. */
	fits(replica: ReplicaFacts): boolean {
		return this.#record.moves === 0 || (this.#left !== null && isSameModel(this.#left, replica));
	}

	/** Most tokens that the task can make in all, there and in the slots before. */
	outputMax({ maxTokensOut, ctx }: Granted): number {
		const bounds = this.#boundsWith(maxTokensOut, ctx);
		return Math.min(bounds.maxTokens, bounds.ctx);
	}

	/** A lease begins: what its engine is to do. */
	begin({ lease, maxTokensOut, ctx, migration, replica }: Granted): GenerateRequest {
		const { request } = this.#record;
		const ids = this.#count === 0 ? noIds : Array.from(this.#ids.subarray(0, this.#count));
		if (ids.length !== this.#record.tokensOut) throw new Error('task: goes on without the ids of all its tokens');
		this.#bounds = this.#boundsWith(maxTokensOut, ctx);
		this.#allowed = this.#movable && migration && replica.features.includes('resume');
		this.#left = { poolId: replica.poolId, modelDigest: replica.modelDigest, modelName: replica.modelName };
		this.left = null;
		this.#begun = false;
		return {
			lease,
			input: request.input,
			workload: request.workload,
			maxTokensExplicit: request.maxTokens !== null,
			maxTokens: this.#bounds.maxTokens,
			ctx: this.#bounds.ctx,
			sampling: request.sampling,
			seed: request.seed,
			strict: request.strict,
			priority: request.priority,
			kvHint: request.kvHint,
			tellIds: this.#allowed,
			resume: ids.length === 0 ? null : { ids },
		};
	}

	/** What it was allowed at first, or what its session still allows where the client has named no limit. */
	#boundsWith(maxTokensOut: number, ctx: number): Pick<GenerateRequest, 'maxTokens' | 'ctx'> {
		const { request, tokensOut } = this.#record;
		if (this.#bounds === null) return { maxTokens: request.maxTokens ?? maxTokensOut, ctx };
		return request.maxTokens === null
			? { ...this.#bounds, maxTokens: Math.min(this.#bounds.maxTokens, tokensOut + maxTokensOut) }
			: this.#bounds;
	}

	/** The engine has told of the generation under way. */
	begun(): void {
		this.#begun = true;
	}

	/** The ids of what is logged are to be told to `take`. */
	get keepsIds(): boolean {
		return this.#allowed;
	}

	/** The ids of what is logged. Once per batch of tokens. False: of what follows they are not wanted any more. */
	take({ bytes, start, end, count }: Pieces): boolean {
		let at = start;
		for (let record = 0; record < count && at < end; record++) {
			const tokens = bytes[at + 2] as number;
			const text = recordTextAt(bytes, at);
			if (((bytes[at + 3] as number) & pieceHasIds) === 0 || !this.#hasRoom(tokens)) {
				this.#allowed = false;
				return false;
			}
			for (let id = at + text - tokenIdBytes * tokens; id < at + text; id += tokenIdBytes)
				this.#ids[this.#count++] = bytes.readUInt32LE(id);
			at += text + ((bytes[at] as number) | ((bytes[at + 1] as number) << 8));
		}
		return true;
	}

	/** The engine was gone before it had the request, or (`sure` false) before it said that it had begun: another try repeats nothing. */
	mayTryAgain(sure: boolean, slot: 'free' | 'unknown'): boolean {
		if (this.leaving !== null || this.#attempts >= attemptsMax) return false;
		const unheard = slot === 'unknown' && !this.#begun && this.#record.firstTokenAt === null;
		if (!sure && !(unheard && this.#uncertain++ < uncertainMax)) return false;
		this.#attempts++;
		return true;
	}

	/** The slot is gone: given up (`leaving`), or lost with its engine. False: the task does not survive that. */
	survives(): boolean {
		if (!this.possible) return false;
		if (this.leaving !== null) return true;
		this.#losses++;
		this.#fruitless = this.#record.tokensOut > this.#record.tokensBefore ? 0 : this.#fruitless + 1;
		return this.#losses <= lossesMax && this.#fruitless <= fruitlessMax;
	}

	leave(reason: MoveReason): void {
		this.leaving = null;
		this.left = reason;
	}

	/** What the scheduler is to know. */
	get summary(): Pick<TaskSummary, 'movable' | 'resume' | 'ctx'> {
		const { moves, log, request } = this.#record;
		const resume = moves === 0 || this.#left === null ? null : { ...this.#left, tokens: log.tokens };
		return { movable: this.#movable, resume, ctx: resume === null ? request.ctx : (this.#bounds?.ctx ?? null) };
	}

	/** False: more tokens than the engine may make. */
	#hasRoom(tokens: number): boolean {
		const needed = this.#count + tokens;
		if (needed <= this.#ids.length) return true;
		const most = Math.min(this.#bounds?.maxTokens ?? 0, this.#bounds?.ctx ?? 0);
		if (needed > most) return false;
		const grown = new Uint32Array(Math.min(most, Math.max(idsMin, needed, this.#ids.length * 2)));
		grown.set(this.#ids);
		this.#ids = grown;
		return true;
	}
}

/** A task that had begun finds no slot to go on in. */
export function nowhere(why: string): Failure {
	return failure('WORKER_RESET', `the engine is gone, and the task cannot go on elsewhere: ${why}`);
}
