/**
 * The body of a request as an engine's specification has it: every field that may be there, and what it may hold. What is not in the
 * list is noted as straying, for most engines would pass over it in silence.
 */

type Check = (value: unknown) => boolean;

/** A `?` behind the name: it may be left out. */
export type BodyFields = Readonly<Record<string, Check>>;

export const isText: Check = (value) => typeof value === 'string';
export const isFlag: Check = (value) => typeof value === 'boolean';
export const isNumber: Check = (value) => typeof value === 'number' && Number.isFinite(value);
export const isCount: Check = (value) => typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
export const isObject: Check = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

export function isOneOf(...values: readonly unknown[]): Check {
	return (value) => values.includes(value);
}

export function isBetween(least: number, most: number): Check {
	return (value) => typeof value === 'number' && value >= least && value <= most;
}

export function isListOf(check: Check): Check {
	return (value) => Array.isArray(value) && value.every((each) => check(each));
}

export function isEither(...checks: readonly Check[]): Check {
	return (value) => checks.some((check) => check(value));
}

/** An object with these fields and no others. */
export function isRecord(fields: BodyFields): Check {
	return (value) => {
		let right = true;
		strictFields(value, fields, '', () => {
			right = false;
		});
		return right;
	};
}

/** The fields, as far as they are right; what is not is told. */
export function strictBody(
	body: string,
	fields: BodyFields,
	what: string,
	stray: (words: string) => void,
): Readonly<Record<string, unknown>> {
	let parsed: unknown;
	try {
		parsed = JSON.parse(body);
	} catch (error) {
		stray(`${what} has a body that is no JSON: ${String(error)}`);
		return {};
	}
	const given = strictFields(parsed, fields, what, stray);
	return given;
}

export function strictFields(
	value: unknown,
	fields: BodyFields,
	what: string,
	stray: (words: string) => void,
): Readonly<Record<string, unknown>> {
	if (!isObject(value)) {
		stray(`${what} is no object`);
		return {};
	}
	const given = Object.entries(value as object).filter(([name, each]: [string, unknown]) => {
		const check = fields[name] ?? fields[`${name}?`];
		if (check === undefined) stray(`${what} has ${name}, which the engine does not know`);
		else if (!check(each)) stray(`${what} has ${name}: ${JSON.stringify(each)}`);
		return check?.(each) === true;
	});
	const right: Readonly<Record<string, unknown>> = Object.fromEntries(given);
	for (const name of Object.keys(fields)) if (!name.endsWith('?') && !(name in right)) stray(`${what} has no ${name}`);
	return right;
}
