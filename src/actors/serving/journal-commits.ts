/**
 * Group commit: what is to be written, in order, one commit at a time, each with all that has come by then. Part of the Journal actor. A
 * commit that fails leaves nothing: what is new in it is refused, and the rest is tried once more without that, for it ends things.
 */
import type { Telemetry } from '../kernel/telemetry.ts';
import type { JournalProblem } from './journal-messages.ts';
import type { JournalStore, JournalWrite, StoreProblem } from './journal-store.ts';

export interface JournalJob {
	/** When its commit begins, behind those before it. Null: there is nothing left that it could be about. */
	prepare(): readonly JournalWrite[] | null;
	/** It makes the store hold more. */
	readonly isNew: boolean;
	/** Once: it is on disk, or why not. */
	settle(problem: JournalProblem | null): void;
}

interface Surroundings {
	readonly telemetry: Telemetry;
	now(): number;
}

interface Prepared {
	readonly job: JournalJob;
	readonly writes: readonly JournalWrite[] | null;
}

export class JournalCommits {
	readonly #store: JournalStore;
	readonly #around: Surroundings;
	readonly #soon: () => void;
	readonly #over: (problem: StoreProblem | null) => void;
	#waiting: JournalJob[] = [];
	#current: readonly Prepared[] | null = null;
	/** Those of a commit that failed: the next one is theirs alone. */
	#again: readonly JournalJob[] | null = null;
	#due = false;
	#begunAt = 0;
	#failing = false;

	/** `soon`: `begin` is to be called once what has arrived is read; `over`: `end`, in a later turn. */
	constructor(
		store: JournalStore,
		around: Surroundings,
		{ soon, over }: { readonly soon: () => void; readonly over: (problem: StoreProblem | null) => void },
	) {
		this.#store = store;
		this.#around = around;
		this.#soon = soon;
		this.#over = over;
		for (const outcome of ['ok', 'failed']) around.telemetry.expect('journal_commits_total', { outcome });
		around.telemetry.expect('journal_commit_ms', {});
	}

	add(job: JournalJob): void {
		this.#waiting.push(job);
		this.#beginSoon();
	}

	begin(): void {
		this.#due = false;
		if (this.#current !== null) return;
		const jobs = this.#again ?? this.#waiting;
		if (this.#again === null) this.#waiting = [];
		if (jobs.length === 0) return;
		this.#current = jobs.map((job) => ({ job, writes: job.prepare() }));
		const writes = this.#current.flatMap((each) => each.writes ?? []);
		this.#begunAt = this.#around.now();
		if (writes.length === 0) this.#over(null);
		else this.#store.commit(writes, this.#over);
	}

	end(problem: StoreProblem | null): void {
		const current = this.#current;
		if (current === null) throw new Error('journal: a commit is over that had not begun');
		this.#current = null;
		const isSecond = this.#again !== null;
		this.#again = null;
		this.#tell(problem);
		const rest: JournalJob[] = [];
		for (const { job, writes } of current) {
			if (writes === null) job.settle('unknown');
			else if (problem === null || isSecond || job.isNew) job.settle(problem?.kind ?? null);
			else rest.push(job);
		}
		if (rest.length > 0) this.#again = rest;
		if (this.#again !== null || this.#waiting.length > 0) this.#beginSoon();
	}

	#beginSoon(): void {
		if (this.#due || this.#current !== null) return;
		this.#due = true;
		this.#soon();
	}

	#tell(problem: StoreProblem | null): void {
		const { telemetry } = this.#around;
		telemetry.count('journal_commits_total', { outcome: problem === null ? 'ok' : 'failed' });
		telemetry.observe('journal_commit_ms', {}, this.#around.now() - this.#begunAt);
		if (this.#failing === (problem !== null)) return;
		this.#failing = problem !== null;
		if (problem !== null) {
			const why = problem.kind === 'full' ? 'its disk is full' : problem.words;
			const human = `Nothing can be written to the store: ${why}. Durable tasks are refused, and those that end wait to be written.`;
			telemetry.log('error', 'journal-failed', { code: problem.kind, message: problem.words, human });
		} else telemetry.log('info', 'journal-recovered', { human: 'The store can be written to again.' });
	}
}
