/** A Hugging Face hub on loopback: revisions, trees by pages, gated repositories, and files that a redirect leads to, as the public one answers. */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BadSource } from './bad-source.ts';

export interface FakeRepo {
	/** By branch or tag. */
	readonly revisions: Readonly<Record<string, string>>;
	readonly files: ReadonlyMap<string, Buffer>;
	/** Whose token may read it; null: anybody. */
	readonly token: string | null;
}

export const pageSize = 3;

/** Serves `repos` by `org/repo` from `source`. Files that end in `.gguf` or `.safetensors` are kept outside git. */
export function serveHub(source: BadSource, repos: ReadonlyMap<string, FakeRepo>): void {
	source.onRequest = (request, response) => {
		const url = new URL(request.url ?? '', source.url);
		const api = /^\/api\/models\/([^/]+\/[^/]+)\/(revision|tree)\/([^/]+)(?:\/(.*))?$/.exec(url.pathname);
		if (api !== null) {
			const [, name = '', kind, revision = '', folder = ''] = api;
			const repo = repos.get(name);
			if (refused(request, response, repo)) return true;
			if (kind === 'revision') tellRevision(response, repo, revision);
			else tellTree(source, url, response, repo, decodeURIComponent(folder));
			return true;
		}
		const [, name = '', commit, path = ''] = /^\/([^/]+\/[^/]+)\/resolve\/([0-9a-f]{40})\/(.*)$/.exec(url.pathname) ?? [];
		const repo = repos.get(name);
		if (commit === undefined) return false;
		if (refused(request, response, repo)) return true;
		const bytes = repo?.files.get(decodeURIComponent(path));
		if (bytes === undefined) response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end();
		else if (!isLarge(path)) response.writeHead(200, { etag: `"${gitOid(bytes)}"`, 'content-length': bytes.length }).end(bytes);
		else {
			source.put(`/cdn/${commit}/${path}`, bytes);
			response.writeHead(302, { location: `/cdn/${commit}/${path}?signature=secret`, 'x-linked-size': bytes.length }).end();
		}
		return true;
	};
}

function refused(request: IncomingMessage, response: ServerResponse, repo: FakeRepo | undefined): boolean {
	const { authorization } = request.headers;
	if (repo === undefined) response.writeHead(authorization === undefined ? 401 : 404, { 'x-error-code': 'RepoNotFound' }).end('{}');
	else if (repo.token !== null && authorization !== `Bearer ${repo.token}`)
		response.writeHead(authorization === undefined ? 401 : 403, { 'x-error-code': 'GatedRepo' }).end('{"error":"gated"}');
	else return false;
	return true;
}

function tellRevision(response: ServerResponse, repo: FakeRepo | undefined, revision: string): void {
	const sha = repo?.revisions[revision] ?? Object.values(repo?.revisions ?? {}).find((commit) => commit === revision);
	if (sha === undefined) response.writeHead(404, { 'x-error-code': 'RevisionNotFound' }).end('{}');
	else response.end(JSON.stringify({ id: 'org/repo', sha, siblings: [] }));
}

function tellTree(source: BadSource, url: URL, response: ServerResponse, repo: FakeRepo | undefined, folder: string): void {
	const recursive = url.searchParams.get('recursive') === 'true';
	const inside = [...(repo?.files ?? [])].filter(([path]) => {
		const at = path.lastIndexOf('/');
		return recursive || (at < 0 ? '' : path.slice(0, at)) === folder;
	});
	const from = Number(url.searchParams.get('cursor') ?? 0);
	url.searchParams.set('cursor', String(from + pageSize));
	if (from + pageSize < inside.length) response.setHeader('link', `<${source.url}${url.pathname}${url.search}>; rel="next"`);
	response.end(JSON.stringify(inside.slice(from, from + pageSize).map(([path, bytes]) => entryOf(path, bytes))));
}

function entryOf(path: string, bytes: Buffer): unknown {
	const lfs = { oid: createHash('sha256').update(bytes).digest('hex'), size: bytes.length, pointerSize: 134 };
	return { type: 'file', oid: gitOid(bytes), size: bytes.length, path, ...(isLarge(path) ? { lfs } : {}) };
}

function isLarge(path: string): boolean {
	return /\.(gguf|safetensors)$/.test(path);
}

export function gitOid(bytes: Buffer): string {
	return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
}
