/**
 * Grammars of single generations: GBNF as the client wrote it, or made of a JSON Schema. Runs in the llama.cpp host. The
 * grammar decides what may be sampled; its text and its parser's complaints hold what a client wrote and are never logged.
 */
import type * as Library from 'node-llama-cpp';
import type { Llama, LlamaGrammarEvaluationState, LlamaModel } from 'node-llama-cpp';
import type { Sampling, ToolUse } from '../../actors/serving/task-request.ts';
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

/** A call of the tool that is asked for, or of any: where one has to be made, it is all that is said. */
function callSchema({ tools, choice }: ToolUse): unknown {
	const wanted = typeof choice === 'object' ? tools.filter((tool) => tool.function.name === choice.name) : tools;
	const definitions: Record<string, unknown> = {};
	const calls = wanted.map(({ function: { name, parameters } }) => {
		const { $defs, definitions: older, ...schema } = (parameters ?? {}) as Readonly<Record<string, unknown>>;
		// They are looked up from the root of the schema that they are part of.
		for (const [key, each] of Object.entries({ ...(older as object), ...($defs as object) })) {
			if (JSON.stringify(definitions[key] ?? each) !== JSON.stringify(each))
				throw new GrammarError(`tools cannot be used: two of them define ${JSON.stringify(key)} in different ways`);
			definitions[key] = each;
		}
		const given = schema['type'] === undefined && schema['$ref'] === undefined ? { ...schema, type: 'object' } : schema;
		return { type: 'object', properties: { name: { const: name }, arguments: given }, required: ['name', 'arguments'] };
	});
	const call = calls.length === 1 ? calls[0] : { anyOf: calls };
	return Object.keys(definitions).length === 0 ? call : { ...call, $defs: definitions };
}

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
	async stateFor(sampling: Sampling, toolUse: ToolUse | null = null): Promise<LlamaGrammarEvaluationState | null> {
		const { grammar, jsonObject } = sampling;
		const jsonSchema = sampling.jsonSchema ?? (jsonObject === true ? { type: 'object', additionalProperties: true } : null);
		const hasSchema = jsonSchema !== null && jsonSchema !== undefined;
		if (grammar !== null && hasSchema) throw new GrammarError('sampling.grammar and sampling.json_schema exclude each other');
		if (toolUse !== null && toolUse.choice !== 'none') {
			if (grammar !== null || hasSchema)
				throw new GrammarError('tools are given with a grammar or a JSON schema; this engine does one of them');
			if (toolUse.choice !== 'auto') return this.#state(await this.#ofSchema(callSchema(toolUse), 'tools'), 'tools');
		}
		if (grammar !== null) return this.#state(grammar, 'sampling.grammar');
		return hasSchema ? this.#state(await this.#ofSchema(jsonSchema), 'sampling.json_schema') : null;
	}

	async #ofSchema(schema: unknown, field = 'sampling.json_schema'): Promise<string> {
		try {
			const { grammar } = await this.#llama.createGrammarForJsonSchema(libraryJsonSchema(schema));
			const [root = '', ...rules] = grammar.split('\n');
			if (!root.endsWith(newlineEnding)) return grammar;
			return [root.slice(0, -newlineEnding.length), ...rules].join('\n');
		} catch (error) {
			if (error instanceof SchemaError) throw new GrammarError(`${field} cannot be used: ${error.message}`);
			throw new GrammarError(`${field} cannot be used: no grammar can be made of it`);
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
