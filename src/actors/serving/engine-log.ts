/**
 * The last lines that the engine processes of an engine thread wrote: a ring for each pool, bounded in lines and in characters, and the
 * actor that answers who reads them. One who waits for more is told at most once a tick, so that a flood of lines costs a message,
 * and who reads slowly asks seldom.
 */
import type { ActorContext, Behavior, Next, Setup } from '../kernel/behavior.ts';
import type { EngineLine, EngineLogRead, ReadEngineLog } from './engine-log-messages.ts';

export interface LogBounds {
	readonly linesMax: number;
	readonly charactersMax: number;
}

const defaultBounds: LogBounds = { linesMax: 4_000, charactersMax: 1024 * 1024 };
/** Of one answer: it crosses threads. */
const answerCharactersMax = 256 * 1024;
/** Lines of this long are told together. */
const gatherMs = 50;
const waitersMax = 1_000;

class Ring {
	readonly #bounds: LogBounds;
	#lines: EngineLine[] = [];
	/** Those before it are gone; cut off now and then. */
	#first = 0;
	#characters = 0;
	/** The last one that is kept no more. */
	#lostId: number;

	/** `lostId`: of an earlier life, whose lines are gone. */
	constructor(bounds: LogBounds, lostId: number) {
		this.#bounds = bounds;
		this.#lostId = lostId;
	}

	add(line: EngineLine): void {
		this.#lines.push(line);
		this.#characters += line.text.length;
		while (this.#lines.length - this.#first > this.#bounds.linesMax || this.#characters > this.#bounds.charactersMax) {
			const lost = this.#lines[this.#first];
			this.#characters -= lost?.text.length ?? 0;
			this.#lostId = lost?.id ?? this.#lostId;
			this.#first += 1;
		}
		if (this.#first <= this.#bounds.linesMax) return;
		this.#lines = this.#lines.slice(this.#first);
		this.#first = 0;
	}

	/** `lastId`: of the pool, where the ring is empty. */
	read(after: number | null, linesMax: number, lastId: number): EngineLogRead {
		const kept = this.#lines.slice(this.#first);
		const behind = after === null ? kept : kept.slice(firstAfter(kept, after));
		const lines = after === null ? lastOf(behind, linesMax) : firstOf(behind, linesMax);
		const gap = after !== null && after > 0 && after < this.#lostId;
		return { type: 'engine-log-read', lines, gap, next: lines.at(-1)?.id ?? after ?? lastId };
	}
}

/** Of one engine thread. Not an actor: what reads the pipes of processes adds to it at once. */
export class EngineLogs {
	readonly #bounds: LogBounds;
	readonly #rings = new Map<string, Ring>();
	readonly #firstId: number;
	#lastId: number;
	/** Called when there is something new, until `heard`. */
	onNews: (() => void) | null = null;
	#told = false;

	/** `lastId`: higher than that of every line that was given an id before. */
	constructor(lastId: number, bounds: LogBounds = defaultBounds) {
		this.#firstId = lastId;
		this.#lastId = lastId;
		this.#bounds = bounds;
	}

	add(poolId: string, line: Omit<EngineLine, 'id'>): void {
		let ring = this.#rings.get(poolId);
		if (ring === undefined) this.#rings.set(poolId, (ring = new Ring(this.#bounds, this.#firstId)));
		this.#lastId += 1;
		ring.add({ id: this.#lastId, ...line });
		if (this.#told) return;
		this.#told = true;
		this.onNews?.();
	}

	heard(): void {
		this.#told = false;
	}

	read(poolId: string, after: number | null, linesMax: number): EngineLogRead {
		const ring = this.#rings.get(poolId) ?? new Ring(this.#bounds, this.#firstId);
		return ring.read(after, linesMax, this.#lastId);
	}
}

export type EngineLogMessage = ReadEngineLog | { readonly type: 'log-grew' } | { readonly type: 'look-due' };

/** Answers who reads `logs`. */
export function engineLog(logs: EngineLogs): Setup<EngineLogMessage> {
	return (ctx) => {
		logs.onNews = () => ctx.self.tell({ type: 'log-grew' });
		return new EngineLogKeeper(logs);
	};
}

class EngineLogKeeper implements Behavior<EngineLogMessage> {
	readonly #logs: EngineLogs;
	#waiting: { readonly ask: ReadEngineLog; readonly until: number }[] = [];
	#lookAt: number | null = null;

	constructor(logs: EngineLogs) {
		this.#logs = logs;
	}

	onMessage(ctx: ActorContext<EngineLogMessage>, message: EngineLogMessage): Next<EngineLogMessage> {
		switch (message.type) {
			case 'read-engine-log':
				this.#onRead(ctx, message);
				break;
			case 'log-grew':
				if (this.#waiting.length === 0) this.#logs.heard();
				else this.#lookBy(ctx, ctx.now() + gatherMs);
				break;
			case 'look-due':
				this.#look(ctx);
				break;
		}
		return 'same';
	}

	#onRead(ctx: ActorContext<EngineLogMessage>, ask: ReadEngineLog): void {
		const found = this.#logs.read(ask.poolId, ask.after, ask.linesMax);
		if (found.lines.length > 0 || ask.waitMs === 0 || this.#waiting.length >= waitersMax) {
			ask.replyTo.tell(found);
			return;
		}
		const until = ctx.now() + ask.waitMs;
		// What comes from now on is for it, also where it asked for the last lines of none.
		this.#waiting.push({ ask: { ...ask, after: found.next }, until });
		this.#logs.heard();
		this.#lookBy(ctx, until);
	}

	#look(ctx: ActorContext<EngineLogMessage>): void {
		this.#lookAt = null;
		this.#logs.heard();
		const now = ctx.now();
		const waiting = this.#waiting;
		this.#waiting = [];
		for (const each of waiting) {
			const found = this.#logs.read(each.ask.poolId, each.ask.after, each.ask.linesMax);
			if (found.lines.length > 0 || now >= each.until) each.ask.replyTo.tell(found);
			else this.#waiting.push(each);
		}
		if (this.#waiting.length > 0) this.#lookBy(ctx, Math.min(...this.#waiting.map(({ until }) => until)));
	}

	#lookBy(ctx: ActorContext<EngineLogMessage>, at: number): void {
		if (this.#lookAt !== null && this.#lookAt <= at) return;
		this.#lookAt = at;
		ctx.setTimer('look', Math.max(0, at - ctx.now()), { type: 'look-due' });
	}
}

function firstAfter(lines: readonly EngineLine[], id: number): number {
	let low = 0;
	let high = lines.length;
	while (low < high) {
		const middle = (low + high) >>> 1;
		if ((lines[middle]?.id ?? 0) <= id) low = middle + 1;
		else high = middle;
	}
	return low;
}

function firstOf(lines: readonly EngineLine[], linesMax: number): readonly EngineLine[] {
	return lines.slice(0, fitting(lines, linesMax));
}

function lastOf(lines: readonly EngineLine[], linesMax: number): readonly EngineLine[] {
	return lines.slice(lines.length - fitting([...lines].reverse(), linesMax));
}

/** How many from the first on, one at least, fit an answer. */
function fitting(lines: readonly EngineLine[], linesMax: number): number {
	let characters = 0;
	for (const [index, line] of lines.entries()) {
		characters += line.text.length;
		if (index === linesMax || (index > 0 && characters > answerCharactersMax)) return index;
	}
	return lines.length;
}
