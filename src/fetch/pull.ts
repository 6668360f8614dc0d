/**
 * One pull from beginning to end: what its ref stands for, each file whole and verified, the header judged, and then all of it visible at
 * once. On the fetching thread. What was cut short lies in `incoming` and is gone on with by the next pull of the same ref.
 */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { FetchedFile, FetchedModel, FetchJob, FetchProgress } from '../actors/catalog/fetch-messages.ts';
import { digestOfFiles, isSameMark, markOf } from '../actors/catalog/file-digest.ts';
import { modelAmong } from '../actors/catalog/model-parts.ts';
import { parseModelRef } from '../actors/catalog/model-ref.ts';
import type { TrustFound } from '../actors/catalog/trust-messages.ts';
import type { GgufEntry } from '../actors/serving/catalog-messages.ts';
import type { FailureCode } from '../actors/serving/failure.ts';
import { CatalogFolder, syncFolder } from './catalog-folder.ts';
import { download } from './download.ts';
import { FetchCanceled, FetchError } from './fetch-error.ts';
import type { FetchPlan, PlannedFile } from './fetch-plan.ts';
import { ProgressMeter, tellMs } from './progress-meter.ts';
import { type RetryRules, retrying } from './retrying.ts';
import { planOf } from './sources/plan-of.ts';
import { fileOf, keepEvidence } from './trust-files.ts';
import { type EvidenceFile, evidenceBytesMax, judgeTrust, wantsSignatures } from './trust-judge.ts';
import { Web } from './web.ts';

export interface PullOptions {
	readonly signal: AbortSignal;
	readonly retry: RetryRules;
	/** A connection that stands still for so long is given up. */
	readonly silentMs: number;
	now(): number;
	onProgress(progress: FetchProgress): void;
	/** By the quota: the pull will have that many bytes in all. Throws when there is no room for it. */
	room(bytes: number): Promise<void>;
	/** The header of a model, or of a further part of one. Throws what is wrong with it. */
	judge(path: string, isFirst: boolean): GgufEntry | null;
}

const refusedForGood: ReadonlySet<FailureCode> = new Set(['INVALID_PARAMS', 'UNTRUSTED_ARTIFACT']);

/** Throws `FetchError` or `FetchCanceled`. */
export async function pull(job: FetchJob, options: PullOptions): Promise<FetchedModel> {
	const { caRoots, redirectHosts } = job.sources;
	const web = new Web({ caRoots, redirectHosts, signal: options.signal, silentMs: options.silentMs });
	const one = new Pull(job, web, options);
	const ticking = setInterval(() => one.tick(), tellMs);
	try {
		return await one.run();
	} catch (error) {
		// The bytes are what they are: fetched again they would be refused again.
		if (error instanceof FetchError && refusedForGood.has(error.code)) one.forget();
		throw error;
	} finally {
		clearInterval(ticking);
		web.close();
	}
}

class Pull {
	readonly #job: FetchJob;
	readonly #web: Web;
	readonly #options: PullOptions;
	readonly #folder: CatalogFolder;
	readonly #incoming: string;
	readonly #staged: string;
	readonly #meter: ProgressMeter;

	constructor(job: FetchJob, web: Web, options: PullOptions) {
		this.#job = job;
		this.#web = web;
		this.#options = options;
		this.#folder = new CatalogFolder(job.root);
		this.#incoming = this.#folder.incoming(job.ref);
		this.#staged = join(this.#incoming, 'whole');
		this.#meter = new ProgressMeter(options.now, options.onProgress);
	}

	tick(): void {
		this.#meter.tick();
	}

	async run(): Promise<FetchedModel> {
		const { retry, signal } = this.#options;
		this.#meter.phase = 'resolving';
		const plan = await retrying(() => this.#plan(), { about: this.#job.ref, retry, signal, onWait: (note) => this.#meter.waits(note) });
		const known = plan.files.reduce<number | null>(
			(sum, { sizeBytes }) => (sum === null || sizeBytes === null ? null : sum + sizeBytes),
			0,
		);
		this.#meter.planned(plan.files.length, known);
		const there = await this.#alreadyThere(plan);
		if (there !== null) return there;
		if (known !== null) await this.#room(known, known - this.#bytesStaged(plan));
		this.#folder.make(this.#staged);
		this.#meter.phase = 'fetching';
		const files: FetchedFile[] = [];
		for (const [index, file] of plan.files.entries()) files.push(await this.#file(file, index, known !== null));
		this.#meter.phase = 'checking';
		return await this.#publish(plan, files);
	}

	async #plan(): Promise<FetchPlan> {
		const { ref, sources, expectedDigest } = this.#job;
		const parsed = parseModelRef(ref);
		if (!parsed.ok) throw new FetchError('INVALID_PARAMS', parsed.problem);
		const plan = await planOf(parsed.ref, this.#web, sources);
		const [only, ...others] = plan.files;
		if (only === undefined) throw new FetchError('NOT_FOUND', `${ref} holds no file`);
		if (expectedDigest === null || others.length > 0) return plan;
		if (only.digest !== null && only.digest !== expectedDigest)
			throw new FetchError('UNTRUSTED_ARTIFACT', `${ref} has digest ${only.digest} by its source, not ${expectedDigest}`);
		return { ...plan, files: [{ ...only, digest: expectedDigest }] };
	}

	/** The same bytes, by another ref or from an earlier time: hashed again, and not fetched. */
	async #alreadyThere(plan: FetchPlan): Promise<FetchedModel | null> {
		const { files } = plan;
		const digest = digestOfFiles(files.flatMap(({ name, digest: each }) => (each === null ? [] : [{ name, digest: each }])));
		if (files.some((file) => file.digest === null)) return null;
		const folder = this.#folder.model(digest);
		if (!files.every(({ name }) => existsSync(join(folder, name)))) return null;
		this.#meter.phase = 'checking';
		const found: FetchedFile[] = [];
		for (const { name, digest: expected } of files) {
			const path = join(folder, name);
			const mark = markOf(path);
			const hash = createHash('sha256');
			for await (const bytes of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
				if (this.#options.signal.aborted) throw new FetchCanceled();
				hash.update(bytes as Buffer);
			}
			if (`sha256:${hash.digest('hex')}` !== expected || !isSameMark(mark, markOf(path))) return null;
			found.push({ name, sizeBytes: mark.sizeBytes, digest: expected, mark });
		}
		const trust = await this.#trusted(plan, found, folder, folder);
		return this.#result(plan, found, folder, digest, this.#judged(found, folder), trust);
	}

	async #file(file: PlannedFile, index: number, sizeKnown: boolean): Promise<FetchedFile> {
		const path = join(this.#incoming, String(index));
		const whole = join(this.#staged, file.name);
		const done = readDone(`${path}.done`, file, whole);
		if (done !== null) {
			this.#meter.fileDone(done.sizeBytes);
			return done;
		}
		let from = -1;
		const { signal, retry } = this.#options;
		const { digest, sizeBytes } = await download(file, path, {
			web: this.#web,
			signal,
			retry,
			onOffset: (offset) => {
				this.#meter.offset(offset, from >= 0 && offset > from);
				from = offset;
			},
			onWait: (note) => this.#meter.waits(note),
			room: async (total, more) => {
				this.#meter.bytesTotal = total;
				if (!sizeKnown) await this.#room(this.#meter.bytesBefore + total, more);
			},
		});
		if (file.gitOid !== null) checkGitOid(`${path}.part`, file, sizeBytes);
		this.#folder.make(dirname(whole));
		renameSync(`${path}.part`, whole);
		const fetched: FetchedFile = { name: file.name, sizeBytes, digest, mark: markOf(whole) };
		writeFileSync(`${path}.done`, JSON.stringify({ ...fetched, identity: identityOf(file) }), { mode: 0o600 });
		syncFolder(dirname(whole));
		this.#meter.fileDone(sizeBytes);
		return fetched;
	}

	async #room(total: number, more: number): Promise<void> {
		await this.#options.room(total);
		this.#folder.make(this.#incoming);
		this.#folder.checkSpace(Math.max(0, more));
	}

	#bytesStaged({ files }: FetchPlan): number {
		return files.reduce((sum, { name }, index) => {
			const path = [join(this.#staged, name), join(this.#incoming, `${index}.part`)].find((each) => existsSync(each));
			return sum + (path === undefined ? 0 : markOf(path).sizeBytes);
		}, 0);
	}

	async #publish(plan: FetchPlan, files: readonly FetchedFile[]): Promise<FetchedModel> {
		const digest = digestOfFiles(files);
		const { expectedDigest, ref } = this.#job;
		if (expectedDigest !== null && digest !== expectedDigest)
			throw new FetchError('UNTRUSTED_ARTIFACT', `${ref} has digest ${digest}, not ${expectedDigest}`);
		const gguf = this.#judged(files, this.#staged);
		const folder = this.#folder.model(digest);
		const trust = await this.#trusted(plan, files, this.#staged, folder);
		this.#folder.publish(this.#staged, folder);
		this.forget();
		return this.#result(plan, files, folder, digest, gguf, trust);
	}

	/** By the rules of the operator. What speaks for it is kept with it, in `lies` now, and in `folder` once all are to see it. */
	async #trusted(plan: FetchPlan, files: readonly FetchedFile[], lies: string, folder: string): Promise<TrustFound> {
		const { rules, signatures, sbom, ref } = this.#job;
		const find = async (kind: 'signatures' | 'sboms', named: readonly string[]): Promise<EvidenceFile[]> => {
			const { retry, signal } = this.#options;
			const about = `${kind} of ${ref}`;
			const attempt = async (): Promise<EvidenceFile[]> => [
				...(await Promise.all(named.map((each) => this.#named(each)))).flat(),
				...(await plan.evidence.find(kind)),
			];
			return await retrying(attempt, { about, retry, signal, onWait: (note) => this.#meter.waits(note) });
		};
		const found = {
			signatures: wantsSignatures(rules) ? await find('signatures', signatures) : [],
			sboms: rules.requireSbom || sbom !== null ? await find('sboms', sbom === null ? [] : [sbom]) : [],
		};
		this.#meter.phase = 'checking';
		const evidence = keepEvidence(lies, folder, found);
		const judged = { files: files.map(({ name, digest }) => ({ name, digest, path: join(lies, name) })), root: plan.evidence.root };
		const trust = await judgeTrust({ ...judged, said: this.#said(plan) }, evidence, rules);
		const [problem] = trust.problems;
		if (rules.mode === 'strict' && problem !== undefined)
			throw new FetchError('UNTRUSTED_ARTIFACT', `${ref}: ${problem.words}`, { reason: problem.reason });
		return trust;
	}

	/** Evidence that whoever added the model has named. */
	async #named(ref: string): Promise<EvidenceFile[]> {
		if (!/^https?:/.test(ref)) return fileOf(ref);
		const answer = await this.#web.ask(ref);
		return [{ from: ref, bytes: await this.#web.bytes(answer, evidenceBytesMax) }];
	}

	#said({ files }: FetchPlan): boolean {
		return this.#job.expectedDigest !== null || files.every(({ digest, gitOid }) => digest !== null || gitOid !== null);
	}

	/** What has come of it so far. */
	forget(): void {
		this.#folder.remove(this.#incoming);
	}

	#result(
		plan: FetchPlan,
		files: readonly FetchedFile[],
		folder: string,
		digest: string,
		gguf: GgufEntry | null,
		trust: TrustFound,
	): FetchedModel {
		const first = this.#modelFiles(files)[0];
		return {
			digest,
			sizeBytes: files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
			files,
			folder,
			localPath: first === undefined ? folder : join(folder, first),
			gguf,
			manifests: plan.manifests,
			trust,
			said: this.#said(plan),
		};
	}

	/** Null: there is no GGUF model among them. */
	#judged(files: readonly FetchedFile[], folder: string): GgufEntry | null {
		let first: GgufEntry | null = null;
		for (const [index, name] of this.#modelFiles(files).entries()) {
			try {
				const judged = this.#options.judge(join(folder, name), index === 0);
				if (index === 0) first = judged;
			} catch (error) {
				throw new FetchError('INVALID_PARAMS', `${this.#job.ref}: ${name}: ${error instanceof Error ? error.message : String(error)}`);
			}
		}
		return first;
	}

	#modelFiles(files: readonly FetchedFile[]): readonly string[] {
		return modelAmong(files.map(({ name }) => name)) ?? [];
	}
}

/** Files in git are small: those that are not are kept beside it, by their SHA-256. */
function checkGitOid(path: string, { name, gitOid }: PlannedFile, sizeBytes: number): void {
	const oid = createHash('sha1').update(`blob ${sizeBytes}\0`).update(readFileSync(path)).digest('hex');
	if (oid !== gitOid) throw new FetchError('UNTRUSTED_ARTIFACT', `${name} is ${oid} to git, not ${gitOid}`);
}

function identityOf({ digest, url }: PlannedFile): string {
	return digest ?? url;
}

/** Null: it has not been fetched whole, or has changed since. */
function readDone(path: string, file: PlannedFile, whole: string): FetchedFile | null {
	try {
		const { identity, ...done } = JSON.parse(readFileSync(path, 'utf8')) as FetchedFile & { readonly identity: string };
		return identity === identityOf(file) && done.name === file.name && isSameMark(done.mark, markOf(whole)) ? done : null;
	} catch {
		return null;
	}
}
