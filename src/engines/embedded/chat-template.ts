/**
 * From chat messages to tokens by the model's own template. What a user writes stays text: the name of a special token inside
 * a message is tokenized as the letters it is made of. Runs in the llama.cpp host.
 *
 * The template sees the real messages, so whatever it asks of them (trims, splits, compares) is answered truly, and the whole
 * prompt is tokenized at once, as llama.cpp's own server does. Only what could become a special token is taken out first: a
 * mark that nobody can guess stands for it while the template is rendered, and it comes back as plain text.
 */
import { randomBytes } from 'node:crypto';
import type { ChatMessage, PromptInput } from '../../actors/serving/task-request.ts';
import { ChatRendering, type TemplateEnds, TemplateError, thinkingMarks, withParsedArguments } from '../chat-rendering.ts';
import { SpecialGuard } from './special-guard.ts';

export interface TemplateTokens extends TemplateEnds {
	/** Names that must not come out of a message. */
	readonly specialNames: readonly string[];
	/**
	 * `special`: the template's words, in which special tokens are parsed; else a user's. `continued`: other text goes before.
	 * May end early, with more than `most` tokens.
	 */
	tokenize(
		text: string,
		options: { readonly special: boolean; readonly continued: boolean; readonly most: number },
	): Promise<readonly number[]>;
}

/** Messages and what else the template is given. */
export type Conversation = Pick<Extract<PromptInput, { readonly kind: 'messages' }>, 'messages' | 'toolUse' | 'templateArgs'>;

/** Tokens that a tokenizer may add by itself: one at the beginning, one for a space before the first word. */
const addedTokens = 2;

export class ChatTemplate {
	readonly #rendering: ChatRendering;
	readonly #tokens: TemplateTokens;
	readonly #guard: SpecialGuard;
	/** Letters and digits only: templates pass them on as they are. */
	readonly #markBegin = `mark${randomBytes(12).toString('hex')}x`;
	readonly #marks = new RegExp(`${this.#markBegin}([0-9]+)z`, 'g');
	/** Throws `TemplateError` when the template cannot be parsed. */
	constructor(source: string, tokens: TemplateTokens) {
		this.#tokens = tokens;
		this.#guard = new SpecialGuard(tokens.specialNames);
		this.#rendering = new ChatRendering(source, tokens);
	}

	get hasTools(): boolean {
		return this.#rendering.hasTools;
	}

	get hasThinking(): boolean {
		return this.#rendering.hasThinking;
	}

	/**
	 * Token ids of a conversation, ready for the assistant's answer; more than `most` when there are more. `thinks`: the answer begins
	 * in the middle of its thinking, which the prompt has opened.
	 */
	async tokenize({ messages, toolUse, templateArgs = {} }: Conversation, most: number): Promise<{ ids: number[]; thinks: boolean }> {
		const taken: string[] = [];
		const guarded = messages.map(({ role, content, name, tool_calls: calls, tool_call_id: callId }) => ({
			role: this.#guarded(role, taken),
			content: this.#guarded(content, taken),
			...(name === undefined ? {} : { name: this.#guarded(name, taken) }),
			...(calls === undefined ? {} : { tool_calls: this.#guardedDeep(calls.map(withParsedArguments), taken) }),
			...(callId === undefined ? {} : { tool_call_id: this.#guarded(callId, taken) }),
		}));
		const tools = toolUse === undefined || toolUse.choice === 'none' ? undefined : this.#guardedDeep(toolUse.tools, taken);
		const rendered = this.#rendering.render(guarded, {
			...(this.#guardedDeep(templateArgs, taken) as object),
			...(tools === undefined ? {} : { tools }),
		});
		const opened = rendered.slice(-32).trimEnd();
		const thinks = thinkingMarks.some((mark) => opened.endsWith(mark));
		const ids: number[] = [];
		const add = async (text: string, special: boolean, continued: boolean): Promise<void> => {
			if (text === '' || ids.length > most) return;
			for (const id of await this.#tokens.tokenize(text, { special, continued, most: most - ids.length })) ids.push(id);
		};
		let at = 0;
		for (const mark of taken.length === 0 ? [] : rendered.matchAll(this.#marks)) {
			await add(rendered.slice(at, mark.index), true, at > 0);
			await add(taken[Number(mark[1])] ?? '', false, mark.index > 0);
			at = mark.index + mark[0].length;
		}
		await add(rendered.slice(at), true, at > 0);
		return { ids, thinks };
	}

	/** Bytes that the template adds, at most: once, and for each message. */
	bounds(): { readonly baseBytes: number; readonly perMessageBytes: number } {
		const user: ChatMessage = { role: 'user', content: 'x' };
		const assistant: ChatMessage = { role: 'assistant', content: 'x' };
		const system: ChatMessage = { role: 'system', content: 'x' };
		const bytes = (messages: readonly ChatMessage[]): number => this.#bytesOf(messages);
		const one = bytes([user]);
		// A system message may take the place of one that the template brings along: then it adds less than it has.
		const perMessage = Math.max(
			0,
			bytes([user, assistant]) - one,
			bytes([user, assistant, user]) - bytes([user, assistant]),
			bytes([system, user]) - one,
		);
		return { baseBytes: Math.max(0, one) + addedTokens, perMessageBytes: perMessage };
	}

	/** Of the rendered prompt; a conversation that the template refuses has none. */
	#bytesOf(messages: readonly ChatMessage[]): number {
		try {
			return Buffer.byteLength(this.#rendering.render(messages));
		} catch (error) {
			if (error instanceof TemplateError) return 0;
			throw error;
		}
	}

	/** The text with marks for what could become a special token. */
	#guarded(text: string, taken: string[]): string {
		const spans = this.#guard.spans(text);
		if (spans.length === 0) return text;
		let result = '';
		let at = 0;
		for (const { from, to } of spans) {
			result += `${text.slice(at, from)}${this.#markBegin}${taken.length}z`;
			taken.push(text.slice(from, to));
			at = to;
		}
		return result + text.slice(at);
	}

	/** The same with all texts in a value, names of fields too. */
	#guardedDeep(value: unknown, taken: string[]): unknown {
		if (typeof value === 'string') return this.#guarded(value, taken);
		if (Array.isArray(value)) return value.map((each) => this.#guardedDeep(each, taken));
		if (typeof value !== 'object' || value === null) return value;
		return Object.fromEntries(Object.entries(value).map(([key, each]) => [this.#guarded(key, taken), this.#guardedDeep(each, taken)]));
	}
}
