/**
 * Tools whose input is a text (`custom` of OpenAI): to a model each is a function with one argument, `input`, whatever its engine. Pure.
 */
import { fieldsOf } from './unfit.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Of that function. */
export const inputSchema = { type: 'object', properties: { input: { type: 'string' } }, required: ['input'], additionalProperties: false };

/** What is told of it; null: nothing. A grammar is told, and not kept to. */
export function customWords(description: unknown, { type, syntax, definition }: Fields): string | null {
	const words = [
		...(typeof description === 'string' && description !== '' ? [description] : []),
		...(type === 'grammar' && typeof definition === 'string'
			? [`Its input is a text of this grammar (${String(syntax)}):\n${definition}`]
			: []),
	];
	return words.length === 0 ? null : words.join('\n\n');
}

/** As the model wrote them. Arguments that are not of the form that was asked for are told as they are. */
export function inputOf(given: string): string {
	try {
		const { input } = fieldsOf(JSON.parse(given));
		if (typeof input === 'string') return input;
	} catch (problem) {
		if (!(problem instanceof SyntaxError)) throw problem;
	}
	return given;
}

export function argumentsOf(input: string): string {
	return JSON.stringify({ input });
}
