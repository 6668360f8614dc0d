/**
 * A model's chat template (Jinja), rendered here: in the llama.cpp host, and on front threads for engines that have none of their own. Knows no
 * tokens: what a special token in a message becomes is for whoever uses it.
 */
import { Template } from '@huggingface/jinja';
import type { ToolCall } from '../actors/serving/task-request.ts';

/** The messages cannot be put into the template; the message says why. */
export class TemplateError extends Error {
	override readonly name = 'TemplateError';
}

export interface TemplateEnds {
	readonly bosText: string;
	readonly eosText: string;
}

/** What a model thinks in, as it opens it. */
export const thinkingMarks = ['<think>', '[THINK]'] as const;
const wordsMax = 200;

export class ChatRendering {
	readonly #template: Template;
	readonly #ends: TemplateEnds;
	/** The model was taught to call tools. */
	readonly hasTools: boolean;
	/** The model was taught to think before it answers. */
	readonly hasThinking: boolean;

	/** Throws `TemplateError` when the template cannot be parsed. */
	constructor(source: string, ends: TemplateEnds) {
		this.#ends = ends;
		this.hasTools = /\btools\b/.test(source);
		this.hasThinking = thinkingMarks.some((mark) => source.includes(mark));
		try {
			this.#template = new Template(source);
		} catch (error) {
			throw new TemplateError(`the model's chat template cannot be read: ${words(error)}`);
		}
	}

	/** A prompt that ends where the assistant begins. `more`: other variables of the template. Throws `TemplateError`. */
	render(messages: readonly object[], more: object = {}): string {
		try {
			return this.#template.render({
				...more,
				messages,
				add_generation_prompt: true,
				bos_token: this.#ends.bosText,
				eos_token: this.#ends.eosText,
			});
		} catch (error) {
			throw new TemplateError(`the model's chat template refuses the messages: ${words(error)}`);
		}
	}
}

/** Templates write the arguments as JSON themselves; those that are none stay a text. */
export function withParsedArguments({ id, type, function: called }: ToolCall): object {
	let given: unknown = called.arguments;
	try {
		given = JSON.parse(called.arguments === '' ? '{}' : called.arguments);
	} catch (error) {
		if (!(error instanceof SyntaxError)) throw error;
	}
	return { id, type, function: { name: called.name, arguments: given } };
}

function words(error: unknown): string {
	const text = error instanceof Error ? error.message : String(error);
	return text.length > wordsMax ? `${text.slice(0, wordsMax)}…` : text;
}
