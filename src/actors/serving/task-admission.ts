/**
 * How a task gets in: those who wait for the answer to `open-task`, the count of a prompt that may not fit, the summary
 * that goes to the dispatcher. Part of the Task actor, same thread and turn.
 */
import type { ActorContext } from '../kernel/behavior.ts';
import type { ActorRef } from '../kernel/ref.ts';
import type { Failure } from './failure.ts';
import { failure } from './failure.ts';
import type { ReplicaFacts, TaskSummary } from './messages.ts';
import { prefixesOf } from './prefix.ts';
import { counterFor, featuresNeeded, poolsNamed, promptBytesMax, requestBytes } from './prompt-bounds.ts';
import type { TaskClaims } from './task-claims.ts';
import type { TaskContinuation } from './task-continuation.ts';
import type { Opening } from './task-directory.ts';
import type { TaskMessage, TaskSurroundings } from './task-messages.ts';
import type { TaskRecord } from './task-record.ts';

const countMs = 250;
/** The dispatcher answers within a turn or two. One that does not must not keep a task here for ever. */
const answerMs = 9000;
/** Clients that wait for one admission: the same id or key sent again and again. */
const openersMax = 1000;
const retryAfterMs = 1000;

export class TaskAdmission {
	readonly #ctx: ActorContext<TaskMessage>;
	readonly #record: TaskRecord;
	readonly #claims: TaskClaims;
	readonly #around: TaskSurroundings;
	readonly #continuation: TaskContinuation;
	/** Ends the task before it was admitted. */
	readonly #refuse: (problem: Failure) => void;
	#openers: ActorRef<Opening>[] = [];
	#begun = false;
	#recalled = false;
	#counting = false;
	/** A tokenizer was asked, whatever came of it. */
	#counted = false;
	#promptBytes = 0;
	#promptTokens: number | null = null;
	#queuedBytes = 0;
	#prefixes: readonly number[] = [];

	constructor(
		ctx: ActorContext<TaskMessage>,
		record: TaskRecord,
		claims: TaskClaims,
		around: TaskSurroundings,
		continuation: TaskContinuation,
		refuse: (problem: Failure) => void,
	) {
		this.#ctx = ctx;
		this.#record = record;
		this.#claims = claims;
		this.#around = around;
		this.#continuation = continuation;
		this.#refuse = refuse;
	}

	open(replyTo: ActorRef<Opening>): void {
		if (this.#record.admitted || this.#record.ended) {
			replyTo.tell(this.#answer(false));
			return;
		}
		if (this.#openers.length === openersMax) {
			const message = `${openersMax} requests wait for this task's admission`;
			replyTo.tell({ type: 'task-refused', failure: failure('ADMISSION_REJECT', message, { retryAfterMs, policyLabel: 'rate' }) });
			return;
		}
		this.#openers.push(replyTo);
		if (this.#begun) return;
		this.#prepare();
		const counter = counterFor(this.#record.request, this.#promptBytes, this.#around.pools());
		if (counter === null) this.submit();
		else this.#count(counter);
	}

	/** It had its 202 of an earlier thread or daemon: what was looked at then is not looked at again, and it is submitted by a report. */
	recall(): void {
		this.#record.admitted = true;
		this.#recalled = true;
		this.#counted = true;
		this.#prepare();
	}

	/** Null: nobody could say in time, so the engine will judge. */
	counted(tokens: number | null): void {
		if (!this.#counting || this.#record.ended) return;
		this.#counting = false;
		this.#counted = true;
		this.#ctx.cancelTimer('count');
		this.#promptTokens = tokens;
		this.#goOn();
	}

	/** To a new control thread. */
	submitAgain(): void {
		if (this.#record.admitted) this.#claims.submitAgain(this.summary());
		else if (!this.#counting) this.submit();
	}

	submit(): void {
		const sent = this.#claims.submit(this.summary());
		if (sent === 'closed') this.#refuse(unreachable());
		else if (sent === 'full') {
			this.#refuse(failure('ADMISSION_REJECT', 'the scheduler is behind', { retryAfterMs, policyLabel: 'reject' }));
		} else {
			this.#ctx.setTimer('answer', answerMs, { type: 'answer-overdue' });
		}
	}

	/** The submission was answered. */
	answered(): void {
		this.#ctx.cancelTimer('answer');
	}

	/** Nobody ever said where the task went: if it was queued, its end is noticed there by death watch. */
	unanswered(): void {
		this.#claims.placed();
		this.#refuse(unreachable());
	}

	summary(): TaskSummary {
		const { request, admittedAt } = this.#record;
		return {
			taskId: request.taskId,
			sessionId: request.sessionId,
			correlationId: request.correlationId,
			workload: request.workload,
			modelRef: request.modelRef,
			engine: request.engine,
			priority: request.priority,
			tenant: request.tenant,
			promptTokens: this.#promptTokens,
			promptBytes: this.#promptBytes,
			maxTokens: request.maxTokens,
			expectedTokens: request.expectedTokens,
			deadlineAt: request.deadlineMs === null ? null : admittedAt + request.deadlineMs,
			admittedAt,
			strict: request.strict,
			samplerProfileVersion: request.samplerProfileVersion,
			needs: featuresNeeded(request),
			placement: request.placement,
			prefixes: this.#prefixes,
			queuedBytes: this.#queuedBytes,
			...this.#continuation.summary,
			counted: this.#counted,
			recalled: this.#recalled,
			held: this.#record.held,
		};
	}

	/** Tells all who wait how it went, as the record now has it. */
	answerOpeners(): void {
		const openers = this.#openers;
		this.#openers = [];
		for (let i = 0; i < openers.length; i++) openers[i]?.tell(this.#answer(i === 0));
	}

	#prepare(): void {
		const { request, admittedAt } = this.#record;
		this.#begun = true;
		this.#promptBytes = promptBytesMax(request, this.#around.pools());
		this.#queuedBytes = requestBytes(request);
		this.#prefixes = prefixesOf(request);
		if (request.deadlineMs === null) return;
		const leftMs = Math.max(0, admittedAt + request.deadlineMs - this.#ctx.now());
		this.#ctx.setTimer('deadline', leftMs, { type: 'deadline-passed' });
	}

	/** Its session counts tokens: the exact number is wanted, where somebody can tell it. */
	countFirst(): void {
		if (this.#record.ended || !this.#claims.placing) return;
		this.answered();
		this.#claims.placed();
		const { request } = this.#record;
		const replicas = poolsNamed(request.modelRef, this.#around.pools()).flatMap((pool) => pool.replicas);
		const counter = replicas.find(({ state, facts }) => state === 'ready' && facts !== null)?.facts ?? null;
		if (counter !== null && request.workload === 'completion') return this.#count(counter);
		this.#counted = true;
		this.#goOn();
	}

	#goOn(): void {
		if (this.#record.admitted) this.submitAgain();
		else this.submit();
	}

	#count(counter: ReplicaFacts): void {
		const { request } = this.#record;
		this.#counting = true;
		this.#ctx.setTimer('count', countMs, { type: 'count-overdue' });
		this.#around.decode.count(counter, request.input, this.#ctx.self);
	}

	#answer(fresh: boolean): Opening {
		const { refused, failure: problem } = this.#record;
		return refused && problem !== null ? { type: 'task-refused', failure: problem } : this.#record.opening(fresh);
	}
}

/** No task gets in while the control thread is away. */
export function unreachable(): Failure {
	return failure('POOL_UNREADY', 'the scheduler is not reachable right now', { retryAfterMs });
}
