/**
 * How models of the catalog come to be here: a pull for each that is wanted, what came of it in its entry, room for it by the quota. On
 * main. What was wanted and has not come when the daemon ends is gone on with by the next one.
 */
import type { Telemetry } from '../kernel/telemetry.ts';
import type { CatalogAnswer, CatalogEntry, PullNews, PullView } from '../serving/catalog-messages.ts';
import { type Failure, failure } from '../serving/failure.ts';
import { makeRoom } from './catalog-quota.ts';
import { type CatalogShelf, refused, unknownModel } from './catalog-shelf.ts';
import type { FetchedModel, FetchOutcome, FetchProblem, FetchProgress, FetchSources } from './fetch-messages.ts';
import { parseModelRef } from './model-ref.ts';
import { type PullPorts, Pulls } from './pulls.ts';
import { hasRules, namedSbom, namedSignatures, registryProblem, trustOf } from './trust.ts';

export interface FetchRules {
	/** `catalog.fetch`. */
	readonly allowed: boolean;
	/** Absolute: where fetched models are kept. */
	readonly root: string;
	/** 0: no bound but the disk. */
	readonly quotaBytes: number;
	readonly sources: FetchSources;
}

export interface CatalogFetchPorts {
	readonly fetch: PullPorts['fetch'];
	readonly pullsMax: number;
	wallNow(): number;
	/** A model has come, and was hashed on its way. */
	verified(entry: CatalogEntry): void;
	/** What has come, or would, is not what it should be. */
	mistrusted(entry: CatalogEntry, reason: string): void;
	/** It has come, and the strict mode would have refused it. */
	warned(entry: CatalogEntry, reason: string, words: string): void;
	readonly telemetry: Telemetry;
}

const fetchable: ReadonlySet<string> = new Set(['hf', 'url', 's3', 'oci']);
/** Of what is over: there is nothing newer. */
const lastSeq = -1;
const failedMax = 256;

export class CatalogFetches {
	readonly #shelf: CatalogShelf;
	readonly #rules: FetchRules;
	readonly #ports: CatalogFetchPorts;
	readonly #pulls: Pulls;
	/** Of the pulls that failed last, by ref: entries keep the words alone. */
	readonly #failed = new Map<string, FetchProblem>();

	constructor(shelf: CatalogShelf, rules: FetchRules, ports: CatalogFetchPorts) {
		this.#shelf = shelf;
		this.#rules = rules;
		this.#ports = ports;
		this.#pulls = new Pulls({ fetch: ports.fetch, most: ports.pullsMax, room: (ref, bytes) => this.#room(ref, bytes) });
	}

	/** Whether a ref names something that can be fetched. */
	isFetchable(ref: string): boolean {
		const parsed = parseModelRef(ref);
		return parsed.ok && fetchable.has(parsed.ref.kind);
	}

	/** Why nothing is fetched; null: it may be. */
	get refusal(): Failure | null {
		if (this.#rules.allowed) return null;
		return failure('FORBIDDEN', 'fetching models is off here; set catalog.fetch: true');
	}

	/** What the last daemon was fetching. */
	resume(): void {
		const wanted = [...this.#shelf.store.all()].filter(({ fetching }) => fetching && this.#rules.allowed);
		for (const { id } of wanted) this.begin(id, () => undefined);
	}

	close(): void {
		this.#pulls.close();
	}

	isPulling(ref: string): boolean {
		return this.#pulls.view(ref) !== null;
	}

	/** How far its pull is; null: none is under way. */
	view(ref: string): { readonly seq: number; readonly data: PullView } | null {
		const pull = this.#pulls.view(ref);
		return pull === null ? null : { seq: pull.seq, data: pullView(pull.progress) };
	}

	/** Why it is not here. */
	lastFailure(entry: CatalogEntry): Failure {
		const known = this.#failed.get(entry.source_url);
		const code = known?.code ?? (entry.verification === 'failed' ? 'UNTRUSTED_ARTIFACT' : 'POOL_UNAVAILABLE');
		const words = entry.problem ?? known?.message ?? 'the pull was called off';
		return failure(code, words, { retriable: known?.retriable ?? false });
	}

	pull(id: string): CatalogAnswer {
		const entry = this.#shelf.get(id);
		if (entry === null) return unknownModel;
		if (!this.isFetchable(entry.source_url))
			return refused('INVALID_PARAMS', `the model comes from ${entry.source_url}, which is not fetched; verify reads its bytes again`);
		if (this.#isHere(entry)) return this.told(id);
		const { refusal } = this;
		if (refusal !== null) return { ok: false, failure: refusal };
		this.begin(id, () => undefined);
		return this.told(id);
	}

	/** Whether it was fetched and is believed to be as it came. */
	#isHere({ folder, verification }: CatalogEntry): boolean {
		return folder !== null && (verification === 'verified' || verification === 'pending');
	}

	/** Joins a pull of the same ref. `use` is called once, with why it is not here, or null. */
	begin(id: string, use: (problem: FetchProblem | null) => void): void {
		const entry = this.#shelf.get(id);
		if (entry === null) return use({ code: 'NOT_FOUND', message: `there is no model ${id}`, retriable: false });
		const { root, sources } = this.#rules;
		const { source_url: ref, expected_digest: expectedDigest } = entry;
		const { rules } = this.#shelf;
		const barred = rules.mode === 'strict' ? registryProblem(ref, rules) : null;
		if (barred !== null) {
			const problem: FetchProblem = { code: 'UNTRUSTED_ARTIFACT', message: barred.words, retriable: false, reason: 'registry' };
			return use(this.#ended(id, { type: 'failed', problem }));
		}
		if (!this.isPulling(ref)) this.#log('info', 'model-pull', entry, `Fetching ${ref}.`);
		this.#shelf.keep({ ...entry, fetching: true, problem: null });
		const job = { ref, root, expectedDigest, sources, rules, signatures: namedSignatures(entry), sbom: namedSbom(entry) };
		this.#pulls.start(job, (outcome) => use(this.#ended(id, outcome)));
	}

	cancel(id: string): CatalogAnswer {
		const entry = this.#shelf.get(id);
		if (entry === null) return unknownModel;
		if (!this.#pulls.cancel(entry.source_url)) return refused('NOT_FOUND', `no pull of ${id} is under way`);
		return { ok: true, json: '' };
	}

	/** Nobody wants it any more. */
	abandon(ref: string): void {
		this.#pulls.cancel(ref);
	}

	/** `reply` is called once: when there is something newer, or the pull is over. */
	watch(id: string, after: number, reply: (answer: CatalogAnswer) => void): void {
		const entry = this.#shelf.get(id);
		if (entry === null) return reply(unknownModel);
		if (after === 0 && !this.isPulling(entry.source_url) && entry.verification === 'absent' && entry.problem === null)
			return reply(refused('NOT_FOUND', `no pull of ${id} is under way`));
		this.#pulls.watch(entry.source_url, after, () => reply(this.#news(id)));
	}

	#news(id: string): CatalogAnswer {
		const entry = this.#shelf.get(id);
		if (entry === null) return unknownModel;
		const view = this.view(entry.source_url);
		if (view !== null) return newsAnswer({ ...view, event: 'progress' });
		if (entry.verification === 'verified' || entry.verification === 'pending')
			return newsAnswer({ seq: lastSeq, event: 'end', data: entry });
		return newsAnswer({ seq: lastSeq, event: 'error', data: this.lastFailure(entry) });
	}

	/** The entry, with the pull that is under way. */
	told(id: string): CatalogAnswer {
		const entry = this.#shelf.get(id);
		const view = entry === null ? null : this.view(entry.source_url);
		if (view === null) return this.#shelf.told(id);
		return { ok: true, json: this.#shelf.shown(JSON.stringify({ ...entry, pull: view.data })) };
	}

	/** Why it is not here; null: it is. */
	#ended(id: string, outcome: FetchOutcome): FetchProblem | null {
		const entry = this.#shelf.get(id);
		// It was deleted meanwhile; its folder is collected when there is need.
		if (entry === null) return { code: 'NOT_FOUND', message: `the model ${id} was deleted`, retriable: false };
		if (outcome.type === 'fetched') return this.#fetched(entry, outcome.model);
		const problem: FetchProblem =
			outcome.type === 'failed' ? outcome.problem : { code: 'POOL_UNAVAILABLE', message: 'the pull was called off', retriable: false };
		this.#failed.delete(entry.source_url);
		this.#failed.set(entry.source_url, problem);
		for (const oldest of this.#failed.keys()) if (this.#failed.size > failedMax) this.#failed.delete(oldest);
		const untrusted = problem.code === 'UNTRUSTED_ARTIFACT';
		const now: CatalogEntry = {
			...entry,
			fetching: false,
			problem: problem.message,
			verification: untrusted ? 'failed' : 'absent',
			untrusted,
		};
		this.#shelf.keep(now);
		if (untrusted) this.#ports.mistrusted(now, problem.reason ?? 'mismatch');
		this.#log(
			outcome.type === 'canceled' ? 'info' : 'error',
			'model-not-fetched',
			now,
			`${entry.source_url} was not fetched: ${problem.message}.`,
		);
		return problem;
	}

	#fetched(entry: CatalogEntry, model: FetchedModel): FetchProblem | null {
		const { digest, sizeBytes, files, folder, localPath, gguf, manifests, trust, said } = model;
		const { rules } = this.#shelf;
		for (const { name, digest: each, mark } of files) this.#shelf.store.putDigest(`${folder}/${name}`, { digest: each, mark });
		const expected = entry.expected_digest;
		// Of a pull that was begun for another entry of the same ref.
		const message = expected !== null && expected !== digest ? `${entry.source_url} has digest ${digest}, not ${expected}` : null;
		const now: CatalogEntry = {
			...entry,
			...trustOf(entry, trust, rules),
			digest_said: said,
			...(message === null ? {} : { untrusted: true }),
			digest,
			size_bytes: sizeBytes,
			manifests,
			gguf,
			local_path: message === null ? localPath : null,
			folder: message === null ? folder : null,
			files: files.map(({ name, digest: each, sizeBytes: bytes }) => ({ name, digest: each, size_bytes: bytes })),
			verification: message === null ? 'verified' : 'failed',
			problem: message,
			last_verified_ms: this.#ports.wallNow(),
			fetching: false,
		};
		this.#shelf.keep(now);
		if (message !== null) {
			this.#ports.mistrusted(now, 'mismatch');
			return { code: 'UNTRUSTED_ARTIFACT', message, retriable: false };
		}
		this.#ports.verified(now);
		const [problem] = now.trust_problems;
		if (problem !== undefined && hasRules(rules)) this.#ports.warned(now, problem.reason, problem.words);
		this.#log('info', 'model-fetched', now, `${entry.source_url} is here, ${sizeBytes} bytes with digest ${digest}.`);
		return null;
	}

	/** Of models that make room nothing is left but their entries. */
	#room(ref: string, bytes: number): { readonly problem: string | null; readonly remove: readonly string[] } {
		const { quotaBytes } = this.#rules;
		const inUse = (entry: CatalogEntry): boolean => this.#shelf.poolOf(entry) !== undefined || this.isPulling(entry.source_url);
		const bytesBeside = this.#pulls.bytesBeside(ref);
		const { problem, evict } = makeRoom({ entries: this.#shelf.store.all(), inUse, quotaBytes, bytes, bytesBeside });
		for (const folder of evict) this.#forget(folder, ref);
		return { problem, remove: evict };
	}

	#forget(folder: string, ref: string): void {
		for (const entry of [...this.#shelf.store.all()].filter((each) => each.folder === folder)) {
			this.#shelf.keep({ ...entry, folder: null, local_path: null, files: [], verification: 'absent', problem: null });
			this.#log('info', 'model-collected', entry, `${entry.id} is no longer on disk: it makes room for ${ref}, and can be fetched again.`);
		}
	}

	#log(level: 'info' | 'error', event: string, { id }: CatalogEntry, human: string): void {
		this.#ports.telemetry.log(level, event, { model: id, human });
	}
}

function newsAnswer(news: PullNews): CatalogAnswer {
	return { ok: true, json: JSON.stringify(news) };
}

function pullView({ phase, bytesDone, bytesTotal, bytesPerS, etaMs, filesDone, filesTotal, note }: FetchProgress): PullView {
	return {
		phase,
		bytes_done: bytesDone,
		bytes_total: bytesTotal,
		bytes_per_s: bytesPerS,
		eta_ms: etaMs,
		files_done: filesDone,
		files_total: filesTotal,
		note,
	};
}
