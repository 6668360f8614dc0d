/**
 * No web page may drive a local daemon: which `Host` and `Origin` a request may carry. Pure. A name that resolves to
 * loopback (DNS rebinding) shows as a foreign Host, a page elsewhere as a foreign Origin, an HTML form as a body that is
 * not JSON beside an Origin.
 */
import { isIP } from 'node:net';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { Header, HttpRequest } from '../http/http-host.ts';

export interface OriginGuardOptions {
	readonly hostname: string;
	readonly port: number;
	/** Further names under which the daemon is reached, as `name` (any port) or `name:port`. */
	readonly hosts: readonly string[];
	/** Pages of these origins may use the daemon; `*`: of all. */
	readonly corsOrigins: readonly string[];
	/** TLS: the port that a URL leaves out is 443. Default: 80. */
	readonly secure?: boolean;
}

/** Addresses that stand for all of the machine. */
const wildcards: readonly string[] = ['0.0.0.0', '::'];
/** What pages of other origins may read beside the body. */
const exposedHeaders = [
	'X-Correlation-Id, X-Task-Id, X-Queue-Wait-Ms, Server-Timing, Location, Retry-After, X-Backoff-Ms',
	'X-Budget-Tokens-Remaining, X-Budget-Time-Remaining-Ms, X-Budget-Cost-Remaining',
].join(', ');
const preflightSeconds = 600;
const headerNames = /^[A-Za-z0-9_.,\- ]{1,2000}$/;

const defaultPorts: Readonly<Record<string, string>> = { 'http:': '80', 'https:': '443' };
const jsonType = /^application\/(?:[a-z0-9.+-]+\+)?json\s*(?:;|$)/i;

export class OriginGuard {
	readonly #hosts: ReadonlySet<string>;
	readonly #anyPort: ReadonlySet<string>;
	readonly #allowed: string;
	/** Bound to every address: an address in `Host` is one of them, and no name that a foreign page could have made up. */
	readonly #anyAddress: boolean;
	readonly #origins: ReadonlySet<string>;

	constructor(options: OriginGuardOptions) {
		const bound = options.hostname.includes(':') ? `[${options.hostname}]` : options.hostname;
		const names = [bound, 'localhost', '127.0.0.1', '[::1]'].map((name) => name.toLowerCase());
		const extra = options.hosts.map((host) => host.toLowerCase());
		const withPort = extra.filter((host) => /:\d+$/.test(host));
		const hosts = new Set([...names.map((name) => `${name}:${options.port}`), ...withPort]);
		if (options.port === (options.secure === true ? 443 : 80)) for (const name of names) hosts.add(name);
		this.#hosts = hosts;
		this.#anyPort = new Set(extra.filter((host) => !withPort.includes(host)));
		this.#allowed = [...hosts, ...this.#anyPort].join(', ');
		this.#anyAddress = wildcards.includes(options.hostname);
		this.#origins = new Set(options.corsOrigins.map((origin) => origin.toLowerCase()));
	}

	/** Headers of an answer that lets a page of another origin read it; none for requests that come from no such page. */
	corsHeaders(request: HttpRequest): readonly Header[] {
		if (this.#origins.size === 0) return [];
		const origin = request.header('origin');
		const vary: Header = ['Vary', 'Origin'];
		if (origin === undefined || !this.#sharedWith(origin)) return [vary];
		return [['Access-Control-Allow-Origin', origin], ['Access-Control-Expose-Headers', exposedHeaders], vary];
	}

	/** What a page of another origin asks before its request; null: it is no such question. It has no key, by design. */
	preflight(request: HttpRequest, methods: string): readonly Header[] | null {
		const origin = request.header('origin');
		const asked = request.header('access-control-request-method');
		if (request.method !== 'OPTIONS' || asked === undefined || origin === undefined || !this.#sharedWith(origin)) return null;
		const wanted = request.header('access-control-request-headers') ?? '';
		return [
			['Access-Control-Allow-Methods', methods],
			['Access-Control-Max-Age', String(preflightSeconds)],
			...(headerNames.test(wanted) ? [['Access-Control-Allow-Headers', wanted] as const] : []),
			...(request.header('access-control-request-private-network') === 'true'
				? [['Access-Control-Allow-Private-Network', 'true'] as const]
				: []),
		];
	}

	/** Null: the request may go on. */
	refusal(request: HttpRequest): Failure | null {
		const host = request.header('host') ?? '';
		if (!this.#knows(host.toLowerCase()) && !(this.#anyAddress && isAddress(host))) {
			return failure('FORBIDDEN', `Host is ${shown(host)}; this daemon answers to ${this.#allowed}`);
		}
		const origin = request.header('origin');
		if (origin === undefined || origin === '') return null;
		if (this.#sharedWith(origin)) return null;
		if (!this.#ownOrigin(origin, host.toLowerCase())) {
			return failure('FORBIDDEN', `Origin is ${shown(origin)}; web pages of other origins may not use this daemon`);
		}
		const contentType = request.header('content-type');
		if (contentType !== undefined && contentType !== '' && !jsonType.test(contentType)) {
			return failure('FORBIDDEN', `Content-Type is ${shown(contentType)}; from a web page only application/json is taken`);
		}
		return null;
	}

	#knows(host: string): boolean {
		return this.#hosts.has(host) || (this.#anyPort.size > 0 && this.#anyPort.has(host.replace(/:\d+$/, '')));
	}

	#sharedWith(origin: string): boolean {
		return this.#origins.has('*') || this.#origins.has(origin.toLowerCase());
	}

	/** `host` may be had, and a page of the same host is ours. */
	#ownOrigin(origin: string, host: string): boolean {
		if (!URL.canParse(origin)) return false;
		const url = new URL(origin);
		const port = url.port === '' ? defaultPorts[url.protocol] : url.port;
		return port !== undefined && (this.#knows(`${url.hostname}:${port}`) || url.host === host);
	}
}

function isAddress(host: string): boolean {
	const [, v6, v4] = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+))(?::\d{1,5})?$/.exec(host) ?? [];
	return isIP(v6 ?? v4 ?? '') !== 0;
}

function shown(value: string): string {
	const text = JSON.stringify(value);
	return text.length > 80 ? `${text.slice(0, 77)}…"` : text;
}
