/**
 * Tools that whoever owns an API runs there, and nobody here: a model that has other tools is not told of them; a request that has no other is
 * refused, for its answer would be made without what it is about. Pure.
 */
import { type Parsed, refused } from './json-body.ts';
import { type Fields, typeNamed } from './unfit.ts';

/** The body without them. Whether the rest of it is right is looked at behind this. */
export function withoutHosted(json: unknown, hosted: RegExp): Parsed<unknown> {
	if (typeof json !== 'object' || json === null || !Array.isArray((json as Fields)['tools'])) return { ok: true, value: json };
	const tools = (json as Fields)['tools'] as readonly unknown[];
	const isHosted = (tool: unknown): boolean => {
		const type = typeof tool === 'object' && tool !== null ? (tool as Fields)['type'] : undefined;
		return typeof type === 'string' && hosted.test(type);
	};
	const rest = tools.filter((tool) => !isHosted(tool));
	if (rest.length === tools.length) return { ok: true, value: json };
	if (rest.length === 0)
		return refused(`tools[0] is ${typeNamed((tools[0] as Fields)['type'])}, which nobody runs here, and there are no others`);
	return { ok: true, value: { ...json, tools: rest } };
}
