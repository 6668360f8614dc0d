/**
 * Checks a value against a schema and says in words what is wrong: the field, its value, what is allowed, and for an
 * unknown field the nearest known one. Pure. Values of fields marked `secret` are described, never repeated.
 */
import type { Static, TObject, TSchema } from '@sinclair/typebox';
import { TypeCompiler, type ValueError, ValueErrorType } from '@sinclair/typebox/compiler';
import { nearest } from '../../nearest.ts';
import { type Parsed, refused } from './json-body.ts';

const problemsMax = 3;

/** Compiled once; the answer of a check is the value itself. */
export function checkerOf<T extends TObject>(schema: T): (value: unknown) => Parsed<Static<T>> {
	const compiled = TypeCompiler.Compile(schema);
	return (value) => {
		if (typeof value !== 'object' || value === null || Array.isArray(value)) {
			return refused(`the body is ${described(value)}; it must be a JSON object`);
		}
		if (compiled.Check(value)) return { ok: true, value };
		return refused(problems(compiled.Errors(value)).join('; '));
	};
}

function problems(errors: Iterable<ValueError>): string[] {
	const paths = new Set<string>();
	const sentences: string[] = [];
	for (const error of errors) {
		if (paths.has(error.path)) continue;
		paths.add(error.path);
		sentences.push(sentence(error));
		if (sentences.length === problemsMax) break;
	}
	return sentences;
}

function sentence(error: ValueError): string {
	const path = fieldPath(error.path);
	if (error.type === ValueErrorType.ObjectAdditionalProperties) return unknownField(path, error.schema);
	if (error.type === ValueErrorType.ObjectRequiredProperty) return `${path} is missing; it must be ${allowed(error.schema)}`;
	const value = error.schema['secret'] === true ? described(error.value) : shown(error.value);
	return `${path} is ${value}; it must be ${allowed(error.schema)}`;
}

function unknownField(path: string, parent: TSchema): string {
	const known = Object.keys((parent['properties'] as Readonly<Record<string, TSchema>> | undefined) ?? {});
	const at = path.lastIndexOf('.');
	const suggestion = nearest(path.slice(at + 1), known);
	const hint = suggestion === null ? `known here: ${known.join(', ')}` : `did you mean ${path.slice(0, at + 1)}${suggestion}?`;
	return `unknown field ${path}; ${hint}`;
}

/** What a schema allows, in words. */
function allowed(schema: TSchema): string {
	const said: unknown = schema['allowed'];
	if (typeof said === 'string') return said;
	const values: unknown = schema['enum'];
	if (Array.isArray(values)) return `one of ${values.join(', ')}`;
	switch (schema['type']) {
		case 'integer':
			return `a whole number${range(schema)}`;
		case 'number':
			return `a number${range(schema)}`;
		case 'boolean':
			return 'true or false';
		case 'array':
			return `a list${items(schema)}`;
		case 'object':
			return 'an object';
		default:
			return 'a text';
	}
}

function range(schema: TSchema): string {
	const { minimum, maximum, exclusiveMinimum } = schema as { minimum?: number; maximum?: number; exclusiveMinimum?: number };
	if (exclusiveMinimum !== undefined) return ` above ${exclusiveMinimum}, at most ${maximum}`;
	return minimum === undefined ? '' : ` from ${minimum} to ${maximum}`;
}

function items(schema: TSchema): string {
	const { minItems, maxItems } = schema as { minItems?: number; maxItems?: number };
	return maxItems === undefined ? '' : ` of ${minItems ?? 0} to ${maxItems} items`;
}

/** A value as far as it may be repeated: scalars, cut. */
export function shown(value: unknown): string {
	if (typeof value === 'object' && value !== null) return described(value);
	// 1e999 is JSON, and no number
	const text = typeof value === 'number' ? String(value) : value === undefined ? 'missing' : JSON.stringify(value);
	return text.length > 64 ? `${text.slice(0, 61)}…"` : text;
}

/** A value's kind and size, nothing of its content. */
function described(value: unknown): string {
	if (value === null) return 'null';
	if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
	if (typeof value === 'string') return value === '' ? 'an empty text' : `a text of ${value.length} characters`;
	return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

/** `/messages/0/role` → `messages[0].role`; names are the client's, so they are cut. */
function fieldPath(pointer: string): string {
	return pointer
		.split('/')
		.slice(1)
		.map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
		.map((part) => (/^[A-Za-z0-9_$.-]{1,64}$/.test(part) ? part : shown(part)))
		.reduce((path, part) => (/^\d+$/.test(part) && path !== '' ? `${path}[${part}]` : path === '' ? part : `${path}.${part}`), '');
}
