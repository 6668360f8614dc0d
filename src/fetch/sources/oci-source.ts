/**
 * Models in registries of images: the manifest that a tag stands for, and in it the layers that are a model, by what Ollama, Docker and ORAS
 * call them. Every byte is named by its digest from there on. Tokens are asked for where the registry says, as it says.
 */
import { createHash } from 'node:crypto';
import type { FetchSources } from '../../actors/catalog/fetch-messages.ts';
import type { ModelRef } from '../../actors/catalog/model-ref.ts';
import { FetchError, statusProblem } from '../fetch-error.ts';
import type { EvidenceSource, FetchPlan, PlannedFile } from '../fetch-plan.ts';
import { type EvidenceFile, evidenceBytesMax } from '../trust-judge.ts';
import { isRecord, shownUrl, type Web } from '../web.ts';
import { ggufName } from './web-source.ts';

type OciRef = Extract<ModelRef, { kind: 'oci' }>;

const manifestTypes = ['application/vnd.oci.image.manifest.v1+json', 'application/vnd.docker.distribution.manifest.v2+json'];
const indexTypes = ['application/vnd.oci.image.index.v1+json', 'application/vnd.docker.distribution.manifest.list.v2+json'];
const title = 'org.opencontainers.image.title';
const evidenceTypes = {
	signatures: /^application\/vnd\.dev\.sigstore\.bundle/,
	sboms: /^application\/(spdx|vnd\.spdx|vnd\.cyclonedx)\b.*json/,
} as const;
/** More are not looked at. */
const referrersMax = 32;
const manifestBytesMax = 4 * 1024 * 1024;
/** Of a token without a word of its age. */
const tokenDefaultS = 60;
const loopback = /^(localhost|127\.[0-9.]+)(:\d+)?$/;

export async function planOfOci(ref: OciRef, web: Web, keys: FetchSources['oci']): Promise<FetchPlan> {
	const registry = new Registry(ref, web, keys.find((each) => each.registry === ref.registry) ?? null);
	const { layers, digest } = await registry.manifest(ref.tag);
	const models = modelLayers(layers);
	if (models.length === 0)
		throw new FetchError(
			'INVALID_PARAMS',
			`${registry.name}: none of its layers is a GGUF model; they are ${layers.map(({ mediaType }) => mediaType).join(', ')}`,
		);
	const files = models.map(
		(layer, index): PlannedFile => ({
			name: ggufName(layer.title ?? (models.length === 1 ? 'model.gguf' : `model-${index}.gguf`)),
			url: registry.blob(layer.digest),
			headers: (more) => registry.headers(more),
			renew: () => registry.renew(),
			sizeBytes: layer.sizeBytes,
			digest: layer.digest,
			gitOid: null,
		}),
	);
	const evidence: EvidenceSource = { root: digest, find: (kind) => registry.referrers(digest, kind) };
	return { files, evidence, manifests: [`oci://${ref.registry}/${ref.repository}@${digest}`] };
}

interface Layer {
	readonly mediaType: string;
	readonly digest: string;
	readonly sizeBytes: number;
	readonly title: string | null;
}

/** Those that say so; else the only one that there is. */
function modelLayers(layers: readonly Layer[]): readonly Layer[] {
	const said = layers.filter(({ mediaType, title: name }) => {
		if (mediaType === 'application/vnd.ollama.image.model' || /(^|[./+-])gguf\b/i.test(mediaType)) return true;
		return name !== null && /\.gguf$/i.test(name);
	});
	if (said.length > 0) return said;
	return layers.length === 1 && !/\btar\b/.test(layers[0]?.mediaType ?? '') ? layers : [];
}

class Registry {
	readonly name: string;
	readonly #base: string;
	readonly #web: Web;
	readonly #key: FetchSources['oci'][number] | null;
	#authorization: string | null = null;
	#renewAt = Number.POSITIVE_INFINITY;
	#challenge: string | null = null;

	constructor({ registry, repository, tag }: OciRef, web: Web, key: FetchSources['oci'][number] | null) {
		this.name = `oci://${registry}/${repository}:${tag}`;
		this.#base = `${loopback.test(registry) ? 'http' : 'https'}://${registry}/v2/${repository}`;
		this.#web = web;
		this.#key = key;
	}

	blob(digest: string): string {
		return `${this.#base}/blobs/${digest}`;
	}

	async headers(more: Readonly<Record<string, string>>): Promise<Readonly<Record<string, string>>> {
		if (this.#challenge !== null && performance.now() > this.#renewAt) await this.#answer(this.#challenge);
		return this.#authorization === null ? more : { ...more, authorization: this.#authorization };
	}

	async renew(): Promise<void> {
		if (this.#challenge !== null) await this.#answer(this.#challenge);
	}

	async manifest(reference: string, inIndex = false): Promise<{ readonly layers: readonly Layer[]; readonly digest: string }> {
		const url = `${this.#base}/manifests/${reference}`;
		const accept = [...manifestTypes, ...indexTypes].join(', ');
		let answer = await this.#web.ask(url, { headers: await this.headers({ accept }), accept: [401] });
		if (answer.status === 401) {
			await answer.body.dump();
			await this.#answer(answer.header('www-authenticate') ?? '');
			answer = await this.#web.ask(url, { headers: await this.headers({ accept }) });
		}
		const bytes = await this.#web.bytes(answer, manifestBytesMax);
		const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
		const expected = reference.startsWith('sha256:') ? reference : answer.header('docker-content-digest');
		if (expected?.startsWith('sha256:') === true && expected !== digest)
			throw new FetchError('UNTRUSTED_ARTIFACT', `${this.name}: its manifest has digest ${digest}, not ${expected}`);
		const manifest = parsed(bytes, this.name);
		const inner = manifest['manifests'];
		if (Array.isArray(inner) && !inIndex) {
			const [only, ...others] = inner.filter(isRecord);
			if (only === undefined || others.length > 0 || typeof only['digest'] !== 'string')
				throw new FetchError('INVALID_PARAMS', `${this.name} stands for ${inner.length} manifests; a model is one`);
			return await this.manifest(only['digest'], true);
		}
		const layers = Array.isArray(manifest['layers']) ? manifest['layers'].map((layer) => this.#layer(layer)) : [];
		return { layers, digest };
	}

	/** What refers to a manifest: signatures and bills of materials, each a manifest of one layer. */
	async referrers(digest: string, kind: 'signatures' | 'sboms'): Promise<readonly EvidenceFile[]> {
		const found: EvidenceFile[] = [];
		for (const reference of await this.#referring(digest, evidenceTypes[kind])) {
			const { layers } = await this.manifest(reference);
			const [layer] = layers;
			if (layer === undefined || layer.sizeBytes > evidenceBytesMax) continue;
			const answer = await this.#web.ask(this.blob(layer.digest), { headers: await this.headers({}), known: true });
			const bytes = await this.#web.bytes(answer, evidenceBytesMax);
			if (`sha256:${createHash('sha256').update(bytes).digest('hex')}` === layer.digest)
				found.push({ from: `${this.name} ${reference}`, bytes });
		}
		return found;
	}

	/** By the list that the registry keeps, or under the tag that stands for it where it keeps none. */
	async #referring(digest: string, type: RegExp): Promise<readonly string[]> {
		const tag = `${this.#base}/manifests/${digest.replace(':', '-')}`;
		for (const url of [`${this.#base}/referrers/${digest}`, tag]) {
			const answer = await this.#web.ask(url, { headers: await this.headers({ accept: indexTypes.join(', ') }), accept: [400, 404, 405] });
			const bytes = await this.#web.bytes(answer, manifestBytesMax);
			if (answer.status >= 400) continue;
			const { manifests } = parsed(bytes, this.name);
			const listed = Array.isArray(manifests) ? manifests.filter(isRecord) : [];
			return listed.slice(0, referrersMax).flatMap(({ artifactType, digest: each }) => {
				const wanted = typeof artifactType === 'string' && type.test(artifactType);
				return wanted && typeof each === 'string' && /^sha256:[0-9a-f]{64}$/.test(each) ? [each] : [];
			});
		}
		return [];
	}

	#layer(layer: unknown): Layer {
		const { mediaType, digest, size, annotations } = isRecord(layer) ? layer : {};
		if (typeof digest !== 'string' || !/^sha256:[0-9a-f]{64}$/.test(digest) || typeof size !== 'number')
			throw new FetchError('INVALID_PARAMS', `${this.name}: a layer of its manifest has no sha256 digest or no size`);
		const named = isRecord(annotations) ? annotations[title] : null;
		const [last = null] = typeof named === 'string' ? named.split('/').slice(-1) : [];
		return { mediaType: typeof mediaType === 'string' ? mediaType : 'unknown', digest, sizeBytes: size, title: last };
	}

	/** What a 401 asks for. */
	async #answer(challenge: string): Promise<void> {
		this.#challenge = challenge;
		const basic = this.#key === null ? null : `Basic ${Buffer.from(`${this.#key.username}:${this.#key.password}`).toString('base64')}`;
		const [, scheme = '', rest = ''] = /^(\w+)\s+(.*)$/s.exec(challenge) ?? [];
		if (scheme.toLowerCase() === 'basic' && basic !== null && this.#authorization === null) {
			this.#authorization = basic;
			return;
		}
		const said = new Map([...rest.matchAll(/(\w+)="([^"]*)"/g)].map(([, name = '', value = '']) => [name, value]));
		const realm = said.get('realm') ?? '';
		const url = scheme.toLowerCase() === 'bearer' && URL.canParse(realm) ? new URL(realm) : null;
		const near = url !== null && url.protocol === 'http:' && loopback.test(url.host) && this.#base.startsWith('http:');
		if (url === null || (url.protocol !== 'https:' && !near)) throw statusProblem(401, this.name, null, 0);
		for (const name of ['service', 'scope']) if (said.has(name)) url.searchParams.set(name, said.get(name) ?? '');
		const headers = basic === null ? {} : { authorization: basic };
		const { value } = await this.#web.json(url.href, { headers, behind: this.#base });
		const told = isRecord(value) ? value : {};
		const token = told['token'] ?? told['access_token'];
		if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token))
			throw new FetchError('UNAUTHORIZED', `${shownUrl(url)} gave no token for ${this.name}`);
		const seconds = typeof told['expires_in'] === 'number' ? told['expires_in'] : tokenDefaultS;
		this.#authorization = `Bearer ${token}`;
		this.#renewAt = performance.now() + Math.max(5, seconds - 10) * 1000;
	}
}

function parsed(bytes: Buffer, name: string): Readonly<Record<string, unknown>> {
	const refused = new FetchError('POOL_UNAVAILABLE', `${name}: its manifest is no JSON object`);
	try {
		const value: unknown = JSON.parse(bytes.toString('utf8'));
		if (isRecord(value)) return value;
	} catch {
		throw refused;
	}
	throw refused;
}
