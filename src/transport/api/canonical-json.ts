/**
 * One text for all JSON that means the same: keys sorted, no spaces, numbers in their shortest form. Pure. For comparing
 * bodies, so only equality matters.
 */
import { createHash } from 'node:crypto';

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** `value` comes from `JSON.parse` and is nested no deeper than the validator allows. */
export function canonicalJson(value: unknown): string {
	return write(value as Json);
}

function write(value: Json): string {
	if (typeof value !== 'object' || value === null) return JSON.stringify(value);
	if (isList(value)) return `[${value.map(write).join(',')}]`;
	const members = Object.keys(value).sort();
	return `{${members.map((key) => `${JSON.stringify(key)}:${write(value[key] as Json)}`).join(',')}}`;
}

function isList(value: readonly Json[] | { readonly [key: string]: Json }): value is readonly Json[] {
	return Array.isArray(value);
}

/** SHA-256 of the canonical text of a body, as lower-case hex, without the member `omit`. */
export function bodyHash(body: Readonly<Record<string, unknown>>, omit: string): string {
	const rest = Object.fromEntries(Object.entries(body).filter(([key]) => key !== omit));
	return createHash('sha256').update(canonicalJson(rest)).digest('hex');
}
