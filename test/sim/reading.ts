/**
 * One client that watches one task: at its own pace, over connections that may be lost, each resumed behind the last event that
 * it has read. What it saw is kept for the checkers.
 */
import type { FrontRole } from './front-role.ts';
import type { SeenEvent } from './sse-socket.ts';
import { SseReader, SseSocket } from './sse-socket.ts';
import type { Universe } from './universe.ts';
import type { Witness } from './witness.ts';

/** How its watching ended. `left`: it did not want to see the end; `gone`: nobody knows the task any more; `expired`: 410. */
export type ReadingEnd = 'terminal' | 'left' | 'gone' | 'expired';

export interface ReadingHabits {
	/** The `Last-Event-ID` of the first connection. */
	readonly after: number;
	/** Mean time between two looks at the socket. */
	readonly paceMs: number;
	/** What the platform holds for it. */
	readonly socketBytes: number;
	/** Of a hundred looks: those after which the connection is lost. */
	readonly lossPercent: number;
	/** Leaves for good after so many looks; null: stays to the end. */
	readonly leavesAfter: number | null;
}

const resumeMs = 40;

export class Reading {
	readonly taskId: string;
	readonly habits: ReadingHabits;
	readonly seen: SeenEvent[] = [];
	/** Of the task that it watches; null while no connection was accepted. */
	witness: Witness | null = null;
	end: ReadingEnd | null = null;
	readonly #universe: Universe;
	/** The front of today by that name; undefined while there is none. */
	readonly #front: () => FrontRole | undefined;
	readonly #name: string;
	#socket: SseSocket | null = null;
	#servedBy: FrontRole | null = null;
	#reader = new SseReader();
	#looks = 0;
	/** It will see to its connection again. */
	#trying = false;

	constructor(universe: Universe, name: string, taskId: string, front: () => FrontRole | undefined, habits: ReadingHabits) {
		this.#universe = universe;
		this.#name = name;
		this.taskId = taskId;
		this.#front = front;
		this.habits = habits;
		this.#connect();
		this.#look();
	}

	get cursor(): number {
		return this.seen.at(-1)?.seq ?? this.habits.after;
	}

	#later(ms: number, act: () => void): void {
		this.#universe.outside.setTimer(this.#universe.random.next() * ms, () => {
			if (this.end === null) act();
		});
	}

	#connect(): void {
		if (this.#socket !== null) return;
		const front = this.#front();
		front?.thread.host.defer(() => {
			if (this.end === null) this.#request(front);
		});
		// There may be no front, and one that dies with the request answers nobody.
		if (this.#trying) return;
		this.#trying = true;
		this.#later(resumeMs * 20, () => {
			this.#trying = false;
			this.#connect();
		});
	}

	#request(front: FrontRole): void {
		if (this.#socket !== null) return;
		const socket = new SseSocket(this.habits.socketBytes);
		const behind = this.cursor;
		front.watch(this.taskId, behind, socket, (status, witness) => {
			this.#universe.did(this.#name, `watches ${this.taskId} behind ${behind} at ${front.thread.label}: ${status}`);
			// An answer that it no longer waits for.
			if (this.end !== null || this.#socket !== null || behind !== this.cursor) return socket.lose();
			if (status !== 200) return this.#refused(status);
			const lost = witness !== null && witness.task.log.firstSeq > 1;
			if (this.witness !== null && witness !== null && witness !== this.witness && !lost) {
				// Another task by the same id: it was refused and came again.
				if (this.witness.admitted) this.#universe.found('tasksRunOnce', `${this.taskId} is another task than it was`);
				socket.lose();
				return this.#over('gone');
			}
			// Who has read nothing yet may find another by the same id: the first was refused. What a lost front's heir says is no log of it.
			const unread = this.seen.length === 0;
			if (lost ? this.witness === null && unread : this.witness === null || unread) this.witness = witness;
			this.#socket = socket;
			this.#servedBy = front;
			this.#reader = new SseReader();
		});
	}

	#refused(status: 400 | 404 | 410 | 503): void {
		if (status === 503) return;
		if (status === 410) return this.#over('expired');
		// One that was refused may have been watched, and come again.
		if (this.witness?.admitted === true && this.seen.length > 0) {
			const words = status === 400 ? `400 for ${this.cursor}, an event that it has read` : `404 for ${this.taskId}, which had its 202`;
			this.#universe.found('watchersSeeTheLog', `${this.#name}: ${words}`);
		}
		this.#over('gone');
	}

	#look(): void {
		this.#later(this.habits.paceMs, () => {
			this.#read();
			if (this.end === null) this.#look();
		});
	}

	#read(): void {
		const socket = this.#socket;
		if (socket === null) return;
		for (const event of this.#reader.push(socket.read())) {
			this.seen.push(event);
			if (event.name === 'end' || event.name === 'error') this.#over('terminal');
		}
		if (this.end !== null) return;
		this.#looks += 1;
		const { random, calm } = this.#universe;
		const leaves = this.habits.leavesAfter !== null && this.#looks > this.habits.leavesAfter;
		const lost = socket.closed && !socket.ended;
		if (socket.ended && socket.drained) {
			// It had asked for what comes behind the end.
			if (this.cursor === this.witness?.events.length) return this.#over('terminal');
			if (this.witness === null && this.seen.length === 0) return this.#over('gone');
			this.#universe.found(
				'watchersSeeTheLog',
				`${this.#name}: the stream of ${this.taskId} ended behind ${this.cursor} without a terminal event`,
			);
			return this.#over('left');
		}
		if (!leaves && !lost && (calm || random.below(100) >= this.habits.lossPercent)) return;
		this.#universe.did(this.#name, `${leaves ? 'leaves' : 'loses its connection to'} ${this.taskId} behind ${this.cursor}`);
		// The platform tells the front of it, which may be stuck.
		(this.#servedBy ?? this.#front())?.thread.host.defer(() => socket.lose());
		this.#socket = null;
		if (leaves) this.#over('left');
		else this.#later(resumeMs, () => this.#connect());
	}

	#over(end: ReadingEnd): void {
		this.end = end;
		this.#universe.did(this.#name, `is done with ${this.taskId}: ${end}, behind ${this.cursor}`);
	}
}
