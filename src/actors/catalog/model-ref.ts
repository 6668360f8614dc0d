/**
 * Model refs: what names a model. Parsed strictly, each form into its parts, and back into the one text that is its canonical id.
 * What is none of the forms is refused with words and, where one is likely, a suggestion; nothing is ever guessed to be a path. Pure.
 *
 * ```
 * hf:org/repo[@revision][/path.gguf]    file:/absolute/path    sha256:<64 hex>      an alias: letters, digits, . _ -
 * https://host/path (http: loopback)    s3://bucket/key        oci://registry/repository:tag
 * ```
 */
import { nearest } from '../../nearest.ts';

export type ModelRef =
	/** `path` within the repository, null: all of it. `revision` null: the newest. */
	| { readonly kind: 'hf'; readonly org: string; readonly repo: string; readonly revision: string | null; readonly path: string | null }
	| { readonly kind: 'file'; readonly path: string }
	/** As `URL` writes it. */
	| { readonly kind: 'url'; readonly url: string }
	| { readonly kind: 's3'; readonly bucket: string; readonly key: string }
	| { readonly kind: 'oci'; readonly registry: string; readonly repository: string; readonly tag: string }
	/** Lower case. */
	| { readonly kind: 'digest'; readonly hex: string }
	| { readonly kind: 'alias'; readonly name: string };

export type RefKind = ModelRef['kind'];

/** `problem` follows what the ref was called: "… is "x"; <problem>". */
export type ParsedRef = { readonly ok: true; readonly ref: ModelRef } | { readonly ok: false; readonly problem: string };

/** The most characters that a ref may have. */
export const refLengthMax = 1024;

const forms =
	'hf:org/repo, file:/absolute/path, https://host/path, s3://bucket/key, oci://registry/repository:tag, sha256:<hex>, or an alias';
const schemes = ['hf', 'file', 'https', 'http', 's3', 'oci', 'sha256'] as const;

/** Of a repository, a bucket, an alias: begins with a letter or digit, and is no `..`. */
const word = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const gitRevision = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const ociComponent = /^[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*$/;
const ociTag = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const ociRegistry = /^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::[0-9]{1,5})?$/;
const s3Bucket = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const loopback = /^(?:localhost|127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}|\[::1\])$/;
const shownMax = 80;

export function parseModelRef(text: string): ParsedRef {
	if (text === '') return invalid(`write ${forms}`);
	if (text.length > refLengthMax) return invalid(`it has ${text.length} characters, at most ${refLengthMax} are taken`);
	const odd = hiddenAt(text);
	if (odd !== null) return invalid(`its character ${odd + 1} is a space at an end, a control character or half of a pair`);
	const [, scheme, rest] = /^([A-Za-z][A-Za-z0-9+.-]*):(.*)$/s.exec(text) ?? [];
	if (scheme === undefined || rest === undefined) return schemeless(text);
	switch (scheme) {
		case 'hf':
			return hugging(rest);
		case 'file':
			return file(rest);
		case 'https':
		case 'http':
			return webAddress(text, scheme);
		case 's3':
			return bucketKey(rest);
		case 'oci':
			return oci(rest);
		case 'sha256':
			return digest(rest);
		default:
			return unknownScheme(scheme, rest);
	}
}

/** The one text of a ref: parsed again, it is the same ref. */
export function formatModelRef(ref: ModelRef): string {
	switch (ref.kind) {
		case 'hf':
			return `hf:${ref.org}/${ref.repo}${ref.revision === null ? '' : `@${ref.revision}`}${ref.path === null ? '' : `/${ref.path}`}`;
		case 'file':
			return `file:${ref.path}`;
		case 'url':
			return ref.url;
		case 's3':
			return `s3://${ref.bucket}/${ref.key}`;
		case 'oci':
			return `oci://${ref.registry}/${ref.repository}:${ref.tag}`;
		case 'digest':
			return `sha256:${ref.hex}`;
		case 'alias':
			return ref.name;
	}
}

function invalid(problem: string, suggestion?: string): ParsedRef {
	return { ok: false, problem: suggestion === undefined ? problem : `${problem}; did you mean ${cut(suggestion)}?` };
}

function cut(text: string): string {
	return text.length > shownMax ? `${text.slice(0, shownMax)}…` : text;
}

/** Where the first character is that nobody can see, or null. */
function hiddenAt(text: string): number | null {
	for (let at = 0; at < text.length; at += 1) {
		const code = text.charCodeAt(at);
		const edge = at === 0 || at === text.length - 1;
		if (code < 0x20 || (code >= 0x7f && code < 0xa0) || code === 0x2028 || code === 0x2029 || code === 0xfeff) return at;
		if (edge && text[at]?.trim() === '') return at;
		if (code >= 0xd800 && code < 0xdc00 && isLowHalf(text.charCodeAt(at + 1))) at += 1;
		else if (code >= 0xd800 && code < 0xe000) return at;
	}
	return null;
}

function isLowHalf(code: number): boolean {
	return code >= 0xdc00 && code < 0xe000;
}

function schemeless(text: string): ParsedRef {
	if (text.startsWith('/')) return invalid('a file is written with its scheme', `file:${text}`);
	if (/^[.~]/.test(text)) return invalid('a file is written with its scheme and its absolute path, as in file:/models/name.gguf');
	if (/\.gguf$/i.test(text) && !text.includes('/'))
		return invalid('a file is written with its scheme and its absolute path, as in file:/models/name.gguf');
	const [org, repo, ...more] = text.split('/');
	if (org !== undefined && repo !== undefined) {
		const like = word.test(org) && word.test(repo.split('@')[0] ?? '') && more.every((part) => part !== '');
		return like ? invalid('a repository is written with its scheme', `hf:${text}`) : invalid(`write ${forms}`);
	}
	if (!word.test(text))
		return invalid('an alias has letters, digits, dots, dashes and underscores, at most 128, and begins with one of the first two');
	return { ok: true, ref: { kind: 'alias', name: text } };
}

function unknownScheme(scheme: string, rest: string): ParsedRef {
	const lower = scheme.toLowerCase();
	const near = schemes.find((known) => known === lower) ?? nearest(lower, schemes);
	if (near !== null) return invalid(`${scheme}: is no scheme of a model`, `${near}:${rest}`);
	return invalid(`${cut(scheme)}: is no scheme of a model; write ${forms}`);
}

function hugging(rest: string): ParsedRef {
	const wrong = (words: string, suggestion?: string): ParsedRef =>
		invalid(`${words}; it is hf:org/repo[@revision][/path.gguf]`, suggestion);
	if (rest.startsWith('//')) return wrong('hf: has no slashes behind it', `hf:${rest.slice(2)}`);
	const [org = '', second = '', ...parts] = rest.split('/');
	const [repo = '', revision, ...ats] = second.split('@');
	if (!word.test(org) || !word.test(repo)) return wrong('hf: needs an organisation and a repository');
	if (ats.length > 0 || (revision !== undefined && (!gitRevision.test(revision) || revision.includes('..'))))
		return wrong('the revision behind @ is no name of a branch, a tag or a commit');
	const path = parts.length === 0 ? null : parts.join('/');
	if (path !== null && !isInnerPath(path)) return wrong('the path in the repository has empty parts or dots alone');
	if (path !== null && !/\.gguf$/i.test(path)) return wrong('the path in the repository is not one of a .gguf file');
	return { ok: true, ref: { kind: 'hf', org, repo, revision: revision ?? null, path } };
}

function file(rest: string): ParsedRef {
	const path = /^\/\/(?=\/)/.test(rest) ? rest.slice(2) : rest;
	if (!path.startsWith('/')) return invalid('file: needs an absolute path, as in file:/models/name.gguf');
	if (path.startsWith('//')) return invalid('file: names no host', `file:/${path.replace(/^\/+/, '')}`);
	const parts = path.split('/').filter((part) => part !== '' && part !== '.');
	if (parts.includes('..')) return invalid('a path with .. may lead anywhere; write it without');
	if (parts.length === 0 || path.endsWith('/')) return invalid('file: names one file, not a folder');
	return { ok: true, ref: { kind: 'file', path: `/${parts.join('/')}` } };
}

function webAddress(text: string, scheme: 'https' | 'http'): ParsedRef {
	if (!text.startsWith(`${scheme}://`) || !URL.canParse(text)) return invalid(`it is no address, as in ${scheme}://host/name.gguf`);
	const url = new URL(text);
	if (scheme === 'http' && !loopback.test(url.hostname))
		return invalid('http:// is for loopback addresses only', `https://${text.slice('http://'.length)}`);
	if (url.username !== '' || url.password !== '') return invalid('an address holds no name and no password: it is shown and logged');
	if (url.hash !== '' || text.endsWith('#')) return invalid('what is behind # is not sent to a server; write it without');
	if (url.pathname === '/') return invalid('the address names no file');
	return { ok: true, ref: { kind: 'url', url: url.href } };
}

function bucketKey(rest: string): ParsedRef {
	const [, bucket = '', key = ''] = /^\/\/([^/]*)\/(.*)$/s.exec(rest) ?? [];
	if (!s3Bucket.test(bucket) || bucket.includes('..')) return invalid('the name of the bucket is none; it is s3://bucket/key');
	if (key === '' || !isInnerPath(key)) return invalid('the key of the object has empty parts or dots alone; it is s3://bucket/key');
	return { ok: true, ref: { kind: 's3', bucket, key } };
}

function oci(rest: string): ParsedRef {
	const wrong = (words: string, suggestion?: string): ParsedRef => invalid(`${words}; it is oci://registry/repository:tag`, suggestion);
	const [, registry = '', named = ''] = /^\/\/([^/]*)\/(.*)$/s.exec(rest) ?? [];
	const colon = named.lastIndexOf(':');
	if (!ociRegistry.test(registry)) return wrong('the name of the registry is none');
	if (colon < 0) return wrong('the tag is missing', ociPath(named) ? `oci:${rest}:latest` : undefined);
	const [repository, tag] = [named.slice(0, colon), named.slice(colon + 1)];
	if (!ociPath(repository)) return wrong('the name of the repository is none: lower case, digits, . _ - within, / between');
	if (!ociTag.test(tag)) return wrong('the tag is none');
	return { ok: true, ref: { kind: 'oci', registry, repository, tag } };
}

function ociPath(repository: string): boolean {
	return repository.split('/').every((part) => ociComponent.test(part));
}

function digest(rest: string): ParsedRef {
	if (!/^[0-9a-fA-F]{64}$/.test(rest)) return invalid('sha256: needs 64 hexadecimal digits');
	return { ok: true, ref: { kind: 'digest', hex: rest.toLowerCase() } };
}

/** It stays below where it is put. */
function isInnerPath(path: string): boolean {
	return !path.includes('\\') && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
}

/** As it is written where it is known; what is no ref stays as it is. */
export function canonicalRef(text: string): string {
	const parsed = parseModelRef(text);
	return parsed.ok ? formatModelRef(parsed.ref) : text;
}
