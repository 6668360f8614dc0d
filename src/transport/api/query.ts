/**
 * Query strings and headers that carry numbers, names and cursors: checked like bodies, unknown names refused. Pure.
 */
import { nearest } from '../../nearest.ts';
import { shown } from './field-problems.ts';
import { type Parsed, refused } from './json-body.ts';

/** What a query parameter may be. */
export type QueryField =
	| { readonly kind: 'text'; readonly maxLength: number; readonly description: string }
	| { readonly kind: 'one-of'; readonly values: readonly string[]; readonly description: string }
	| { readonly kind: 'integer'; readonly minimum: number; readonly maximum: number; readonly default: number; readonly description: string }
	| { readonly kind: 'flag'; readonly description: string };

export type QueryFields = Readonly<Record<string, QueryField>>;
type QueryValue<F extends QueryField> = F extends { kind: 'integer' } ? number : F extends { kind: 'flag' } ? boolean : string | null;
export type QueryValues<T extends QueryFields> = { readonly [K in keyof T]: QueryValue<T[K]> };

const flags: Readonly<Record<string, boolean>> = { '': true, '1': true, true: true, '0': false, false: false };

export function queryOf<const T extends QueryFields>(query: string, fields: T): Parsed<QueryValues<T>> {
	const given = new Map<string, string>();
	for (const [name, value] of new URLSearchParams(query)) {
		if (!Object.hasOwn(fields, name)) return refused(unknownParameter(name, Object.keys(fields)));
		if (given.has(name)) return refused(`query parameter ${name} is given twice; once is allowed`);
		given.set(name, value);
	}
	const values: Record<string, string | number | boolean | null> = {};
	for (const [name, field] of Object.entries<QueryField>(fields)) {
		const text = given.get(name);
		const value = valueOf(field, text);
		if (value === undefined) return refused(`query parameter ${name} is ${shown(text)}; it must be ${allowed(field)}`);
		values[name] = value;
	}
	return { ok: true, value: values as QueryValues<T> };
}

/** Undefined: not allowed. */
function valueOf(field: QueryField, text: string | undefined): string | number | boolean | null | undefined {
	switch (field.kind) {
		case 'flag':
			return text === undefined ? false : Object.hasOwn(flags, text) ? flags[text] : undefined;
		case 'integer': {
			if (text === undefined) return field.default;
			const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
			return value >= field.minimum && value <= field.maximum ? value : undefined;
		}
		case 'one-of':
			return text === undefined ? null : field.values.includes(text) ? text : undefined;
		case 'text':
			return text === undefined ? null : text !== '' && text.length <= field.maxLength ? text : undefined;
	}
}

function allowed(field: QueryField): string {
	switch (field.kind) {
		case 'flag':
			return 'true or false';
		case 'integer':
			return `a whole number from ${field.minimum} to ${field.maximum}`;
		case 'one-of':
			return `one of ${field.values.join(', ')}`;
		case 'text':
			return `a text of 1 to ${field.maxLength} characters`;
	}
}

function unknownParameter(name: string, known: readonly string[]): string {
	const suggestion = nearest(name, known);
	const hint =
		suggestion !== null ? `did you mean ${suggestion}?` : known.length === 0 ? 'none is known here' : `known here: ${known.join(', ')}`;
	return `unknown query parameter ${shown(name)}; ${hint}`;
}
