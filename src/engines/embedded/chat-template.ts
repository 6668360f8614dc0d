/**
 * From chat messages to tokens by the model's own template. What a user writes stays text: a special token's name inside a
 * message is tokenized as the letters it is made of. Runs in the llama.cpp host.
 *
 * The template is rendered with a mark in place of each message's content; special tokens are looked for only between the
 * marks; the contents are put back as plain text, next to the template's own plain text, so that words at the seams are
 * tokenized as one.
 */
import { Template } from '@huggingface/jinja';
import type { ChatMessage } from '../../actors/serving/task-request.ts';

export interface TemplateTokens {
	/** Names of all special tokens, with their ids. */
	readonly special: ReadonlyMap<string, number>;
	readonly bosText: string;
	readonly eosText: string;
	/** Plain text to ids, special names not parsed. */
	tokenize(text: string): readonly number[];
}

/** The messages cannot be put into the template; the message says why. */
export class TemplateError extends Error {
	override readonly name = 'TemplateError';
}

/** Private-use characters around a number: nothing that a template or a tokenizer looks at. */
const markOpen = '\u{F0001}';
const markClose = '\u{F0002}';

export class ChatTemplate {
	readonly #template: Template;
	readonly #tokens: TemplateTokens;
	readonly #specialNames: RegExp | null;

	constructor(source: string, tokens: TemplateTokens) {
		this.#template = new Template(source);
		this.#tokens = tokens;
		const names = [...tokens.special.keys()].filter((name) => name !== '').sort((a, b) => b.length - a.length);
		this.#specialNames = names.length === 0 ? null : new RegExp(`(${names.map(escapeForRegExp).join('|')})`, 'u');
	}

	/** Token ids of a conversation, ready for the assistant's answer. */
	tokenize(messages: readonly ChatMessage[]): number[] {
		const contents = messages.map((message) => message.content.replaceAll(markOpen, '').replaceAll(markClose, ''));
		const rendered = this.#render(messages.map((message, index) => ({ ...message, content: `${markOpen}${index}${markClose}` })));
		const ids: number[] = [];
		let plain = '';
		const flush = (): void => {
			if (plain !== '') ids.push(...this.#tokens.tokenize(plain));
			plain = '';
		};
		for (const [index, part] of rendered.split(markOpen).entries()) {
			let between = part;
			if (index > 0) {
				const close = part.indexOf(markClose);
				plain += contents[Number(part.slice(0, close))] ?? '';
				between = part.slice(close + markClose.length);
			}
			for (const piece of this.#specialNames === null ? [between] : between.split(this.#specialNames)) {
				const special = this.#tokens.special.get(piece);
				if (special === undefined) plain += piece;
				else {
					flush();
					ids.push(special);
				}
			}
		}
		flush();
		return ids;
	}

	/** Bytes that the template adds, at most: for one message, and for each more. */
	bounds(): { readonly baseBytes: number; readonly perMessageBytes: number } {
		const user: ChatMessage = { role: 'user', content: '' };
		const base = Buffer.byteLength(this.#render([user]));
		const three = Buffer.byteLength(this.#render([user, { role: 'assistant', content: '' }, user]));
		return { baseBytes: base, perMessageBytes: Math.max(16, Math.ceil((three - base) / 2) + 8) };
	}

	#render(messages: readonly ChatMessage[]): string {
		try {
			return this.#template.render({
				messages,
				add_generation_prompt: true,
				bos_token: this.#tokens.bosText,
				eos_token: this.#tokens.eosText,
			});
		} catch (error) {
			throw new TemplateError(`the model's chat template refuses the messages: ${error instanceof Error ? error.message : String(error)}`);
		}
	}
}

function escapeForRegExp(text: string): string {
	return text.replaceAll(/[\\^$.*+?()[\]{}|/-]/gu, '\\$&');
}
