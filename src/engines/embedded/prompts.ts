/** Prompts, in whatever form they come, to the token ids that the model is given. Runs in the llama.cpp host. */
import type { LlamaModel, Token } from 'node-llama-cpp';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import { ChatTemplate, TemplateError } from './chat-template.ts';
import type { Vocabulary } from './vocabulary.ts';

export class Prompts {
	/** Null: the model has none, or one that cannot be read. */
	readonly template: ChatTemplate | null;
	readonly #model: LlamaModel;
	readonly #vocabulary: Vocabulary;
	readonly #noTemplate: string;

	constructor(model: LlamaModel, vocabulary: Vocabulary, templateSource: string | null) {
		this.#model = model;
		this.#vocabulary = vocabulary;
		let template: ChatTemplate | null = null;
		let noTemplate = 'the model has no chat template';
		if (templateSource !== null) {
			try {
				template = new ChatTemplate(templateSource, {
					specialNames: vocabulary.specialNames,
					bosText: vocabulary.name(model.tokens.bos),
					eosText: vocabulary.name(model.tokens.eos),
					tokenize: (text, options) => vocabulary.tokenize(text, options),
				});
			} catch (error) {
				if (!(error instanceof TemplateError)) throw error;
				noTemplate = error.message;
			}
		}
		this.template = template;
		this.#noTemplate = noTemplate;
	}

	/**
	 * More than `most` tokens when there are more, not necessarily all. Throws `TemplateError` when messages meet a model
	 * without a template, or one that refuses them.
	 */
	async tokenize(input: Exclude<PromptInput, { readonly kind: 'inputs' }>, most: number): Promise<Token[]> {
		const ids = (await this.#withoutBos(input, most)) as Token[];
		const { bos, shouldPrependBosToken } = this.#model.tokens;
		// A template, or a raw prompt, may have brought its own.
		if (shouldPrependBosToken && bos !== null && ids[0] !== bos) ids.unshift(bos);
		return ids;
	}

	async #withoutBos(input: Exclude<PromptInput, { readonly kind: 'inputs' }>, most: number): Promise<number[]> {
		if (input.kind === 'messages') {
			if (this.template === null) throw new TemplateError(`${this.#noTemplate}: messages cannot be used, send a prompt instead`);
			return this.template.tokenize(input.messages, most);
		}
		if (!input.raw && this.template !== null) return this.template.tokenize([{ role: 'user', content: input.text }], most);
		// A raw prompt is its author's own markup: special tokens in it are meant.
		return this.#vocabulary.tokenize(input.text, { special: input.raw, continued: false, most });
	}
}
