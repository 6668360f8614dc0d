/**
 * Grammars of single generations: GBNF as the client wrote it, or made of a JSON Schema. Runs in the llama.cpp host. The
 * grammar decides what may be sampled; its text and its parser's complaints hold what a client wrote and are never logged.
 */
import type * as Library from 'node-llama-cpp';
import type { Llama, LlamaGrammarEvaluationState, LlamaModel } from 'node-llama-cpp';
import type { Sampling } from '../../actors/serving/task-request.ts';
import { grammarShape } from './grammar-shape.ts';
import { libraryJsonSchema, SchemaError } from './json-schema.ts';

/** The grammar cannot be used; the message names the field. */
export class GrammarError extends Error {
	override readonly name = 'GrammarError';
}

const grammarCharsMax = 256 * 1024;
const grammarDepthMax = 256;
/** Of a grammar that a client wrote; those made of schemas repeat what the schema bounds. */
const repetitionsMax = 256;
const repetitionDepthMax = 8;
/** The library ends a JSON grammar with newlines that its own chat session then cuts off; here the end of the value is the end. */
const newlineEnding = ' "\\n\\n\\n\\n" [\\n]*';

export class Grammars {
	readonly #library: typeof Library;
	readonly #llama: Llama;
	readonly #model: LlamaModel;

	constructor(library: typeof Library, llama: Llama, model: LlamaModel) {
		this.#library = library;
		this.#llama = llama;
		this.#model = model;
	}

	/** A fresh state for one generation; null when it is free. Throws `GrammarError`. */
	async stateFor(sampling: Sampling): Promise<LlamaGrammarEvaluationState | null> {
		const { grammar, jsonSchema } = sampling;
		const hasSchema = jsonSchema !== null && jsonSchema !== undefined;
		if (grammar !== null && hasSchema) throw new GrammarError('sampling.grammar and sampling.json_schema exclude each other');
		if (grammar !== null) return this.#state(grammar, 'sampling.grammar');
		return hasSchema ? this.#state(await this.#ofSchema(jsonSchema), 'sampling.json_schema') : null;
	}

	async #ofSchema(schema: unknown): Promise<string> {
		try {
			const { grammar } = await this.#llama.createGrammarForJsonSchema(libraryJsonSchema(schema));
			const [root = '', ...rules] = grammar.split('\n');
			if (!root.endsWith(newlineEnding)) return grammar;
			return [root.slice(0, -newlineEnding.length), ...rules].join('\n');
		} catch (error) {
			if (error instanceof SchemaError) throw new GrammarError(`sampling.json_schema cannot be used: ${error.message}`);
			throw new GrammarError('sampling.json_schema cannot be used: no grammar can be made of it');
		}
	}

	async #state(text: string, field: string): Promise<LlamaGrammarEvaluationState> {
		if (text.length > grammarCharsMax)
			throw new GrammarError(`${field} makes a grammar of ${text.length} characters; at most ${grammarCharsMax} are allowed`);
		const { depth, repetitions, repetitionDepth, backwards } = grammarShape(text);
		if (depth > grammarDepthMax) throw new GrammarError(`${field} nests groups ${depth} deep; at most ${grammarDepthMax} are allowed`);
		if (backwards) throw new GrammarError(`${field} repeats from more to fewer; in {m,n} n must be at least m`);
		if (field === 'sampling.grammar' && (repetitions > repetitionsMax || repetitionDepth > repetitionDepthMax)) {
			throw new GrammarError(
				`${field} has ${repetitions} repetitions, ${repetitionDepth} around one element; at most ${repetitionsMax} and ${repetitionDepthMax} are allowed`,
			);
		}
		try {
			const grammar = await this.#llama.createGrammar({ grammar: text });
			return new this.#library.LlamaGrammarEvaluationState({ model: this.#model, grammar });
		} catch {
			throw new GrammarError(`${field} is not a valid GBNF grammar with a rule named root`);
		}
	}
}
