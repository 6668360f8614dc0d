/** Where an engine listens, from its url. Pure. */
import { isIP } from 'node:net';

export interface Endpoint {
	readonly tls: boolean;
	/** Null: a Unix socket. */
	readonly host: string | null;
	readonly port: number;
	readonly socketPath: string | null;
	/** Of the `Host` header. */
	readonly authority: string;
	/** What every path begins with: '' or `/base`. */
	readonly basePath: string;
}

/** `http://host:port/base`, `https://…`, or `unix:/path/to.sock` with `:/base` behind it. Throws words that name what is allowed. */
export function endpointOf(url: string): Endpoint {
	if (url.startsWith('unix:')) {
		const [path = '', base = ''] = url.slice('unix:'.length).split(':');
		if (!path.startsWith('/')) throw new Error(`${url} names no socket: unix:/path/to.sock or unix:/path/to.sock:/base`);
		return { tls: false, host: null, port: 0, socketPath: path, authority: 'localhost', basePath: withoutSlash(base) };
	}
	const parsed = URL.canParse(url) ? new URL(url) : null;
	if (parsed === null || (parsed.protocol !== 'http:' && parsed.protocol !== 'https:')) {
		throw new Error(`${url} is no address of an engine: http://host:port, https://host or unix:/path/to.sock`);
	}
	if (parsed.username !== '' || parsed.password !== '') throw new Error('a url holds no password: name the key with key_env or key_file');
	if (parsed.search !== '' || parsed.hash !== '') throw new Error(`${url} has a query or a fragment; it may have a path only`);
	const tls = parsed.protocol === 'https:';
	const host = parsed.hostname.replace(/^\[|\]$/g, '');
	const port = parsed.port === '' ? (tls ? 443 : 80) : Number(parsed.port);
	return { tls, host, port, socketPath: null, authority: parsed.host, basePath: withoutSlash(parsed.pathname) };
}

/** The name that a certificate is to have; undefined for an address of numbers. */
export function serverName({ host }: Endpoint): string | undefined {
	return host === null || isIP(host) !== 0 ? undefined : host;
}

function withoutSlash(path: string): string {
	return path.replace(/\/+$/, '');
}
