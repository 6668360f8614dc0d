/**
 * From what a chat model says to what it means: its answer, its thinking, its calls of tools; however its text is cut into parts.
 * Pure, one per generation, in the llama.cpp host. Knows, by their marks, the ways of
 * - thinking: `<think>…</think>` (DeepSeek, Qwen), `[THINK]…[/THINK]` (Mistral);
 * - calls: `<tool_call>{…}</tool_call>` (Hermes, Qwen), `[TOOL_CALLS][{…}, …]` and `[TOOL_CALLS]name[ARGS]{…}` (Mistral),
 *   `<|python_tag|>{…}; {…}` and an answer that is nothing but a call of a known tool (Llama 3).
 *
 * Text that may become a mark is held back until that is known. What looks like a call and is none is text.
 * ```
 *  text ──<think>──► thinking ──</think>──► text          text ──mark──► call ──its end──► between ──more──► call
 *   └─ its first letter is {, and tools are there ──► call                                    └── other text ──► text
 * ```
 */
import { type PieceChannel, pieceIsReasoning, pieceIsToolCall } from '../../actors/serving/decode.ts';
import { textParts } from '../wire/text-parts.ts';
import { CallReader, type CallSink } from './call-reader.ts';

export interface AnswerShape {
	/** The prompt has opened the thinking already. */
	readonly thinks: boolean;
	/** Names of the tools that may be called; empty: calls are not looked for. */
	readonly tools: readonly string[];
	/** Calls that are told; further ones are dropped. */
	readonly callsMax: number;
}

type Family = 'hermes' | 'mistral' | 'llama' | 'bare';

const thinkMarks: Readonly<Record<string, string>> = { '<think>': '</think>', '[THINK]': '[/THINK]' };
const callMarks: Readonly<Record<string, Family>> = { '<tool_call>': 'hermes', '[TOOL_CALLS]': 'mistral', '<|python_tag|>': 'llama' };
const namedCall = /^([\w.-]{1,128})(?:\[CALL_ID\][\w-]{1,64})?(?:\[ARGS\])?(?=\{)/;
const namedCallCharsMax = 256;

/** All marks: names of control tokens that are to be seen as text where answers are parsed. */
export const answerMarks: readonly string[] = [
	...Object.entries(thinkMarks).flat(),
	...Object.keys(callMarks),
	'</tool_call>',
	'[ARGS]',
	'[CALL_ID]',
];

export class AnswerParser implements CallSink {
	readonly #shape: AnswerShape;
	readonly #tell: (channel: PieceChannel, text: string) => void;
	readonly #newId: () => string;
	readonly #marks: readonly string[];
	#state: 'text' | 'thinking' | 'call' | 'between' = 'text';
	#family: Family = 'bare';
	/** The mark that ends the thinking. */
	#closing = '</think>';
	/** What has come and is not decided. */
	#held = '';
	/** White space is dropped until there is something else: at the beginning, behind thinking and calls. */
	#trims = true;
	/** Nothing of an answer has been told. */
	#fresh = true;
	#call: CallReader | null = null;
	/** What began the call that is read now: text, should it be none. */
	#mark = '';
	#dropped = false;
	/** Calls that have begun. */
	calls = 0;

	constructor(shape: AnswerShape, tell: (channel: PieceChannel, text: string) => void, newId: () => string) {
		this.#shape = shape;
		this.#tell = tell;
		this.#newId = newId;
		this.#marks = [...Object.keys(thinkMarks), ...(shape.tools.length === 0 ? [] : Object.keys(callMarks))];
		if (shape.thinks) this.#state = 'thinking';
	}

	push(text: string): void {
		this.#held += text;
		while (this.#advance());
	}

	/** Nothing more comes: what was held is told as what it is. */
	finish(): void {
		this.push('');
		// What is given up may hold other marks.
		while (this.#state === 'call') {
			if (this.#call !== null) this.#giveUp(this.#call);
			else this.#noCall();
			this.push('');
		}
		if (this.#state !== 'between') this.#say(this.#state === 'thinking' ? pieceIsReasoning : 0, this.#held);
		this.#held = '';
	}

	// ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────

	begin(name: string): boolean {
		if (this.#family === 'bare' && !this.#shape.tools.includes(name)) return false;
		this.#dropped = this.calls >= this.#shape.callsMax;
		if (this.#dropped) return true;
		this.calls += 1;
		this.#fresh = false;
		this.#delta({ id: this.#newId(), type: 'function', function: { name, arguments: '' } });
		return true;
	}

	part(json: string): void {
		if (!this.#dropped) for (const each of textParts(json)) this.#delta({ function: { arguments: each } });
	}

	#delta(delta: object): void {
		this.#tell(pieceIsToolCall, JSON.stringify({ index: this.calls - 1, ...delta }));
	}

	// ── states: true when there may be more to do ────────────────────────────────────────────────────────────────

	#advance(): boolean {
		if (this.#held === '') return false;
		switch (this.#state) {
			case 'text':
				return this.#inText();
			case 'thinking':
				return this.#inThinking();
			case 'call':
				return this.#inCall();
			case 'between':
				return this.#between();
		}
	}

	#inText(): boolean {
		if (this.#trims) this.#held = this.#held.trimStart();
		if (this.#held === '') return false;
		if (this.#fresh && this.#shape.tools.length > 0 && this.#held.startsWith('{')) return this.#open('bare', '');
		const found = firstMark(this.#held, this.#marks);
		if (found === null) {
			const safe = this.#held.length - heldBack(this.#held, this.#marks);
			this.#say(0, this.#held.slice(0, safe));
			this.#held = this.#held.slice(safe);
			return false;
		}
		this.#say(0, this.#held.slice(0, found.at));
		this.#held = this.#held.slice(found.at + found.mark.length);
		const family = callMarks[found.mark];
		if (family !== undefined) return this.#open(family, found.mark);
		this.#state = 'thinking';
		this.#closing = thinkMarks[found.mark] as string;
		this.#trims = true;
		return true;
	}

	#inThinking(): boolean {
		if (this.#trims) this.#held = this.#held.trimStart();
		const marks = [this.#closing];
		const at = this.#held.indexOf(this.#closing);
		const safe = at < 0 ? this.#held.length - heldBack(this.#held, marks) : at;
		this.#say(pieceIsReasoning, this.#held.slice(0, safe));
		this.#held = this.#held.slice(at < 0 ? safe : at + this.#closing.length);
		if (at < 0) return false;
		this.#state = 'text';
		this.#trims = true;
		return true;
	}

	#open(family: Family, mark: string): boolean {
		this.#state = 'call';
		this.#family = family;
		this.#mark = mark;
		return true;
	}

	#inCall(): boolean {
		if (this.#call === null && !this.#startCall()) return false;
		const call = this.#call;
		// It was no call.
		if (call === null) return true;
		const text = this.#held;
		this.#held = '';
		const end = call.take(text, 0);
		if (end < 0) {
			if (call.plausible) return false;
			this.#giveUp(call);
			return true;
		}
		this.#held = text.slice(end);
		if (call.untold !== '') this.#giveUp(call);
		else {
			this.#call = null;
			this.#state = 'between';
		}
		return true;
	}

	/** Up to the first letter of a call. False: it has not come yet; true without a call: it never will. */
	#startCall(): boolean {
		this.#held = this.#family === 'mistral' ? this.#held.replace(/^[\s[,]+/, '') : this.#held.trimStart();
		if (this.#held === '') return false;
		if (this.#held.startsWith('{')) {
			this.#call = new CallReader(this, this.#family === 'bare' ? 'call-first' : 'call');
			return true;
		}
		if (this.#family === 'mistral' && this.#held.length < namedCallCharsMax) {
			const found = namedCall.exec(this.#held);
			if (found !== null && this.begin(found[1] as string)) {
				this.#held = this.#held.slice(found[0].length);
				this.#call = new CallReader(this, 'arguments');
				return true;
			}
			if (/^[\w.-]+(?:\[[\w-]*\]?[\w-]*)*$/.test(this.#held)) return false;
		}
		this.#noCall();
		return true;
	}

	/** Behind a call: another, the end of its frame, or text. */
	#between(): boolean {
		this.#held = this.#held.replace(this.#family === 'mistral' ? /^[\s\],]+/ : this.#family === 'hermes' ? /^\s+/ : /^[\s;]+/, '');
		if (this.#held === '') return false;
		const closing = '</tool_call>';
		if (this.#family === 'hermes') {
			if (this.#held.startsWith(closing)) {
				this.#held = this.#held.slice(closing.length);
				this.#backToText();
				return true;
			}
			if (closing.startsWith(this.#held)) return false;
		}
		if (this.#family !== 'hermes' && this.#held.startsWith('{')) return this.#open(this.#family, '');
		this.#backToText();
		return true;
	}

	/** One that has not begun is text: its first letter for sure, the rest is looked at as any text. */
	#giveUp(call: CallReader): void {
		this.#call = null;
		const { untold } = call;
		if (untold === '') return this.#backToText();
		this.#held = untold.slice(1) + this.#held;
		this.#mark += untold.slice(0, 1);
		this.#noCall();
	}

	#noCall(): void {
		const mark = this.#mark;
		this.#backToText();
		this.#say(0, mark);
	}

	#backToText(): void {
		this.#state = 'text';
		this.#mark = '';
		this.#trims = true;
	}

	#say(channel: PieceChannel, text: string): void {
		if (text === '') return;
		this.#trims = false;
		if (channel === 0) this.#fresh = false;
		for (const part of textParts(text)) this.#tell(channel, part);
	}
}

function firstMark(text: string, marks: readonly string[]): { readonly at: number; readonly mark: string } | null {
	let best: { readonly at: number; readonly mark: string } | null = null;
	for (const mark of marks) {
		const at = text.indexOf(mark);
		if (at >= 0 && (best === null || at < best.at)) best = { at, mark };
	}
	return best;
}

/** Letters at the end of a text that one of the marks begins with. */
function heldBack(text: string, marks: readonly string[]): number {
	let most = 0;
	for (const mark of marks) {
		for (let length = Math.min(mark.length - 1, text.length); length > most; length -= 1)
			if (text.endsWith(mark.slice(0, length))) most = length;
	}
	return most;
}
