/**
 * What a front thread knows of the tasks of the others. Finds them for the handlers of this one, by asking the desks of their
 * homes, and has the events of those that clients here read copied, for as long as they do.
 * ```
 *   find (look)   ──► hinted home ──nothing──► all others ──► found · expired · nothing · not found out
 *   find (follow) ──► the same ──found──► copying ──caught up──► answered ──nobody reads, for lingerMs──► left
 * ```
 * The id of a task that a front made names that front; ids that clients chose are looked for everywhere.
 */
import type { ActorContext, Behavior, Next, Setup, Signal } from '../kernel/behavior.ts';
import type { ActorRef, AskOutcome } from '../kernel/ref.ts';
import type { AttachAnswered, DeskCommand, DeskNews, TaskAnswered, TaskIdentity, TasksListed } from './desk-messages.ts';
import { type Failure, failure } from './failure.ts';
import { type Copy, ForeignCopies } from './foreign-copies.ts';
import { type Answer, away, expired, type Home, notFoundOut, taskFound, tellAll } from './foreign-home.ts';
import { ForeignTask } from './foreign-task.ts';
import { logRetryAfterMs } from './log-space.ts';
import type { ElsewhereCommand, Opening, PageOf, TaskFound, TasksFound, TaskView } from './task-directory.ts';
import { comparePlaces, placeOfCursor, type TaskPlace } from './task-page.ts';
import type { TaskRegistry } from './task-registry.ts';
import type { TaskSnapshot } from './task-snapshot.ts';

export type ElsewhereMessage =
	| ElsewhereCommand
	/** From the composition root, for each front thread that comes up. Its end is heard by death watch. */
	| { readonly type: 'desk-connected'; readonly frontId: string; readonly desk: ActorRef<DeskCommand> }
	| AttachElsewhere
	| DeskNews
	| { readonly type: 'home-answered'; readonly search: Search; readonly home: Home; readonly outcome: AskOutcome<TaskAnswered> }
	| { readonly type: 'home-seen'; readonly copy: Copy; readonly outcome: AskOutcome<TaskAnswered>; readonly answers: readonly Answer[] }
	| {
			readonly type: 'home-attached';
			readonly home: Home;
			readonly outcome: AskOutcome<AttachAnswered>;
			readonly replyTo: ActorRef<Opening>;
	  }
	| { readonly type: 'home-listed'; readonly listing: Listing; readonly home: Home; readonly outcome: AskOutcome<TasksListed> }
	| { readonly type: 'sweep' };

/** From the `tasks` actor: a request that names a task of the front `frontId`. */
export interface AttachElsewhere {
	readonly type: 'attach-elsewhere';
	readonly frontId: string;
	readonly identity: TaskIdentity;
	readonly replyTo: ActorRef<Opening>;
}

export interface ElsewhereOptions {
	readonly frontId: string;
	/** Those of the other front threads, by number; this one's place is skipped. */
	readonly fronts: readonly string[];
	readonly registry: TaskRegistry;
}

interface Search {
	readonly taskId: string;
	readonly follow: boolean;
	/** Of those who asked before the homes were. */
	readonly answers: readonly Answer[];
	/** Of those who came later, and may know more than what is answered now: they look again. */
	readonly joined: Answer[];
	/** Homes that have not been asked. */
	unasked: readonly Home[];
	/** Homes that have not answered. */
	open: number;
	/** Some front could not be asked. */
	unsure: boolean;
	done: boolean;
}

interface Listing {
	readonly limit: number;
	readonly replyTo: ActorRef<TasksFound>;
	rows: { readonly cursor: string; readonly task: TaskView }[];
	more: boolean;
	/** Homes that have not answered. */
	open: number;
}

const askMs = 4_000;
const attachMs = 11_000;
const sweepMs = 500;

export function elsewhere(options: ElsewhereOptions): Setup<ElsewhereMessage> {
	return (ctx) => new Elsewhere(ctx, options);
}

class Elsewhere implements Behavior<ElsewhereMessage> {
	readonly #ctx: ActorContext<ElsewhereMessage>;
	readonly #options: ElsewhereOptions;
	readonly #registry: TaskRegistry;
	readonly #homes = new Map<string, Home>();
	/** Of those who follow; at most one for each task, and none for a task that is copied. */
	readonly #searches = new Map<string, Search>();
	readonly #copies: ForeignCopies;
	#sweeping = false;
	#sessions = 0;

	constructor(ctx: ActorContext<ElsewhereMessage>, options: ElsewhereOptions) {
		this.#ctx = ctx;
		this.#options = options;
		this.#registry = options.registry;
		this.#copies = new ForeignCopies(options.frontId, options.registry.logSpace);
	}

	onMessage(_ctx: ActorContext<ElsewhereMessage>, message: ElsewhereMessage): Next<ElsewhereMessage> {
		switch (message.type) {
			case 'tasks-moved':
				this.#onMoved(message);
				break;
			case 'find-task':
				this.#find(message.taskId, message.purpose === 'follow', null, [(found) => void message.replyTo.tell(found)]);
				break;
			case 'find-tasks':
				this.#list(message.page, message.replyTo);
				break;
			case 'desk-connected':
				this.#connect(message.frontId, message.desk);
				break;
			case 'attach-elsewhere':
				this.#attach(message);
				break;
			case 'home-answered':
				this.#onAnswered(message);
				break;
			case 'home-seen':
				this.#onSeen(message);
				break;
			case 'home-attached':
				this.#onAttached(message);
				break;
			case 'home-listed':
				this.#onListed(message);
				break;
			case 'sweep':
				this.#sweep();
				break;
		}
		return 'same';
	}

	onSignal(_ctx: ActorContext<ElsewhereMessage>, signal: Signal): Next<ElsewhereMessage> {
		if (signal.type !== 'terminated') return 'same';
		for (const home of this.#homes.values()) if (home.desk === signal.ref) this.#lose(home);
		return 'same';
	}

	// ── the other fronts ─────────────────────────────────────────────────────────────────────────────────────────

	#connect(frontId: string, desk: ActorRef<DeskCommand>): void {
		const before = this.#homes.get(frontId);
		if (before !== undefined) {
			this.#ctx.unwatch(before.desk);
			this.#lose(before);
		}
		const session = ++this.#sessions;
		this.#homes.set(frontId, { frontId, desk, session, owedBytes: 0 });
		this.#ctx.watch(desk);
		desk.tell({ type: 'join-desk', frontId: this.#options.frontId, session, replyTo: this.#ctx.self });
	}

	#lose(home: Home): void {
		this.#homes.delete(home.frontId);
		this.#copies.lose(home, this.#ctx.now());
	}

	// ── finding ──────────────────────────────────────────────────────────────────────────────────────────────────

	#find(taskId: string, follow: boolean, hint: Home | null, answers: readonly Answer[]): void {
		const here = this.#registry.lookup(taskId);
		if (here.found !== 'nothing') return tellAll(answers, { type: 'task-found', lookup: here });
		const copy = follow ? this.#copies.get(taskId) : undefined;
		if (copy !== undefined) return this.#catchUp(copy, answers);
		const running = follow ? this.#searches.get(taskId) : undefined;
		if (running !== undefined) {
			running.joined.push(...answers);
			return;
		}
		const search: Search = {
			taskId,
			follow,
			answers,
			joined: [],
			unasked: [...this.#homes.values()],
			open: 0,
			unsure: this.#homes.size < this.#options.fronts.length - 1,
			done: false,
		};
		if (follow) this.#searches.set(taskId, search);
		const first = hint ?? this.#madeBy(taskId);
		if (first === null || !search.unasked.includes(first)) return this.#askRest(search);
		search.unasked = search.unasked.filter((home) => home !== first);
		this.#ask(search, first);
	}

	#askRest(search: Search): void {
		const rest = search.unasked;
		search.unasked = [];
		for (const home of rest) this.#ask(search, home);
		if (search.open === 0) this.#finish(search, this.#nowhere(search));
	}

	#ask(search: Search, home: Home): void {
		search.open += 1;
		const { taskId, follow } = search;
		this.#ctx.ask<DeskCommand, TaskAnswered>(
			home.desk,
			askMs,
			(replyTo) =>
				follow ? { type: 'follow-task', frontId: this.#options.frontId, taskId, replyTo } : { type: 'ask-task', taskId, replyTo },
			(outcome) => ({ type: 'home-answered', search, home, outcome }),
		);
	}

	#onAnswered({ search, home, outcome }: Extract<ElsewhereMessage, { type: 'home-answered' }>): void {
		search.open -= 1;
		const { taskId, follow } = search;
		// An answer may wait behind the word that who gave it is gone.
		const lives = this.#homes.get(home.frontId) === home;
		const found = outcome.ok && lives ? outcome.reply.found : 'unsure';
		const snapshot = outcome.ok && lives ? outcome.reply.snapshot : null;
		if (search.done) return;
		if (snapshot !== null) this.#found(search, home, snapshot);
		else if (found === 'expired') this.#finish(search, expired(taskId));
		else {
			if (found === 'unsure') search.unsure = true;
			// An answer that came too late may have begun to send.
			if (follow && !outcome.ok) home.desk.tell({ type: 'leave-task', frontId: this.#options.frontId, taskId });
			if (search.open === 0) this.#askRest(search);
		}
	}

	#nowhere({ unsure }: Search): TaskFound {
		return unsure ? notFoundOut(away()) : { type: 'task-found', lookup: { found: 'nothing' } };
	}

	#finish(search: Search, found: TaskFound): void {
		this.#close(search);
		tellAll(search.answers, found);
		if (search.joined.length > 0) this.#find(search.taskId, true, null, search.joined);
	}

	#close(search: Search): void {
		search.done = true;
		if (search.follow) this.#searches.delete(search.taskId);
	}

	#found(search: Search, home: Home, snapshot: TaskSnapshot): void {
		const { taskId, answers, joined } = search;
		if (snapshot.log.forgotten) return this.#finish(search, snapshot.log.ended ? expired(taskId) : notFoundOut(away()));
		if (!search.follow) {
			const line = { desk: home.desk, ownFrontId: this.#options.frontId };
			return this.#finish(search, taskFound(new ForeignTask(snapshot, line, null)));
		}
		if (!this.#copies.open(home, snapshot, answers)) return this.#finish(search, notFoundOut(noRoom()));
		this.#close(search);
		this.#sweepSoon();
		if (joined.length > 0) this.#find(taskId, true, null, joined);
	}

	/** The reader may have seen, on its home, events that are not here yet. */
	#catchUp(copy: Copy, answers: readonly Answer[]): void {
		this.#ctx.ask<DeskCommand, TaskAnswered>(
			copy.home.desk,
			askMs,
			(replyTo) => ({ type: 'ask-task', taskId: copy.task.request.taskId, replyTo }),
			(outcome) => ({ type: 'home-seen', copy, outcome, answers }),
		);
	}

	#onSeen({ copy, outcome, answers }: Extract<ElsewhereMessage, { type: 'home-seen' }>): void {
		const { taskId } = copy.task.request;
		// It was left, or lost, in the meantime.
		if (this.#copies.get(taskId) !== copy) return this.#find(taskId, true, null, answers);
		const snapshot = outcome.ok ? outcome.reply.snapshot : null;
		if (!outcome.ok) tellAll(answers, notFoundOut(away()));
		else if (snapshot === null || snapshot.log.forgotten)
			tellAll(answers, snapshot?.log.ended === false ? notFoundOut(away()) : expired(taskId));
		else if (snapshot.admittedAt === copy.task.admittedAt) this.#copies.wait(copy, snapshot.log.lastSeq, answers);
		// Another life of the id.
		else if (this.#copies.leave(copy)) this.#find(taskId, true, copy.home, answers);
		else tellAll(answers, notFoundOut(away()));
	}

	/** The home that the id itself names, if it is one of ours and its front is there. */
	#madeBy(taskId: string): Home | null {
		const frontId = taskId[14] === '7' ? this.#options.fronts[Number.parseInt(taskId.slice(-2), 16)] : undefined;
		return frontId === undefined ? null : (this.#homes.get(frontId) ?? null);
	}

	// ── the same request again ───────────────────────────────────────────────────────────────────────────────────

	#attach({ frontId, identity, replyTo }: Extract<ElsewhereMessage, { type: 'attach-elsewhere' }>): void {
		const home = this.#homes.get(frontId);
		if (home === undefined) {
			replyTo.tell({ type: 'task-refused', failure: away() });
			return;
		}
		this.#ctx.ask<DeskCommand, AttachAnswered>(
			home.desk,
			attachMs,
			(judged) => ({ type: 'attach-task', identity, replyTo: judged }),
			(outcome) => ({ type: 'home-attached', home, outcome, replyTo }),
		);
	}

	#onAttached({ home, outcome, replyTo }: Extract<ElsewhereMessage, { type: 'home-attached' }>): void {
		const refuse = (why: Failure): void => void replyTo.tell({ type: 'task-refused', failure: why });
		if (!outcome.ok || outcome.reply.outcome === 'nothing') return refuse(away());
		if (outcome.reply.outcome === 'refused') return refuse(outcome.reply.failure);
		const { taskId, standing, poolId, onTimeProbability } = outcome.reply;
		// Whoever sent it may want to read it.
		const opened: Answer = (found) => {
			if (found.type === 'not-found-out') refuse(found.failure);
			else if (found.lookup.found !== 'task') refuse(away());
			else replyTo.tell({ type: 'task-opened', task: found.lookup.task, standing, poolId, onTimeProbability, fresh: false });
		};
		this.#find(taskId, true, home, [opened]);
	}

	// ── copies ───────────────────────────────────────────────────────────────────────────────────────────────────

	#onMoved(news: DeskNews): void {
		const home = [...this.#homes.values()].find(({ session }) => session === news.session);
		if (home !== undefined) this.#copies.onMoved(home, news, (taskId) => this.#searches.has(taskId));
	}

	#sweepSoon(): void {
		if (this.#sweeping) return;
		this.#sweeping = true;
		this.#ctx.setTimer('sweep', sweepMs, { type: 'sweep' });
	}

	#sweep(): void {
		this.#sweeping = false;
		for (const home of this.#homes.values()) this.#copies.giveCredit(home);
		this.#copies.sweep(this.#ctx.now());
		if (!this.#copies.empty) this.#sweepSoon();
	}

	// ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────

	#list(page: PageOf, replyTo: ActorRef<TasksFound>): void {
		if (this.#homes.size < this.#options.fronts.length - 1) {
			replyTo.tell(notFoundOut(away()));
			return;
		}
		const { filter, limit, cursor } = page;
		const own = this.#registry.page(filter, limit, cursor);
		const rows = own.tasks.map((task) => ({ cursor: this.#registry.cursorBehind(task), task }));
		const listing: Listing = { limit, replyTo, rows, more: own.more, open: this.#homes.size };
		for (const home of this.#homes.values()) {
			this.#ctx.ask<DeskCommand, TasksListed>(
				home.desk,
				askMs,
				(listed) => ({ type: 'list-tasks', page, replyTo: listed }),
				(outcome) => ({ type: 'home-listed', listing, home, outcome }),
			);
		}
	}

	#onListed({ listing, home, outcome }: Extract<ElsewhereMessage, { type: 'home-listed' }>): void {
		listing.open -= 1;
		if (listing.open < 0) return;
		if (!outcome.ok) {
			listing.open = -1;
			listing.replyTo.tell(notFoundOut(away()));
			return;
		}
		const line = { desk: home.desk, ownFrontId: this.#options.frontId };
		for (const { cursor, snapshot } of outcome.reply.rows) listing.rows.push({ cursor, task: new ForeignTask(snapshot, line, null) });
		listing.more ||= outcome.reply.more;
		if (listing.open > 0) return;
		const sorted = listing.rows
			.map((row) => ({ ...row, place: placeOfCursor(row.cursor) as TaskPlace }))
			.sort((a, b) => comparePlaces(a.place, b.place));
		const rows = sorted.slice(0, listing.limit);
		const more = listing.more || rows.length < sorted.length;
		listing.replyTo.tell({
			type: 'tasks-found',
			tasks: rows.map(({ task }) => task),
			nextCursor: more ? (rows.at(-1)?.cursor ?? null) : null,
		});
	}
}

function noRoom(): Failure {
	const words = 'this task lives on another thread, and running tasks hold the space for a copy of its events (tasks.log_bytes_max)';
	return failure('ADMISSION_REJECT', words, { retryAfterMs: logRetryAfterMs, policyLabel: 'log' });
}
