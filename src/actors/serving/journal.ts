/**
 * The journal of durable tasks, on the store thread: what must not be lost is on disk before anybody is told of it. All that comes within a
 * pass of the event loop, or while a commit is under way, is the next commit: written together, synced once, then answered.
 * ```
 *   keep-task ──► live ──keep-end──► ended ──forget-tasks──► forgotten        live, at each join of its home: one more run
 *     └─ not on disk, or drop-task ─► nothing      ended, forgotten ──retention over──► nothing
 * ```
 * Of what it holds it keeps an index in memory. Bounded by the bytes of its records: ended ones are forgotten early, then nothing new gets in.
 */
import type { ActorContext, Behavior, Next, Setup, Signal } from '../kernel/behavior.ts';
import type { ActorRef } from '../kernel/ref.ts';
import { JournalCommits, type JournalJob } from './journal-commits.ts';
import { type Entry, type JournalIndex, noteOf } from './journal-index.ts';
import type { JournalCommand, JournalKept, JournalNews, JournalProblem } from './journal-messages.ts';
import { JournalRecall } from './journal-recall.ts';
import { forgottenRecord, headOf } from './journal-record.ts';
import { JournalSessions } from './journal-sessions.ts';
import type { JournalStore, JournalWrite, StoreProblem } from './journal-store.ts';
import { SureNews } from './sure-news.ts';

export type JournalMessage =
	| JournalCommand
	| { readonly type: 'commit-due' | 'recall-due' | 'expire-due' | 'answers-due' }
	| { readonly type: 'commit-over'; readonly problem: StoreProblem | null };

export interface JournalOptions {
	readonly store: JournalStore;
	/** Made of it, for the front threads that may join. */
	readonly index: JournalIndex;
	/** How long ended tasks are kept. */
	readonly retentionMs: number;
	/** Of all records. */
	readonly bytesMax: number;
	/** Ended tasks that a front is given with their events, at most. */
	readonly recallBytesMax: number;
	/** Milliseconds since 1970. */
	readonly wallNow: () => number;
	/** Runs it once what has arrived is read. */
	readonly later: (run: () => void) => void;
}

const expireEveryMs = 1_000;
/** A link without room for answers has some again by then. */
const answerAgainMs = 20;

export function journal(options: JournalOptions): Setup<JournalMessage> {
	return (ctx) => new Journal(ctx, options);
}

class Journal implements Behavior<JournalMessage> {
	readonly #ctx: ActorContext<JournalMessage>;
	readonly #options: JournalOptions;
	readonly #index: JournalIndex;
	readonly #commits: JournalCommits;
	readonly #recall: JournalRecall;
	readonly #kept: JournalSessions;
	readonly #fronts = new Map<string, { readonly ref: ActorRef<JournalNews>; readonly session: number }>();
	readonly #answers: SureNews<JournalKept>;
	#sessions = 0;

	constructor(ctx: ActorContext<JournalMessage>, options: JournalOptions) {
		this.#ctx = ctx;
		this.#options = options;
		this.#index = options.index;
		const { self } = ctx;
		this.#answers = new SureNews(() => ctx.setTimer('answers', answerAgainMs, { type: 'answers-due' }));
		this.#commits = new JournalCommits(options.store, ctx, {
			soon: () => options.later(() => void self.tell({ type: 'commit-due' })),
			over: (problem) => void self.tell({ type: 'commit-over', problem }),
		});
		this.#recall = new JournalRecall(ctx, options.store, this.#index, options.recallBytesMax);
		this.#kept = new JournalSessions(options.store);
		this.#expire();
		this.#show();
	}

	onMessage(_ctx: ActorContext<JournalMessage>, message: JournalMessage): Next<JournalMessage> {
		switch (message.type) {
			case 'join-journal':
				this.#join(message);
				break;
			case 'recall-more':
				this.#recall.more(message.frontId, message.session);
				break;
			case 'recall-due':
				this.#recall.sendAgain();
				break;
			case 'keep-task':
				this.#keepTask(message);
				break;
			case 'keep-end':
				this.#keepEnd(message);
				break;
			case 'drop-task':
				this.#dropTask(message);
				break;
			case 'keep-key':
				this.#keepKey(message);
				break;
			case 'note-watched':
				this.#noteWatched(message);
				break;
			case 'keep-sessions':
				if (this.#isCurrent(message.session)) this.#addJob(this.#kept.keep(message.sessions, message.forgotten));
				break;
			case 'forget-tasks':
				for (const taskId of message.taskIds) {
					const entry = this.#index.get(taskId);
					if (entry?.session === message.session && entry.state === 'ended') this.#forget(taskId, entry);
				}
				break;
			case 'commit-due':
				this.#commits.begin();
				break;
			case 'commit-over':
				this.#commits.end(message.problem);
				this.#show();
				break;
			case 'expire-due':
				this.#expire();
				break;
			case 'answers-due':
				this.#answers.tellAgain();
				break;
		}
		return 'same';
	}

	onSignal(_ctx: ActorContext<JournalMessage>, signal: Signal): Next<JournalMessage> {
		if (signal.type !== 'terminated') return 'same';
		for (const [frontId, front] of this.#fronts) {
			if (front.ref !== signal.ref) continue;
			this.#fronts.delete(frontId);
			this.#recall.stop(frontId);
		}
		return 'same';
	}

	// ── fronts ───────────────────────────────────────────────────────────────────────────────────────────────────

	/** What is live at home there begins anew, under a number that nobody has seen. */
	#join({ frontId, replyTo: ref }: Extract<JournalCommand, { type: 'join-journal' }>): void {
		const before = this.#fronts.get(frontId);
		if (before !== undefined) this.#ctx.unwatch(before.ref);
		this.#recall.stop(frontId);
		this.#sessions += 1;
		const session = this.#sessions;
		this.#fronts.set(frontId, { ref, session });
		this.#ctx.watch(ref);
		// Behind what the thread before it had sent.
		this.#commits.add({
			prepare: () => {
				const writes: JournalWrite[] = [];
				for (const [taskId, entry] of this.#index.of(frontId)) {
					entry.session = session;
					if (entry.state !== 'live') continue;
					entry.run += 1;
					writes.push({ table: 'notes', key: taskId, value: noteOf(entry) });
				}
				return writes;
			},
			isNew: false,
			settle: (problem) => {
				if (this.#fronts.get(frontId)?.session !== session) return;
				// Without numbers of their own its tasks may not run: the front waits, and this is tried again.
				if (problem !== null) this.#ctx.setTimer(`join-${frontId}`, expireEveryMs, { type: 'join-journal', frontId, replyTo: ref });
				else this.#recall.begin(frontId, session, ref, this.#kept.all());
			},
		});
	}

	// ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────────

	#keepTask({ session, taskId, record, replyTo }: Extract<JournalCommand, { type: 'keep-task' }>): void {
		const answer = this.#answerTo(replyTo, 'task', taskId);
		if (!this.#isCurrent(session) || this.#index.get(taskId) !== undefined) return answer('unknown');
		if (!this.#makeRoom(record.length)) return answer('bound');
		const { home, admittedAt, ordinal } = headOf(record);
		const entry: Entry = {
			home,
			session,
			state: 'live',
			bytes: record.length,
			admittedAt,
			ordinal,
			endedAt: 0,
			run: 1,
			keys: [],
			watched: false,
		};
		this.#index.add(taskId, entry);
		this.#commits.add({
			prepare: () => [{ table: 'live', key: taskId, value: record }],
			isNew: true,
			settle: (problem) => {
				if (problem !== null) this.#index.remove(taskId, entry);
				answer(problem);
			},
		});
	}

	#keepEnd({ session, taskId, record, replyTo }: Extract<JournalCommand, { type: 'keep-end' }>): void {
		const answer = this.#answerTo(replyTo, 'end', taskId);
		const entry = this.#index.get(taskId);
		if (entry?.session !== session || entry.state !== 'live') return answer('unknown');
		this.#commits.add({
			prepare: () => {
				// Its admission may have failed in the meantime.
				if (this.#index.get(taskId) !== entry) return null;
				return [
					{ table: 'live', key: taskId, value: null },
					{ table: 'ended', key: taskId, value: record },
				];
			},
			isNew: false,
			settle: (problem) => {
				if (problem === null) this.#index.end(taskId, entry, record.length, headOf(record).endedAt ?? 0);
				answer(problem);
			},
		});
	}

	#dropTask({ session, taskId, replyTo }: Extract<JournalCommand, { type: 'drop-task' }>): void {
		const answer = this.#answerTo(replyTo, 'drop', taskId);
		const entry = this.#index.get(taskId);
		if (entry?.session !== session) return answer(null);
		this.#commits.add({
			prepare: () => (this.#index.get(taskId) === entry ? gone(taskId) : null),
			isNew: false,
			settle: (problem) => {
				if (problem === null) this.#index.remove(taskId, entry);
				answer(problem === 'unknown' ? null : problem);
			},
		});
	}

	#keepKey({ session, taskId, key, replyTo }: Extract<JournalCommand, { type: 'keep-key' }>): void {
		const answer = this.#answerTo(replyTo, 'key', taskId);
		const entry = this.#index.get(taskId);
		if (entry?.session !== session) return answer('unknown');
		entry.keys = [...entry.keys, key];
		this.#commits.add({
			prepare: () => {
				if (this.#index.get(taskId) !== entry) return null;
				return [{ table: 'notes', key: taskId, value: noteOf(entry) }];
			},
			isNew: true,
			settle: (problem) => {
				if (problem !== null) entry.keys = entry.keys.filter((each) => each !== key);
				answer(problem);
			},
		});
	}

	#answerTo(replyTo: ActorRef<JournalKept>, what: JournalKept['what'], taskId: string): (problem: JournalProblem | null) => void {
		return (problem) => this.#answers.tell(replyTo, { type: 'journal-kept', what, taskId, problem });
	}

	#noteWatched({ session, taskId }: Extract<JournalCommand, { type: 'note-watched' }>): void {
		const entry = this.#index.get(taskId);
		if (entry?.session !== session || entry.watched) return;
		entry.watched = true;
		this.#commits.add({
			prepare: () => (this.#index.get(taskId) === entry ? [{ table: 'notes', key: taskId, value: noteOf(entry) }] : null),
			isNew: true,
			settle: () => undefined,
		});
	}

	#isCurrent(session: number): boolean {
		return [...this.#fronts.values()].some((front) => front.session === session);
	}

	// ── what is kept no longer ───────────────────────────────────────────────────────────────────────────────────

	/** Of `bytes` more. What has ended makes way for what is to run. False: nothing of it is left. */
	#makeRoom(bytes: number): boolean {
		const { bytesMax } = this.#options;
		if (this.#index.bytes - this.#index.endedBytes + bytes > bytesMax) return false;
		for (const [taskId, entry] of this.#index.ended()) {
			if (this.#index.bytes + bytes <= bytesMax) return true;
			this.#forget(taskId, entry);
		}
		return this.#index.bytes + bytes <= bytesMax;
	}

	/** Its id and keys stay until its time is over. */
	#forget(taskId: string, entry: Entry): void {
		const record = this.#options.store.read('ended', taskId);
		if (record === null) return;
		const short = forgottenRecord(record);
		this.#index.forget(entry, short.length);
		this.#commits.add({
			prepare: () => (this.#index.get(taskId) === entry ? [{ table: 'ended', key: taskId, value: short }] : null),
			isNew: false,
			settle: () => undefined,
		});
	}

	/** The time of what has ended. What cannot be deleted now is, when the journal is next opened. */
	#expire(): void {
		this.#ctx.setTimer('expire', expireEveryMs, { type: 'expire-due' });
		this.#addJob(this.#kept.expire(this.#options.wallNow()));
		const before = this.#options.wallNow() - this.#options.retentionMs;
		const expired: string[] = [];
		for (const [taskId, entry] of this.#index.ended(true)) {
			if (entry.endedAt > before) break;
			expired.push(taskId);
			this.#index.remove(taskId, entry);
		}
		if (expired.length === 0) return;
		this.#commits.add({ prepare: () => expired.flatMap(gone), isNew: false, settle: () => undefined });
	}

	#addJob(job: JournalJob | null): void {
		if (job !== null) this.#commits.add(job);
	}

	#show(): void {
		const { telemetry } = this.#ctx;
		telemetry.gauge('journal_bytes', {}, this.#index.bytes);
		telemetry.gauge('journal_tasks', { state: 'live' }, this.#index.live);
		telemetry.gauge('journal_tasks', { state: 'ended' }, this.#index.size - this.#index.live);
	}
}

function gone(taskId: string): JournalWrite[] {
	return (['live', 'notes', 'ended'] as const).map((table) => ({ table, key: taskId, value: null }));
}
