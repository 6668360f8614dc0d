/** Prompts, in whatever form they come, to the token ids that the model is given. Runs in the llama.cpp host. */
import type { LlamaModel, Token } from 'node-llama-cpp';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import { TemplateError } from '../chat-rendering.ts';
import type { AnswerShape } from './answer-parser.ts';
import { ChatTemplate } from './chat-template.ts';
import type { Vocabulary } from './vocabulary.ts';

type TextInput = Exclude<PromptInput, { readonly kind: 'inputs' }>;

export interface Prompt {
	readonly tokens: Token[];
	/** What is to be found in what the model says; null: it is text. */
	readonly answer: AnswerShape | null;
}

export class Prompts {
	/** Null: the model has none, or one that cannot be read. */
	readonly template: ChatTemplate | null;
	readonly #model: LlamaModel;
	readonly #vocabulary: Vocabulary;
	readonly #noTemplate: string;

	readonly #modelName: string;

	constructor(model: LlamaModel, vocabulary: Vocabulary, templateSource: string | null, modelName: string) {
		this.#modelName = modelName;
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

	/** The model was taught to call tools. */
	get tools(): boolean {
		return this.template?.hasTools === true;
	}

	/**
	 * More than `most` tokens when there are more, not necessarily all. Throws `TemplateError` when messages meet a model
	 * without a template, or one that refuses them.
	 */
	async tokenize(input: TextInput, most: number): Promise<Prompt> {
		const { ids, thinks } = await this.#withoutBos(input, most);
		const { bos, shouldPrependBosToken } = this.#model.tokens;
		// A template, or a raw prompt, may have brought its own.
		if (shouldPrependBosToken && bos !== null && ids[0] !== bos) ids.unshift(bos);
		return { tokens: ids as Token[], answer: this.#answerOf(input, thinks) };
	}

	/** What is to be found in the answer; null: it is text. */
	#answerOf(input: TextInput, thinks: boolean): AnswerShape | null {
		const toolUse = input.kind === 'messages' && input.toolUse !== undefined && input.toolUse.choice !== 'none' ? input.toolUse : null;
		const chats = this.template !== null && (input.kind === 'messages' || !input.raw);
		if (!chats || (toolUse === null && !this.template.hasThinking)) return null;
		return {
			thinks,
			tools: toolUse?.tools.map((tool) => tool.function.name) ?? [],
			callsMax: toolUse?.parallel === false ? 1 : Number.POSITIVE_INFINITY,
		};
	}

	async #withoutBos(input: TextInput, most: number): Promise<{ ids: number[]; thinks: boolean }> {
		if (input.kind === 'messages') {
			if (this.template === null) throw new TemplateError(`${this.#noTemplate}: messages cannot be used, send a prompt instead`);
			if (input.toolUse !== undefined && input.toolUse.choice !== 'none' && !this.tools)
				throw new TemplateError(`tools are given; the chat template of ${this.#modelName} has no place for any`);
			if (input.messages.some(({ parts }) => parts !== undefined))
				throw new TemplateError(`messages hold more than text; ${this.#modelName} takes text only`);
			return this.template.tokenize(input, most);
		}
		if (!input.raw && this.template !== null) return this.template.tokenize({ messages: [{ role: 'user', content: input.text }] }, most);
		// A raw prompt is its author's own markup: special tokens in it are meant.
		return { ids: await this.#vocabulary.tokenize(input.text, { special: input.raw, continued: false, most }), thinks: false };
	}
}
