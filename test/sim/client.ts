/**
 * A client of a simulation: submits a task, again when it feels like it, watches now or later or never, cancels at any moment,
 * leaves. Its connections go now to one front, now to another.
 */
import type { Opening } from '../../src/actors/serving/task-directory.ts';
import type { TaskRequest } from '../../src/actors/serving/task-request.ts';
import { taskRequest } from '../serving/task-requests.ts';
import { overruns } from './engine-process.ts';
import type { FrontRole } from './front-role.ts';
import { Reading } from './reading.ts';
import type { Universe } from './universe.ts';

/** One `POST /v2/tasks`. */
export interface Submission {
	readonly request: TaskRequest;
	/** The front that had it, with its incarnation; null while none has. */
	front: string | null;
	readonly answers: Opening[];
	/** The `tasks` actor was too busy to be told. */
	busy: boolean;
}

export interface ClientSurroundings {
	front(name: string): FrontRole | undefined;
	readonly submissions: Submission[];
	readonly readings: Reading[];
}

/** Some have budgets that are set now and then, some one from the beginning. */
export const changedSessions = ['session-0', 'session-1', 'session-2', 'session-3'];
export const keptSessions = ['kept-0', 'kept-1'];

/** An engine that overruns its bound overruns the budget too. */
function sessionOf(taskId: string, drawn: number): string | null {
	const ids = [...(overruns(taskId) ? [] : keptSessions), ...changedSessions];
	return ids[drawn % ids.length] ?? null;
}

export class Client {
	readonly #universe: Universe;
	readonly #around: ClientSurroundings;
	readonly #name: string;
	readonly #request: TaskRequest;
	readonly #patienceMs: number;

	/** `known`: requests of others; some clients send one of these again. */
	constructor(universe: Universe, around: ClientSurroundings, number: number, known: readonly { request: TaskRequest }[]) {
		this.#universe = universe;
		this.#around = around;
		this.#name = `client-${number}`;
		this.#patienceMs = universe.plan.activeMs;
		const { random } = universe;
		const other = random.below(6) === 0 ? known[random.below(Math.max(1, known.length))] : undefined;
		this.#request =
			other === undefined ? this.#draw(number) : random.below(4) === 0 ? { ...other.request, bodyHash: 'other' } : other.request;
		const { link, engine } = universe.plan;
		// Most find a daemon that is up.
		const comesAt = random.next() * this.#patienceMs + (random.below(5) === 0 ? 0 : Math.min(300, link.lagMs * 4 + engine.loadMs));
		const submits = 1 + (random.below(4) === 0 ? random.below(3) : 0);
		for (let again = 0; again < submits; again += 1) {
			this.#later(comesAt + random.next() * again * this.#patienceMs * 0.3, () => this.#submit());
		}
		const watches = [1, 1, 1, 2, 0, 3][random.below(6)] ?? 1;
		for (let watch = 0; watch < watches; watch += 1) {
			const waits = random.below(3) === 0 ? random.next() * this.#patienceMs : 1;
			this.#later(comesAt + waits, () => this.#watch());
		}
		const cancels = [0, 0, 0, 1, 1, 2][random.below(6)] ?? 0;
		for (let cancel = 0; cancel < cancels; cancel += 1) {
			this.#later(comesAt + random.next() * this.#patienceMs * (random.below(2) === 0 ? 0.05 : 0.8), () => this.#cancel());
		}
	}

	get sent(): { readonly request: TaskRequest } {
		return { request: this.#request };
	}

	#draw(number: number): TaskRequest {
		const { random, plan } = this.#universe;
		const taskId = `t${number}`;
		const long = random.below(8) === 0 ? ' word'.repeat(90) : '';
		const pinned = random.below(5) === 0 ? (plan.pools[random.below(plan.pools.length)]?.poolId ?? null) : null;
		return taskRequest(taskId, {
			idempotencyKey: random.below(5) === 0 ? `key-${taskId}` : null,
			priority: random.below(3) === 0 ? 'batch' : 'interactive',
			sessionId: random.below(3) === 0 ? sessionOf(taskId, random.below(6)) : null,
			tenant: ['a', 'b', 'c'][random.below(3)] ?? 'a',
			input: { kind: 'prompt', text: `${taskId} ${long}`, raw: true },
			maxTokens: random.below(2) === 0 ? null : 1 + random.below(64),
			deadlineMs: random.below(6) === 0 ? 20 + random.below(plan.activeMs) : null,
			strict: random.below(10) === 0,
			onDisconnect: random.below(2) === 0 ? 'cancel' : 'detach',
			disconnectGraceMs: [0, 50, 2_000][random.below(3)] ?? 0,
			placement: { ...taskRequest(taskId).placement, ...(pinned === null ? {} : { mode: 'pin', pinPoolId: pinned }) },
		});
	}

	#later(ms: number, act: () => void): void {
		this.#universe.outside.setTimer(ms, act);
	}

	/** Where a connection happens to end up. */
	#anyFront(): FrontRole | undefined {
		const { fronts } = this.#universe.plan;
		return this.#around.front(fronts[this.#universe.random.below(fronts.length)] ?? '');
	}

	/** Runs in the thread of the front, if there is one and it lives that long. */
	#atFront(act: (front: FrontRole) => void, away: () => void): void {
		const front = this.#anyFront();
		if (front === undefined) away();
		else front.thread.host.defer(() => act(front));
	}

	#submit(): void {
		const submission: Submission = { request: this.#request, front: null, answers: [], busy: false };
		const { random, calm } = this.#universe;
		this.#atFront(
			(front) => {
				submission.front = front.thread.label;
				this.#around.submissions.push(submission);
				const { taskId } = this.#request;
				this.#universe.did(this.#name, `submits ${taskId} to ${front.thread.label}`);
				submission.busy = !front.open(this.#request, (opening) => {
					submission.answers.push(opening);
					const words = opening.type === 'task-opened' ? `202 ${opening.fresh ? 'fresh' : 'again'}` : opening.failure.code;
					this.#universe.did(this.#name, `is answered for ${taskId}: ${words}`);
					const retriable = opening.type === 'task-refused' && opening.failure.retriable;
					if (retriable && !calm && random.below(3) === 0) this.#later(random.next() * 300, () => this.#submit());
				});
			},
			() => {
				if (random.below(3) > 0 && !calm) this.#later(random.next() * 400, () => this.#submit());
			},
		);
	}

	#watch(): void {
		const { random } = this.#universe;
		const reading = new Reading(this.#universe, this.#name, this.#request.taskId, () => this.#anyFront(), {
			after: random.below(8) === 0 ? random.below(4) : 0,
			paceMs: [1, 20, 200][random.below(3)] ?? 1,
			socketBytes: [1 << 20, 1 << 20, 300][random.below(3)] ?? 300,
			lossPercent: [0, 2, 15][random.below(3)] ?? 0,
			leavesAfter: random.below(5) === 0 ? random.below(10) : null,
		});
		this.#around.readings.push(reading);
	}

	#cancel(): void {
		const { taskId } = this.#request;
		this.#atFront(
			(front) => {
				this.#universe.did(this.#name, `cancels ${taskId}`);
				front.cancel(taskId, (status) => this.#universe.did(this.#name, `is told of its cancel of ${taskId}: ${status}`));
			},
			() => undefined,
		);
	}
}
