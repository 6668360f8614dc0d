/**
 * One call of a tool as models write it, `{"name": …, "arguments": {…}}` (`parameters` with Llama), from text that comes in parts. As
 * soon as its name is known and its arguments have begun, they are told as they come; a call in any other order is told whole at
 * its end. Pure, one per call.
 */
import { ObjectScan } from './json-scan.ts';

/** What is told of a call: its name once, then its arguments in parts. */
export interface CallSink {
	/** False: there is no such tool, so this is no call. */
	begin(name: string): boolean;
	part(json: string): void;
}

/** Before its arguments: a call that is in this order is told as it comes. */
const head = /^\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)/;
const otherKey = /^\{\s*(?:"(?!(?:name|type|arguments|parameters)")[^"]*"|[^\s"])/;
/** A head is no longer than this: what is longer is not looked at again with each part. */
const headCharsMax = 512;

export class CallReader {
	readonly #sink: CallSink;
	/** Of the whole call; null: what comes are its arguments alone. */
	readonly #whole: ObjectScan | null;
	readonly #strict: boolean;
	readonly #arguments = new ObjectScan();
	#argumentsEnded = false;
	/** All of it until it has begun; null then. */
	#text: string | null = '';
	#refused = false;

	/**
	 * `call-first`: an object is a call only if it begins as calls do. `arguments`: what comes are the arguments of a tool whose name was
	 * told before.
	 */
	constructor(sink: CallSink, what: 'call' | 'call-first' | 'arguments') {
		this.#sink = sink;
		this.#strict = what === 'call-first';
		this.#whole = what === 'arguments' ? null : new ObjectScan();
		if (what === 'arguments') this.#text = null;
	}

	/** What has not been told, and is no call if this is its end. */
	get untold(): string {
		return this.#text ?? '';
	}

	/** False: it does not begin as calls do, though it should. */
	get plausible(): boolean {
		return !this.#strict || this.#text === null || !otherKey.test(this.#text);
	}

	/** Where the call ends in `text`, of which what is before `from` has been used; −1: not there. */
	take(text: string, from: number): number {
		if (this.#whole === null) return this.#part(text.slice(from)) + (this.#argumentsEnded ? from : 0);
		const end = this.#whole.take(text, from);
		const chunk = text.slice(from, end < 0 ? undefined : end);
		if (this.#text === null) {
			this.#part(chunk);
			return end;
		}
		const before = this.#text.length;
		this.#text += chunk;
		const found = this.#refused || before >= headCharsMax ? null : head.exec(this.#text);
		if (found !== null) {
			if (this.#sink.begin(JSON.parse(found[1] as string) as string)) {
				const rest = this.#text.slice(found[0].length);
				this.#text = null;
				this.#part(rest);
			} else this.#refused = true;
		} else if (end >= 0) this.#tellWhole(this.#text);
		return end;
	}

	/** Where the arguments end in it; −1: not there. */
	#part(chunk: string): number {
		if (this.#argumentsEnded) return -1;
		const end = this.#arguments.take(chunk, 0);
		this.#argumentsEnded = end >= 0;
		const part = end < 0 ? chunk : chunk.slice(0, end);
		if (part !== '') this.#sink.part(part);
		return end;
	}

	#tellWhole(text: string): void {
		const call = parsed(text);
		const name = call?.['name'];
		const given = call?.['arguments'] ?? call?.['parameters'] ?? {};
		if (this.#refused || !this.plausible || typeof name !== 'string' || !this.#sink.begin(name)) return;
		this.#text = null;
		this.#sink.part(typeof given === 'string' ? given : JSON.stringify(given));
	}
}

function parsed(text: string): Readonly<Record<string, unknown>> | null {
	try {
		const value: unknown = JSON.parse(text);
		return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : null;
	} catch (error) {
		if (error instanceof SyntaxError) return null;
		throw error;
	}
}
