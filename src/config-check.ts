/**
 * Validates a configuration tree and says what is wrong in words: the path, the value, what is allowed, and for an
 * unknown key the nearest known one. Pure.
 */
import type { TSchema } from '@sinclair/typebox';
import { Value, type ValueError, ValueErrorType } from '@sinclair/typebox/value';
import { configSchema } from './config-schema.ts';
import { nearest } from './nearest.ts';

/** The configuration cannot be used. Each problem is one sentence that names a path, flag or variable. */
export class ConfigError extends Error {
	override readonly name = 'ConfigError';
	readonly problems: readonly string[];

	constructor(problems: readonly string[]) {
		super(problems.join('\n'));
		this.problems = problems;
	}
}

/** Sentences for everything that does not fit the schema; empty when all does. `originOf` tells where a value came from. */
export function problemsOf(tree: unknown, originOf: (path: string) => string | null): string[] {
	const seen = new Set<string>();
	const problems: string[] = [];
	for (const error of Value.Errors(configSchema, tree)) {
		if (seen.has(error.path)) continue;
		seen.add(error.path);
		const path = dotted(error.path);
		problems.push(withOrigin(sentence(error, path), originOf(path)));
	}
	return problems;
}

/** A flag, a variable, or a place in the file. */
export function withOrigin(problem: string, origin: string | null): string {
	return origin === null ? problem : `${problem} (from ${origin})`;
}

function sentence(error: ValueError, path: string): string {
	if (error.type === ValueErrorType.ObjectAdditionalProperties) return unknownKey(path, error.schema);
	if (error.type === ValueErrorType.ObjectRequiredProperty) return `${path} is missing; it must be ${allowed(error.schema)}`;
	const value = error.schema['secret'] === true ? 'something else' : shown(error.value);
	return `${path || 'the file'} is ${value}; it must be ${allowed(error.schema)}`;
}

function unknownKey(path: string, parent: TSchema): string {
	const at = path.lastIndexOf('.');
	const known = Object.keys((parent['properties'] as Readonly<Record<string, TSchema>> | undefined) ?? {});
	const name = path.slice(at + 1);
	const suggestion = nearest(name, known);
	const hint = suggestion === null ? `known here: ${known.join(', ')}` : `did you mean ${path.slice(0, at + 1)}${suggestion}?`;
	return `unknown key ${path}; ${hint}`;
}

/** What a schema allows, in words. */
function allowed(schema: TSchema): string {
	const said: unknown = schema['allowed'];
	if (typeof said === 'string') return said;
	const values: unknown = schema['enum'];
	if (Array.isArray(values)) return values.length === 1 ? String(values[0]) : `one of ${values.join(', ')}`;
	switch (schema['type']) {
		case 'integer':
		case 'number':
			return `${schema['type'] === 'integer' ? 'a whole number' : 'a number'}${range(schema)}`;
		case 'string':
			return 'a text';
		case 'array':
			return 'a list';
		case 'object':
			return 'a mapping';
		default:
			return 'something else';
	}
}

function range(schema: TSchema): string {
	const { minimum, maximum, exclusiveMinimum } = schema as { minimum?: number; maximum?: number; exclusiveMinimum?: number };
	if (minimum !== undefined && maximum !== undefined) return ` from ${minimum} to ${maximum}`;
	if (minimum !== undefined) return ` of at least ${minimum}`;
	return exclusiveMinimum === undefined ? '' : ` above ${exclusiveMinimum}`;
}

function shown(value: unknown): string {
	const text = value === undefined ? 'missing' : JSON.stringify(value);
	return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** `/pools/0/queue/capacity` → `pools[0].queue.capacity`. */
function dotted(pointer: string): string {
	return pointer
		.split('/')
		.slice(1)
		.map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
		.reduce((path, part) => (/^\d+$/.test(part) ? `${path}[${part}]` : path === '' ? part : `${path}.${part}`), '');
}
