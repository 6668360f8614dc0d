/** A registry of images on loopback, by the distribution specification: manifests, blobs by their digests, tokens that run out. */
import { createHash } from 'node:crypto';
import type { BadSource } from './bad-source.ts';

export interface FakeLayer {
	readonly mediaType: string;
	readonly bytes: Buffer;
	readonly title?: string;
}

export interface FakeRegistry {
	/** Manifests by tag or digest. */
	readonly manifests: Map<string, Buffer>;
	/** `user:password` that tokens are given for; null: to anybody. */
	readonly login: string | null;
	/** Times that a token was asked for. */
	tokens: number;
	/** The token that counts; null: none is needed. */
	token: string | null;
}

export function digestOf(bytes: Buffer | string): string {
	return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

export function serveRegistry(source: BadSource, login: string | null, needsToken = true): FakeRegistry {
	const registry: FakeRegistry = { manifests: new Map(), login, tokens: 0, token: needsToken ? 'token-0' : null };
	source.onRequest = (request, response) => {
		const url = new URL(request.url ?? '', source.url);
		const { authorization } = request.headers;
		if (url.pathname === '/token') {
			if (login !== null && authorization !== `Basic ${Buffer.from(login).toString('base64')}`) {
				response.writeHead(401).end();
				return true;
			}
			registry.tokens += 1;
			registry.token = `token-${registry.tokens}-${url.searchParams.get('scope')}`;
			response.end(JSON.stringify({ token: registry.token, expires_in: 300 }));
			return true;
		}
		if (registry.token !== null && authorization !== `Bearer ${registry.token}`) {
			const scope = `repository:${/^\/v2\/(.*)\/(?:manifests|blobs)\//.exec(url.pathname)?.[1]}:pull`;
			response.writeHead(401, { 'www-authenticate': `Bearer realm="${source.url}/token",service="test",scope="${scope}"` }).end();
			return true;
		}
		const reference = /\/manifests\/([^/]+)$/.exec(url.pathname)?.[1];
		if (reference === undefined) return false;
		const manifest = registry.manifests.get(reference);
		if (manifest === undefined) response.writeHead(404).end('{"errors":[{"code":"MANIFEST_UNKNOWN"}]}');
		else response.writeHead(200, { 'docker-content-digest': digestOf(manifest) }).end(manifest);
		return true;
	};
	return registry;
}

/** Puts a model there; answers the digest of its manifest. */
export function putImage(source: BadSource, registry: FakeRegistry, repository: string, tag: string, layers: readonly FakeLayer[]): string {
	const manifest = Buffer.from(
		JSON.stringify({
			schemaVersion: 2,
			mediaType: 'application/vnd.oci.image.manifest.v1+json',
			config: { mediaType: 'application/vnd.docker.container.image.v1+json', digest: digestOf('{}'), size: 2 },
			layers: layers.map(({ mediaType, bytes, title }) => ({
				mediaType,
				digest: digestOf(bytes),
				size: bytes.length,
				...(title === undefined ? {} : { annotations: { 'org.opencontainers.image.title': title } }),
			})),
		}),
	);
	for (const { bytes } of layers) source.put(`/v2/${repository}/blobs/${digestOf(bytes)}`, bytes);
	registry.manifests.set(tag, manifest);
	registry.manifests.set(digestOf(manifest), manifest);
	return digestOf(manifest);
}
