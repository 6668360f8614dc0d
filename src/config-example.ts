/**
 * A configuration file with every key, its default and what it means, written from the schema: what `config example` prints. It
 * loads as it stands, and means the same as no file. Pure.
 */
import type { TSchema } from '@sinclair/typebox';
import { stringify } from 'yaml';
import { configSchema, poolSchema } from './config-schema.ts';

const wordsAt = 44;

export function exampleConfig(): string {
	return [
		'# Every key of orchestratord with its default. Keep what you change and delete the rest.',
		...mapping(configSchema, 0, (name) => (name === 'pools' ? ['pools:', ...pool()] : null)),
		'',
	].join('\n');
}

/** The pool that there is without a file. */
function pool(): string[] {
	const given: Readonly<Record<string, string>> = { id: 'default', aliases: '[default]' };
	const lines = mapping(poolSchema, 4, (name) => {
		// It belongs to another engine.
		if (name === 'scripted' || name === 'llamacpp' || name === 'vllm' || name === 'triton' || name === 'openai')
			return commented(mapping(poolSchema.properties[name], 6), `    ${name}:`);
		const value = given[name];
		return value === undefined ? null : [leaf('    ', name, value, poolSchema.properties[name as 'id'])];
	});
	return lines.map((line, index) => (index === 0 ? `  - ${line.slice(4)}` : line));
}

/** `instead` writes a key in its own way; null: as any. */
function mapping(schema: TSchema, indent: number, instead: (name: string) => string[] | null = () => null): string[] {
	const pad = ' '.repeat(indent);
	return Object.entries(schema['properties'] as Readonly<Record<string, TSchema>>).flatMap(([name, key]) => {
		const own = instead(name);
		if (own !== null) return own;
		if (key['type'] === 'object' && key['properties'] !== undefined) return [`${pad}${name}:`, ...mapping(key, indent + 2)];
		const fallback: unknown = key['default'];
		return [fallback === undefined ? leaf(`${pad}# `, name, '…', key) : leaf(pad, name, flow(fallback), key)];
	});
}

function leaf(pad: string, name: string, value: string, { description, enum: values }: TSchema): string {
	const choice = Array.isArray(values) && values.length > 1 ? ` (${values.join(' | ')})` : '';
	return `${`${pad}${name}: ${value}`.padEnd(wordsAt)} # ${String(description)}${choice}`;
}

function commented(lines: readonly string[], head: string): string[] {
	return [head, ...lines].map((line) => `    # ${line.slice(4)}`);
}

function flow(value: unknown): string {
	return stringify(value, { collectionStyle: 'flow', defaultStringType: 'PLAIN', lineWidth: 0 }).trimEnd();
}
