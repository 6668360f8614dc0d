/**
 * Copies of the events of tasks that live on other front threads, for those who read them here. A copy grows as its home
 * sends, within the credit that the home has from us; space for it is taken from that of the logs of this front before the
 * first event comes. It is left once nobody has read it for a while. Part of the `elsewhere` actor, same thread and turn.
 */
import { deskWindowBytes } from './desk.ts';
import type { DeskNews, TaskMove } from './desk-messages.ts';
import { type Answer, away, expired, type Home, notFoundOut, taskFound, tellAll } from './foreign-home.ts';
import { ForeignTask } from './foreign-task.ts';
import { type LogLease, type LogSpace, logHeadBytes } from './log-space.ts';
import type { TaskFound } from './task-directory.ts';
import type { TaskSnapshot } from './task-snapshot.ts';

export interface Copy {
	readonly task: ForeignTask;
	readonly home: Home;
	readonly lease: LogLease;
	/** Whoever asks is answered once the copy has come to where the log stood when it was asked for. */
	waiting: { readonly until: number; readonly answers: readonly Answer[] }[];
	/** Since when nobody reads it; null: somebody does. */
	idleSince: number | null;
}

/** A reader that leaves may come back: the copy is there for a while. */
const lingerMs = 2_000;
const growthBytes = 65_536;

export class ForeignCopies {
	readonly #frontId: string;
	readonly #logSpace: LogSpace;
	readonly #copies = new Map<string, Copy>();
	/** Copies that grow no more, and that somebody may still read. */
	#orphans: Copy[] = [];

	constructor(frontId: string, logSpace: LogSpace) {
		this.#frontId = frontId;
		this.#logSpace = logSpace;
	}

	get empty(): boolean {
		return this.#copies.size + this.#orphans.length === 0;
	}

	get(taskId: string): Copy | undefined {
		return this.#copies.get(taskId);
	}

	/** Of a task that its home has begun to send. False: there is no room for it. */
	open(home: Home, snapshot: TaskSnapshot, answers: readonly Answer[]): boolean {
		const { taskId } = snapshot.request;
		const lease = this.#logSpace.reserve(snapshot.log.bytes + logHeadBytes);
		if (lease === null) {
			home.desk.tell({ type: 'leave-task', frontId: this.#frontId, taskId });
			return false;
		}
		const task = new ForeignTask(snapshot, { desk: home.desk, ownFrontId: this.#frontId }, lease.bytes);
		const copy: Copy = { task, home, lease, waiting: [], idleSince: null };
		this.#copies.set(taskId, copy);
		this.wait(copy, snapshot.log.lastSeq, answers);
		return true;
	}

	wait(copy: Copy, until: number, answers: readonly Answer[]): void {
		copy.waiting.push({ until, answers });
		answerCaughtUp(copy);
	}

	/** `wanted`: somebody looks for the task, and will have it sent from its first event on. */
	onMoved(home: Home, { bytes, moves }: DeskNews, wanted: (taskId: string) => boolean): void {
		const frames = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
		let start = 0;
		for (const move of moves) {
			const { taskId } = move;
			const copy = this.#copies.get(taskId);
			if (copy !== undefined) this.#move(copy, move, frames, start);
			// A `leave-task` got lost, or is under way: nobody here wants it.
			else if (!move.gone && !wanted(taskId)) home.desk.tell({ type: 'leave-task', frontId: this.#frontId, taskId });
			start = move.end;
		}
		home.owedBytes += bytes.byteLength;
		this.giveCredit(home);
	}

	giveCredit(home: Home): void {
		if (home.owedBytes < deskWindowBytes / 4) return;
		const sent = home.desk.tell({ type: 'give-credit', frontId: this.#frontId, bytes: home.owedBytes });
		if (sent === 'accepted') home.owedBytes = 0;
	}

	/** Who reads its tasks here gets what had come, and is told that nothing more will. */
	lose(home: Home, now: number): void {
		for (const [taskId, copy] of this.#copies) {
			if (copy.home !== home) continue;
			this.#copies.delete(taskId);
			answerAll(copy, notFoundOut(away()));
			copy.task.lose(now);
			this.#orphans.push(copy);
		}
	}

	/** False: its home cannot be told now. */
	leave(copy: Copy): boolean {
		const { taskId } = copy.task.request;
		if (copy.home.desk.tell({ type: 'leave-task', frontId: this.#frontId, taskId }) === 'full') return false;
		this.#end(copy, notFoundOut(away()));
		return true;
	}

	/** Leaves what nobody reads any more, and says again what the links had no room for. */
	sweep(now: number): void {
		for (const copy of this.#copies.values()) {
			copy.task.tellWatchers();
			if (copy.task.log.watched || copy.waiting.length > 0) copy.idleSince = null;
			else copy.idleSince ??= now;
			if (copy.idleSince !== null && now - copy.idleSince >= lingerMs) this.leave(copy);
		}
		this.#orphans = this.#orphans.filter((copy) => {
			if (copy.task.log.watched) return true;
			this.#logSpace.release(copy.lease);
			return false;
		});
	}

	#move(copy: Copy, move: TaskMove, frames: Buffer, start: number): void {
		const { task, lease } = copy;
		const { log } = task;
		task.tokensOut = move.tokensOut;
		if (move.facts !== null) task.facts = move.facts;
		if (move.end > start) log.appendFrames(frames, start, move.end);
		else log.notify();
		if (move.gone) return this.#end(copy, expired(move.taskId));
		answerCaughtUp(copy);
		if (log.bytes <= lease.bytes) return;
		if (this.#logSpace.resize(lease, log.bytes + growthBytes) || this.#logSpace.resize(lease, log.bytes)) return;
		// If the link has no room for it now, the next of its events asks again to be left.
		if (!this.leave(copy)) this.#end(copy, notFoundOut(away()));
	}

	/** Nothing more will come of it. Who reads it may read on to its end where that is here; else they are cut, and come again. */
	#end(copy: Copy, answer: TaskFound): void {
		const { log, request } = copy.task;
		this.#copies.delete(request.taskId);
		answerCaughtUp(copy);
		answerAll(copy, answer);
		if (log.ended) this.#orphans.push(copy);
		else {
			log.forget();
			this.#logSpace.release(copy.lease);
		}
	}
}

/** Those for whom enough has come. */
function answerCaughtUp(copy: Copy): void {
	const { task, waiting } = copy;
	if (waiting.length === 0) return;
	const ready = waiting.filter(({ until }) => until <= task.log.lastSeq);
	if (ready.length === 0) return;
	copy.waiting = waiting.filter(({ until }) => until > task.log.lastSeq);
	// They have this turn to subscribe.
	copy.idleSince = null;
	for (const { answers } of ready) tellAll(answers, taskFound(task));
}

function answerAll(copy: Copy, found: TaskFound): void {
	const { waiting } = copy;
	copy.waiting = [];
	for (const { answers } of waiting) tellAll(answers, found);
}
