/** The kinds of fields that the configuration is made of, as TypeBox schemas; `allowed` says in words what is. Pure. */
import { type TSchema, Type } from '@sinclair/typebox';

const bytesPattern = '^[0-9]+(\\.[0-9]+)? ?(B|[kK]B|MB|GB|[kK]iB|MiB|GiB)?$';

/** A whole number of bytes, or a string such as `256MiB`. */
export function bytes(defaultValue: string, description: string) {
	return Type.Union([Type.Integer({ minimum: 0 }), Type.String({ pattern: bytesPattern })], {
		default: defaultValue,
		description,
		allowed: 'bytes as a whole number, or a size such as 512KiB, 256MiB, 1GiB',
	});
}

export function milliseconds(defaultValue: number, description: string, range: { minimum?: number; maximum?: number } = {}) {
	return Type.Integer({ minimum: 0, maximum: 2_147_483_647, ...range, default: defaultValue, description });
}

export function section<T extends Record<string, TSchema>>(properties: T, description: string) {
	return Type.Object(properties, { additionalProperties: false, default: {}, description });
}

export function oneOf<const T extends readonly string[]>(values: T, defaultValue: T[number] | undefined, description: string) {
	return Type.Unsafe<T[number]>(
		Type.String({
			enum: [...values],
			pattern: `^(${values.join('|')})$`,
			description,
			...(defaultValue === undefined ? {} : { default: defaultValue }),
		}),
	);
}

export function autoOr(minimum: number, maximum: number, description: string) {
	return Type.Union([Type.Literal('auto'), Type.Integer({ minimum, maximum })], {
		default: 'auto',
		description,
		allowed: `auto, or a whole number from ${minimum} to ${maximum}`,
	});
}

/** A command line, or its words. */
export function words(description: string) {
	return Type.Union([Type.String({ minLength: 1 }), Type.Array(Type.String(), { minItems: 1, maxItems: 1_000 })], {
		description,
		allowed: 'a command line, or a list of its words',
	});
}

export function folder(description: string) {
	return Type.String({ default: 'auto', minLength: 1, description });
}
