/**
 * The trace of a run: everything that any actor is about to handle and everything that the world does, in order, as one hash,
 * and as lines of text when somebody wants to read them. What it cannot look into (refs, records) counts by its kind.
 */
import type { SimEvent } from '../../src/actors/kernel/sim-host.ts';

const prime = 0x0100_0193;
const textMax = 200;
/** Of keys, kinds and actors. */
const names = new Map<string, number>();

export class Trace {
	#a = 0x811c_9dc5;
	#b = 0x1234_5678;
	events = 0;
	readonly #write: ((line: string) => void) | null;

	/** `write` gets each line; without it no text is made. */
	constructor(write: ((line: string) => void) | null = null) {
		this.#write = write;
	}

	get hash(): string {
		return `${(this.#a >>> 0).toString(16).padStart(8, '0')}${(this.#b >>> 0).toString(16).padStart(8, '0')}`;
	}

	/** An actor is about to handle something. */
	handled(thread: string, event: SimEvent): void {
		this.events += 1;
		this.#number(event.at);
		this.#name(thread);
		this.#name(event.actor);
		this.#any(event.content);
		this.#write?.(`${stamp(event.at)} ${thread.padEnd(12)} ${event.actor} ◂ ${shown(event.content)}`);
	}

	/** The world did something: a fault, a client, an engine. */
	did(at: number, who: string, what: string): void {
		this.events += 1;
		this.#number(at);
		this.#text(who);
		this.#text(what);
		this.#write?.(`${stamp(at)} ${who.padEnd(12)} ${what}`);
	}

	#word(word: number): void {
		this.#a = Math.imul(this.#a ^ word, prime);
		this.#b = Math.imul(this.#b ^ word, 0x85eb_ca6b) + 0x9e37;
		this.#b ^= this.#b >>> 13;
	}

	#number(value: number): void {
		this.#word(value | 0);
		this.#word((value * 65_536) | 0);
	}

	/** A text that comes again and again: as one word. */
	#name(name: string): void {
		let known = names.get(name);
		if (known === undefined) {
			known = 0x811c_9dc5;
			for (let at = 0; at < name.length; at += 1) known = Math.imul(known ^ name.charCodeAt(at), prime);
			names.set(name, known);
		}
		this.#word(known);
	}

	#text(text: string): void {
		for (let at = 0; at < text.length; at += 1) this.#word(text.charCodeAt(at));
		this.#word(0x1_0000 + text.length);
	}

	#bytes(bytes: Buffer): void {
		for (let at = 0; at < bytes.length; at += 1) this.#word(bytes[at] as number);
		this.#word(0x1_0000 + bytes.length);
	}

	#any(value: unknown): void {
		switch (typeof value) {
			case 'string':
				return this.#text(value);
			case 'number':
				return this.#number(value);
			case 'boolean':
				return this.#word(value ? 3 : 5);
			case 'object':
				if (value === null) return this.#word(7);
				if (Buffer.isBuffer(value)) return this.#bytes(value);
				if (Array.isArray(value)) {
					for (const item of value) this.#any(item);
					return this.#word(value.length);
				}
				if (!isPlain(value)) return this.#name(value.constructor.name);
				for (const key in value) {
					this.#name(key);
					this.#any((value as Readonly<Record<string, unknown>>)[key]);
				}
				return;
			default:
				return this.#word(11);
		}
	}
}

function isPlain(value: object): boolean {
	return Object.getPrototypeOf(value) === Object.prototype;
}

function stamp(at: number): string {
	return at.toFixed(1).padStart(9);
}

/** One line for people. */
function shown(content: unknown): string {
	if (typeof content !== 'object' || content === null) return String(content);
	const { type, ...rest } = content as { readonly type?: unknown };
	const text = JSON.stringify(rest, (_key, value: unknown) => {
		if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
		if (value instanceof Uint8Array) return `${value.length} bytes`;
		if ('type' in value && value.type === 'Buffer') return 'bytes';
		return isPlain(value) ? value : `<${value.constructor.name}>`;
	});
	return `${typeof type === 'string' ? type : ''} ${text.length > textMax ? `${text.slice(0, textMax)}…` : text}`;
}
