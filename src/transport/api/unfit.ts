/** What reads the parts of messages of other APIs has in common: fields as they may be, and one way out for what does not fit. Pure. */
import { type Parsed, refused } from './json-body.ts';

export type Fields = Readonly<Record<string, unknown>>;

/** Deep in parts of messages a refusal is the only way on. Its words are for the client, and quote nothing of it. */
export class Unfit extends Error {}

/** What `read` makes, or the refusal that it threw. */
export function fitting<T>(read: () => T): Parsed<T> {
	try {
		return { ok: true, value: read() };
	} catch (problem) {
		if (problem instanceof Unfit) return refused(problem.message);
		throw problem;
	}
}

export function fieldsOf(value: unknown): Fields {
	return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

/** The text that a field must be. */
export function textField(fields: Fields, name: string, at: string): string {
	const value = fields[name];
	if (typeof value !== 'string') throw new Unfit(`${at}.${name} is missing or no text`);
	return value;
}

/** A name of a type, as far as it may be repeated. */
export function typeNamed(type: unknown): string {
	return typeof type === 'string' && /^[a-z0-9_]{1,64}$/.test(type) ? `of type ${type}` : 'of no known type';
}
