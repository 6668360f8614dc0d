/**
 * What is behind the HTTP of a fake engine: slots that decode side by side, and requests that wait for one. Text is told as llama-server,
 * vLLM and TGI tell it: no half character, nothing of a stop string or of what may become one.
 */
import { beginOfText, bytesOf, endOfText, nextToken } from './fake-model.ts';

export interface FakeWork {
	readonly prompt: readonly number[];
	readonly maxTokens: number;
	readonly stop: readonly string[];
	/** Null: greedy. */
	readonly seed: number | null;
	/** Before so many tokens it is not at its end. */
	readonly endsNotBefore?: number;
	/** All that it says, token by token, before it ends; absent: what follows from the prompt. */
	readonly says?: readonly number[];
	/** The only slot that will do; absent: any. */
	readonly slot?: number;
	/** It has a slot: prefill begins. */
	begun?(slot: number): void;
	/** `text`: what may be told now, '' while a character or a stop string may still become whole. */
	token(step: FakeStep): void;
	ended(end: FakeEnd): void;
}

export interface FakeStep {
	readonly id: number;
	readonly logprob: number;
	readonly text: string;
	/** The bytes so far end within a character. */
	readonly halfCharacter: boolean;
	/** Tokens made so far, with this one. */
	readonly made: number;
}

export interface FakeEnd {
	readonly reason: 'length' | 'end-of-text' | 'stop-string';
	readonly stopString: string;
	/** What was held back and is told after all. */
	readonly text: string;
	readonly made: number;
}

interface Running {
	readonly work: FakeWork;
	readonly ids: number[];
	made: number;
	bytes: Buffer;
	/** Characters of the text that were told. */
	told: number;
}

export interface FakeSlotsOptions {
	readonly slots: number;
	/** After so many tokens a text is at its end. */
	readonly endsAfter?: number;
	/** No token is a part of a character. */
	readonly whole?: boolean;
	/** Between two steps; 0: as fast as the loop turns. */
	readonly stepMs?: number;
}

export class FakeSlots {
	readonly #slots: (Running | null)[];
	readonly #queue: FakeWork[] = [];
	readonly #endsAfter: number;
	readonly #stepMs: number;
	readonly #whole: boolean;
	#timer: NodeJS.Timeout | NodeJS.Immediate | null = null;
	/** Texts of those that ended by themselves or for their length, in that order, but for half a character at the end: what a client must have been told. */
	readonly texts: string[] = [];
	/** While set, what has a slot makes no token. */
	held = false;

	constructor({ slots, endsAfter = 500, stepMs = 0, whole = false }: FakeSlotsOptions) {
		this.#slots = Array.from({ length: slots }, () => null);
		this.#endsAfter = endsAfter;
		this.#stepMs = stepMs;
		this.#whole = whole;
	}

	get busy(): number {
		return this.#slots.filter((slot) => slot !== null).length;
	}

	get waiting(): number {
		return this.#queue.length;
	}

	isBusy(slot: number): boolean {
		return this.#slots[slot] !== null;
	}

	add(work: FakeWork): void {
		this.#queue.push(work);
		this.#begin();
	}

	/** Its client has left. */
	drop(work: FakeWork): void {
		const at = this.#queue.indexOf(work);
		if (at >= 0) this.#queue.splice(at, 1);
		const slot = this.#slots.findIndex((running) => running?.work === work);
		if (slot >= 0) this.#slots[slot] = null;
		this.#begin();
	}

	release(): void {
		this.held = false;
		this.#stepSoon();
	}

	#begin(): void {
		for (const [slot, running] of this.#slots.entries()) {
			const at = running === null ? this.#queue.findIndex((each) => each.slot === undefined || each.slot === slot) : -1;
			const [work] = at < 0 ? [] : this.#queue.splice(at, 1);
			if (work === undefined) continue;
			this.#slots[slot] = { work, ids: [...work.prompt], made: 0, bytes: Buffer.alloc(0), told: 0 };
			work.begun?.(slot);
		}
		this.#stepSoon();
	}

	#stepSoon(): void {
		if (this.#timer !== null || this.held || this.busy === 0) return;
		const step = (): void => {
			this.#timer = null;
			this.#step();
			this.#stepSoon();
		};
		this.#timer = this.#stepMs === 0 ? setImmediate(step) : setTimeout(step, this.#stepMs);
	}

	#step(): void {
		if (this.held) return;
		for (const [slot, running] of [...this.#slots.entries()]) {
			if (running === null || this.#slots[slot] !== running) continue;
			const end = this.#advance(running);
			if (end === null) continue;
			this.#slots[slot] = null;
			running.work.ended(end);
		}
		this.#begin();
	}

	/** One token of one text. */
	#advance(running: Running): FakeEnd | null {
		const { work, ids } = running;
		if (running.made >= work.maxTokens) return this.#ends(running, 'length', '');
		const ends = work.says?.length ?? Math.max(this.#endsAfter, work.endsNotBefore ?? 0);
		const { id, logprob } =
			running.made >= ends
				? { id: endOfText, logprob: 0 }
				: work.says === undefined
					? nextToken(ids, work.seed, this.#whole)
					: { id: work.says[running.made] ?? endOfText, logprob: -0.125 };
		running.made += 1;
		if (id === endOfText || id === beginOfText) return this.#ends(running, 'end-of-text', '');
		ids.push(id);
		running.bytes = Buffer.concat([running.bytes, bytesOf(id)]);
		const { text, whole } = wholeText(running.bytes);
		const stopped = firstStop(text, running.told, work.stop);
		const until = stopped?.at ?? (whole ? text.length - heldBack(text.slice(running.told), work.stop) : running.told);
		const told = text.slice(running.told, until);
		running.told = until;
		work.token({ id, logprob, text: told, halfCharacter: !whole, made: running.made });
		if (stopped !== null) return { reason: 'stop-string', stopString: stopped.word, text: '', made: running.made };
		return running.made >= work.maxTokens ? this.#ends(running, 'length', '') : null;
	}

	#ends(running: Running, reason: FakeEnd['reason'], stopString: string): FakeEnd {
		const { text } = wholeText(running.bytes);
		this.texts.push(text);
		return { reason, stopString, text: text.slice(running.told), made: running.made };
	}
}

/** Without the bytes of a character that is not whole. */
function wholeText(bytes: Buffer): { readonly text: string; readonly whole: boolean } {
	for (let cut = 0; cut < 4 && cut <= bytes.length; cut += 1) {
		const text = bytes.subarray(0, bytes.length - cut).toString();
		if (!text.endsWith('\u{fffd}')) return { text, whole: cut === 0 };
	}
	return { text: bytes.toString(), whole: true };
}

function firstStop(text: string, from: number, stop: readonly string[]): { readonly at: number; readonly word: string } | null {
	let best: { readonly at: number; readonly word: string } | null = null;
	for (const word of stop) {
		const at = text.indexOf(word, from);
		if (at >= 0 && (best === null || at < best.at)) best = { at, word };
	}
	return best;
}

/** How many of the last characters may be the beginning of a stop string. */
function heldBack(text: string, stop: readonly string[]): number {
	for (let length = text.length; length > 0; length -= 1) {
		const tail = text.slice(-length);
		if (stop.some((word) => word.startsWith(tail))) return length;
	}
	return 0;
}
