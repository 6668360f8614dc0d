/**
 * A client's JSON Schema to the subset that the library makes grammars of. What it would silently ignore is refused by name,
 * with its place, for a grammar that does less than was asked is worse than none. Pure.
 */
import type { GbnfJsonOneOfSchema } from 'node-llama-cpp';

/** The schema cannot be used; the message names the keyword and its place. */
export class SchemaError extends Error {
	override readonly name = 'SchemaError';
}

type Json = Readonly<Record<string, unknown>>;

const depthMax = 64;
const enumItemsMax = 10_000;
/** Say nothing about what is valid. */
const annotations = new Set([
	'title',
	'description',
	'default',
	'examples',
	'$schema',
	'$id',
	'$comment',
	'deprecated',
	'readOnly',
	'writeOnly',
]);
/** `required` is kept by construction: the library's grammar always writes every property. */
const understood: Readonly<Record<string, readonly string[]>> = {
	object: ['properties', 'required', 'additionalProperties', 'minProperties', 'maxProperties'],
	array: ['items', 'prefixItems', 'minItems', 'maxItems'],
	string: ['minLength', 'maxLength', 'format'],
	number: [],
	integer: [],
	boolean: [],
	null: [],
};
/** Formats that have a grammar; all others are annotations, as the specification says. */
const formats = new Set(['date-time', 'time', 'date']);
const anyValue = {
	oneOf: [
		{ type: 'object', additionalProperties: true },
		{ type: 'array' },
		{ type: 'string' },
		{ type: 'number' },
		{ type: 'boolean' },
		{ type: 'null' },
	],
};

/** A choice of one: where the library reads definitions. */
export function libraryJsonSchema(schema: unknown): GbnfJsonOneOfSchema {
	const translator = new Translator();
	const choice: unknown = { oneOf: [translator.translate(schema, '', 0)], $defs: translator.definitions(schema) };
	return choice as GbnfJsonOneOfSchema;
}

class Translator {
	readonly #names = new Set<string>();

	/** The schema's definitions, translated. */
	definitions(schema: unknown): Json {
		if (!isObject(schema)) return {};
		const all: Record<string, unknown> = {};
		for (const keyword of ['definitions', '$defs']) {
			const defs = schema[keyword];
			if (defs === undefined) continue;
			if (!isObject(defs)) throw new SchemaError(`/${keyword} must be an object`);
			for (const [name, def] of Object.entries(defs)) all[name] = this.translate(def, `/${keyword}/${name}`, 1);
		}
		for (const name of this.#names) if (!Object.hasOwn(all, name)) throw new SchemaError(`$ref names ${name}, which $defs does not have`);
		return all;
	}

	translate(schema: unknown, at: string, depth: number): Json {
		if (depth > depthMax) throw new SchemaError(`${place(at)} is nested more than ${depthMax} deep`);
		if (schema === true) return anyValue;
		if (!isObject(schema)) throw new SchemaError(`${place(at)} must be a schema: an object`);
		const own = Object.fromEntries(
			Object.entries(schema).filter(
				([key, value]) => value !== undefined && !annotations.has(key) && key !== '$defs' && key !== 'definitions',
			),
		);
		if ('$ref' in own) return this.#reference(own, at);
		for (const keyword of ['anyOf', 'oneOf']) if (keyword in own) return this.#alternatives(own, keyword, at, depth);
		if ('allOf' in own) return this.#onlyOne(own, at, depth);
		if ('const' in own) return { enum: [scalar(own['const'], at, 'const')] };
		if ('enum' in own) return this.#enumeration(own['enum'], at);
		if (!('type' in own)) {
			if (Object.keys(own).length === 0) return anyValue;
			if ('properties' in own) own['type'] = 'object';
			else if ('items' in own || 'prefixItems' in own) own['type'] = 'array';
			else throw new SchemaError(`${place(at)} has no type`);
		}
		const types = Array.isArray(own['type']) ? own['type'] : [own['type']];
		if (types.length === 0) throw new SchemaError(`${place(`${at}/type`)} is empty`);
		this.#refuseUnknown(own, types, at);
		const alternatives = types.map((type) => this.#ofType(type, own, at, depth));
		return alternatives.length === 1 ? (alternatives[0] as Json) : { oneOf: alternatives };
	}

	#refuseUnknown(own: Json, types: readonly unknown[], at: string): void {
		const known = new Set(types.flatMap((type) => (typeof type === 'string' ? (understood[type] ?? []) : [])));
		for (const keyword of Object.keys(own)) {
			if (keyword === 'type' || known.has(keyword)) continue;
			// Keywords of another type do not apply, says the specification.
			if (Object.values(understood).some((list) => list.includes(keyword))) continue;
			throw new SchemaError(`${place(at)} uses ${keyword}, which this engine's grammars cannot express`);
		}
	}

	#ofType(type: unknown, own: Json, at: string, depth: number): Json {
		if (typeof type !== 'string' || understood[type] === undefined)
			throw new SchemaError(`${place(`${at}/type`)} is ${JSON.stringify(type)}; allowed are ${Object.keys(understood).join(', ')}`);
		switch (type) {
			case 'object':
				return this.#object(own, at, depth);
			case 'array':
				return this.#array(own, at, depth);
			case 'string':
				if (typeof own['format'] === 'string' && formats.has(own['format'])) return { type, format: own['format'] };
				return { type, ...bounds(own, at, 'minLength', 'maxLength') };
			default:
				return { type };
		}
	}

	#object(own: Json, at: string, depth: number): Json {
		const properties = own['properties'] ?? {};
		if (!isObject(properties)) throw new SchemaError(`${place(`${at}/properties`)} must be an object`);
		const required = own['required'] ?? [];
		if (!Array.isArray(required)) throw new SchemaError(`${place(`${at}/required`)} must be a list of names`);
		for (const name of required)
			if (!Object.hasOwn(properties, String(name)))
				throw new SchemaError(`${place(`${at}/required`)} names ${String(name)}, which properties does not have`);
		const more = own['additionalProperties'];
		// Unnamed properties are allowed by default; only where there are no named ones must the grammar have them.
		const open = more === undefined ? Object.keys(properties).length === 0 : more;
		return {
			type: 'object',
			properties: Object.fromEntries(
				Object.entries(properties).map(([name, value]) => [name, this.translate(value, `${at}/properties/${name}`, depth + 1)]),
			),
			additionalProperties: typeof open === 'boolean' ? open : this.translate(open, `${at}/additionalProperties`, depth + 1),
			...bounds(own, at, 'minProperties', 'maxProperties'),
		};
	}

	#array(own: Json, at: string, depth: number): Json {
		const { items, prefixItems } = own;
		if (prefixItems !== undefined && !Array.isArray(prefixItems))
			throw new SchemaError(`${place(`${at}/prefixItems`)} must be a list of schemas`);
		return {
			type: 'array',
			...(items === undefined || items === true ? {} : { items: this.translate(items, `${at}/items`, depth + 1) }),
			...(prefixItems === undefined
				? {}
				: { prefixItems: prefixItems.map((item, index) => this.translate(item, `${at}/prefixItems/${index}`, depth + 1)) }),
			...bounds(own, at, 'minItems', 'maxItems'),
		};
	}

	#reference(own: Json, at: string): Json {
		alone(own, '$ref', at);
		const match = /^#\/(?:\$defs|definitions)\/([^/]+)$/.exec(String(own['$ref']));
		if (match === null) throw new SchemaError(`${place(`${at}/$ref`)} must be #/$defs/<name>`);
		const name = match[1] as string;
		this.#names.add(name);
		return { $ref: `#/$defs/${name}` };
	}

	#alternatives(own: Json, keyword: string, at: string, depth: number): Json {
		alone(own, keyword, at);
		const list = own[keyword];
		if (!Array.isArray(list) || list.length === 0) throw new SchemaError(`${place(`${at}/${keyword}`)} must be a list of schemas`);
		return { oneOf: list.map((item, index) => this.translate(item, `${at}/${keyword}/${index}`, depth + 1)) };
	}

	#onlyOne(own: Json, at: string, depth: number): Json {
		alone(own, 'allOf', at);
		const list = own['allOf'];
		if (!Array.isArray(list) || list.length !== 1)
			throw new SchemaError(`${place(at)} uses allOf with more than one schema, which this engine's grammars cannot express`);
		return this.translate(list[0], `${at}/allOf/0`, depth + 1);
	}

	#enumeration(list: unknown, at: string): Json {
		if (!Array.isArray(list) || list.length === 0 || list.length > enumItemsMax)
			throw new SchemaError(`${place(`${at}/enum`)} must be a list of 1 to ${enumItemsMax} values`);
		return { enum: list.map((item) => scalar(item, at, 'enum')) };
	}
}

function alone(own: Json, keyword: string, at: string): void {
	const other = Object.keys(own).find((key) => key !== keyword && key !== 'type');
	if (other !== undefined)
		throw new SchemaError(`${place(at)} uses ${keyword} together with ${other}, which this engine's grammars cannot express`);
}

function scalar(value: unknown, at: string, keyword: string): string | number | boolean | null {
	if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
	throw new SchemaError(`${place(`${at}/${keyword}`)} holds an object or a list, which this engine's grammars cannot express`);
}

function bounds(own: Json, at: string, least: string, most: string): Json {
	const found: Record<string, number> = {};
	for (const keyword of [least, most]) {
		const value = own[keyword];
		if (value === undefined) continue;
		if (typeof value !== 'number' || !Number.isInteger(value) || value < 0)
			throw new SchemaError(`${place(`${at}/${keyword}`)} must be a whole number from 0`);
		found[keyword] = value;
	}
	if ((found[least] ?? 0) > (found[most] ?? Number.POSITIVE_INFINITY)) throw new SchemaError(`${place(at)} has ${least} above ${most}`);
	return found;
}

function place(at: string): string {
	return at === '' ? 'the schema' : at;
}

function isObject(value: unknown): value is Json {
	return typeof value === 'object' && value !== null && !Array.isArray(value);
}
