/**
 * No web page may drive a local daemon: which `Host` and `Origin` a request may carry. Pure. A name that resolves to
 * loopback (DNS rebinding) shows as a foreign Host, a page elsewhere as a foreign Origin, an HTML form as a body that is
 * not JSON beside an Origin.
 */
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { HttpRequest } from '../http/http-host.ts';

export interface OriginGuardOptions {
	readonly hostname: string;
	readonly port: number;
	/** Further names under which the daemon is reached, as `name` (any port) or `name:port`. */
	readonly hosts: readonly string[];
}

const defaultPorts: Readonly<Record<string, string>> = { 'http:': '80', 'https:': '443' };
const jsonType = /^application\/(?:[a-z0-9.+-]+\+)?json\s*(?:;|$)/i;

export class OriginGuard {
	readonly #hosts: ReadonlySet<string>;
	readonly #anyPort: ReadonlySet<string>;
	readonly #allowed: string;

	constructor(options: OriginGuardOptions) {
		const bound = options.hostname.includes(':') ? `[${options.hostname}]` : options.hostname;
		const names = [bound, 'localhost', '127.0.0.1', '[::1]'].map((name) => name.toLowerCase());
		const extra = options.hosts.map((host) => host.toLowerCase());
		const withPort = extra.filter((host) => /:\d+$/.test(host));
		const hosts = new Set([...names.map((name) => `${name}:${options.port}`), ...withPort]);
		if (options.port === 80) for (const name of names) hosts.add(name);
		this.#hosts = hosts;
		this.#anyPort = new Set(extra.filter((host) => !withPort.includes(host)));
		this.#allowed = [...hosts, ...this.#anyPort].join(', ');
	}

	/** Null: the request may go on. */
	refusal(request: HttpRequest): Failure | null {
		const host = request.header('host') ?? '';
		if (!this.#knows(host.toLowerCase())) {
			return failure('FORBIDDEN', `Host is ${shown(host)}; this daemon answers to ${this.#allowed}`);
		}
		const origin = request.header('origin');
		if (origin === undefined || origin === '') return null;
		if (!this.#ownOrigin(origin)) {
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

	#ownOrigin(origin: string): boolean {
		if (!URL.canParse(origin)) return false;
		const url = new URL(origin);
		const port = url.port === '' ? defaultPorts[url.protocol] : url.port;
		return port !== undefined && this.#knows(`${url.hostname}:${port}`);
	}
}

function shown(value: string): string {
	const text = JSON.stringify(value);
	return text.length > 80 ? `${text.slice(0, 77)}…"` : text;
}
