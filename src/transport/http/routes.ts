/**
 * A small router: exact paths and `{param}` segments, nothing else. Pure. An unknown path and a known path with another
 * method are told apart, for 404 and for 405 with `Allow`.
 */
import type { Access } from '../auth/principal.ts';

export type Params = Readonly<Record<string, string>>;

export interface Route<H> {
	readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
	/** `/v2/tasks/{id}/events` */
	readonly path: string;
	readonly handler: H;
	/** Who may use it. Default: clients. */
	readonly access?: Access;
}

export type RouteMatch<H> =
	| { readonly found: 'route'; readonly handler: H; readonly params: Params; readonly pattern: string; readonly access: Access }
	/** `allow` is the value of the header of that name. */
	| { readonly found: 'path'; readonly allow: string }
	| { readonly found: 'nothing' };

interface Compiled<H> {
	readonly segments: readonly string[];
	readonly route: Route<H>;
}

const noParams: Params = {};

export class Router<H> {
	readonly #exact = new Map<string, Route<H>[]>();
	/** Routes with parameters, by their number of segments. */
	readonly #byLength = new Map<number, Compiled<H>[]>();

	constructor(routes: readonly Route<H>[]) {
		for (const route of routes) {
			const segments = route.path.split('/');
			if (route.path.includes('{')) push(this.#byLength, segments.length, { segments, route });
			else push(this.#exact, route.path, route);
		}
	}

	/** HEAD goes where GET goes. A path of its own wins over one with a parameter. */
	match(method: string, path: string): RouteMatch<H> {
		const wanted = method === 'HEAD' ? 'GET' : method;
		const exact = this.#exact.get(path) ?? [];
		for (const route of exact) {
			if (route.method === wanted)
				return { found: 'route', handler: route.handler, params: noParams, pattern: route.path, access: accessOf(route) };
		}
		const allowed = new Set<string>(exact.map((route) => route.method));
		const segments = path.split('/');
		for (const { segments: pattern, route } of this.#byLength.get(segments.length) ?? []) {
			const params = paramsOf(pattern, segments);
			if (params === null) continue;
			if (route.method === wanted) return { found: 'route', handler: route.handler, params, pattern: route.path, access: accessOf(route) };
			allowed.add(route.method);
		}
		if (allowed.size === 0) return { found: 'nothing' };
		if (allowed.has('GET')) allowed.add('HEAD');
		return { found: 'path', allow: [...allowed, 'OPTIONS'].join(', ') };
	}
}

function accessOf({ access = 'client' }: Route<unknown>): Access {
	return access;
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
	const list = map.get(key);
	if (list === undefined) map.set(key, [value]);
	else list.push(value);
}

function paramsOf(pattern: readonly string[], segments: readonly string[]): Params | null {
	const params: Record<string, string> = {};
	for (let i = 0; i < pattern.length; i++) {
		const expected = pattern[i] as string;
		const actual = segments[i] as string;
		if (!expected.startsWith('{')) {
			if (expected !== actual) return null;
			continue;
		}
		const value = decoded(actual);
		if (value === null || value === '') return null;
		params[expected.slice(1, -1)] = value;
	}
	return params;
}

/** Null when the percent signs make no sense. */
function decoded(segment: string): string | null {
	if (!segment.includes('%')) return segment;
	try {
		return decodeURIComponent(segment);
	} catch (error) {
		if (error instanceof URIError) return null;
		throw error;
	}
}
