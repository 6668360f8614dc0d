/**
 * Models of a Hugging Face hub, over its REST API: the revision is pinned to a commit before anything else is asked, so that all files are of
 * one. Names and sizes come from its tree, with the SHA-256 of every file that is kept outside git.
 */
import type { FetchSources } from '../../actors/catalog/fetch-messages.ts';
import { modelsAmong, partsOf } from '../../actors/catalog/model-parts.ts';
import type { ModelRef } from '../../actors/catalog/model-ref.ts';
import { FetchError, statusProblem } from '../fetch-error.ts';
import { type FetchPlan, type PlannedFile, safeName } from '../fetch-plan.ts';
import { type Answer, isRecord, type Web } from '../web.ts';
import { evidenceBeside } from './beside.ts';

type HubRef = Extract<ModelRef, { kind: 'hf' }>;

interface HubFile {
	readonly path: string;
	readonly sizeBytes: number;
	/** Null: it is in git itself, which names it by `gitOid`. */
	readonly digest: string | null;
	readonly gitOid: string | null;
}

/** Pages of a tree, of a thousand files each. */
const pagesMax = 20;
const namesShown = 12;
const refusals = [401, 403, 404];

export async function planOfHub(ref: HubRef, web: Web, { endpoint, token }: FetchSources['hf']): Promise<FetchPlan> {
	const name = `hf:${ref.org}/${ref.repo}`;
	const headers = token === null ? {} : { authorization: `Bearer ${token}` };
	const api = `${endpoint}/api/models/${ref.org}/${ref.repo}`;
	const ask = async (address: string): Promise<{ readonly value: unknown; readonly answer: Answer }> => {
		const answer = await web.ask(address, { headers, accept: refusals });
		if (refusals.includes(answer.status)) throw await refusal(ref, answer, web, token !== null);
		return { value: await web.read(answer), answer };
	};
	const { value } = await ask(`${api}/revision/${encodeURIComponent(ref.revision ?? 'main')}`);
	const commit = isRecord(value) ? value['sha'] : null;
	if (typeof commit !== 'string' || !/^[0-9a-f]{40}$/.test(commit))
		throw new FetchError('POOL_UNAVAILABLE', `${name}: the hub names no commit`);
	const folder = ref.path === null || !ref.path.includes('/') ? '' : ref.path.slice(0, ref.path.lastIndexOf('/'));
	const found: HubFile[] = [];
	let next: string | null = `${api}/tree/${commit}${inPath(folder)}?recursive=${ref.path === null}`;
	for (let page = 0; next !== null && page < pagesMax; page += 1) {
		const { value: listed, answer } = await ask(next);
		if (Array.isArray(listed)) found.push(...listed.flatMap(fileOf));
		next = nextPage(answer.header('link'), endpoint);
	}
	if (next !== null) throw new FetchError('INVALID_PARAMS', `${name} has more than ${found.length} files; name one of them`);
	const chosen = ref.path === null ? wholeOf(name, found) : partsNamed(name, ref.path, found);
	const alone = ref.path !== null || chosen.every(({ path }) => /\.gguf$/i.test(path));
	const files = chosen.map(({ path, sizeBytes, digest, gitOid }): PlannedFile => {
		const url = `${endpoint}/${ref.org}/${ref.repo}/resolve/${commit}${inPath(path)}`;
		const kept = alone ? path.slice(path.lastIndexOf('/') + 1) : path;
		return { name: safeName(kept), url, headers: (more) => Promise.resolve({ ...more, ...headers }), sizeBytes, digest, gitOid };
	});
	const there = new Set(found.map(({ path }) => path));
	const evidence = evidenceBeside(
		web,
		chosen.map(({ path }) => path),
		(path) => (there.has(path) ? { url: `${endpoint}/${ref.org}/${ref.repo}/resolve/${commit}${inPath(path)}`, headers } : null),
	);
	return { files, evidence, manifests: [`${name}@${commit}${ref.path === null ? '' : `/${ref.path}`}`] };
}

function partsNamed(name: string, path: string, found: readonly HubFile[]): readonly HubFile[] {
	const at = path.lastIndexOf('/') + 1;
	return partsOf(path.slice(at)).map((part) => {
		const file = found.find((each) => each.path === path.slice(0, at) + part);
		if (file !== undefined) return file;
		throw new FetchError('NOT_FOUND', `${name} has no ${path.slice(0, at)}${part}${listOf(found)}`);
	});
}

/** The model where there is one; a repository without any GGUF file as it is. */
function wholeOf(name: string, found: readonly HubFile[]): readonly HubFile[] {
	const [only, ...others] = modelsAmong(found.map(({ path }) => path));
	if (only === undefined) return found;
	if (others.length === 0) return partsNamed(name, only[0] ?? '', found);
	throw new FetchError('INVALID_PARAMS', `${name} holds ${others.length + 1} models; name one, as in ${name}/${only[0]}${listOf(found)}`);
}

function listOf(found: readonly HubFile[]): string {
	const models = modelsAmong(found.map(({ path }) => path)).map(([first = '']) => first);
	const more = models.length > namesShown ? ', …' : '';
	return models.length === 0 ? '; there is no GGUF file beside it' : `; there is ${models.slice(0, namesShown).join(', ')}${more}`;
}

function fileOf(entry: unknown): HubFile[] {
	if (!isRecord(entry) || entry['type'] !== 'file') return [];
	const { path, size, oid, lfs } = entry;
	if (typeof path !== 'string' || typeof size !== 'number') return [];
	const sha256 = isRecord(lfs) ? lfs['oid'] : null;
	if (typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256))
		return [{ path, sizeBytes: size, digest: `sha256:${sha256}`, gitOid: null }];
	return [{ path, sizeBytes: size, digest: null, gitOid: typeof oid === 'string' && /^[0-9a-f]{40}$/.test(oid) ? oid : null }];
}

/** Null: it was the last. */
function nextPage(link: string | null, endpoint: string): string | null {
	const url = /<([^>]+)>\s*;\s*rel="?next"?/.exec(link ?? '')?.[1];
	if (url === undefined) return null;
	const next = new URL(url, endpoint);
	if (next.origin !== new URL(endpoint).origin) throw new FetchError('FORBIDDEN', 'the next page of the tree is on another host');
	return next.href;
}

/** The hub hides what one may not see behind 401 and 404, and says more in a header. */
async function refusal(ref: HubRef, answer: Answer, web: Web, hasToken: boolean): Promise<FetchError> {
	const code = answer.header('x-error-code');
	await web.bytes(answer, 1024 * 1024);
	const name = `hf:${ref.org}/${ref.repo}`;
	if (code === 'GatedRepo') {
		const todo = hasToken
			? 'accept its terms on its page, with the account of the token'
			: 'accept its terms on its page, and set HF_TOKEN';
		return new FetchError('FORBIDDEN', `${name} is gated: ${todo}`);
	}
	if (code === 'RevisionNotFound') return new FetchError('NOT_FOUND', `${name} has no revision ${ref.revision ?? 'main'}`);
	if (code === 'EntryNotFound') return new FetchError('NOT_FOUND', `${name} has no ${ref.path ?? 'files'}`);
	if (code === 'RepoNotFound' || answer.status === 404) {
		const perhaps = hasToken ? 'or the token may not see it' : 'or it is private: set HF_TOKEN';
		return new FetchError('NOT_FOUND', `there is no ${name}, ${perhaps}`);
	}
	return statusProblem(answer.status, name, null, 0);
}

function inPath(path: string): string {
	return path === '' ? '' : `/${path.split('/').map(encodeURIComponent).join('/')}`;
}
