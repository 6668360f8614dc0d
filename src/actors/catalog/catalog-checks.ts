/**
 * Whether the bytes of a model are what they are said to be: its files are hashed, all of them, and what was found is kept with their size,
 * date and inode, so that they are read again only when one of these has changed or somebody asks. On main, which reads no file itself.
 *
 * ```
 *  pending ─hashed─► verified ─verify─► pending ─other bytes, or none─► failed
 * ```
 */
import { basename, dirname, join } from 'node:path';
import type { Telemetry } from '../kernel/telemetry.ts';
import type { CatalogEntry, CatalogFile, GgufEntry } from '../serving/catalog-messages.ts';
import type { CatalogShelf } from './catalog-shelf.ts';
import { digestOfFiles, type HashedFile, isSameMark, markOf } from './file-digest.ts';
import { partsOf } from './model-parts.ts';
import { hasRules, isOurs, namedSbom, namedSignatures, trustOf } from './trust.ts';
import type { TrustFound, TrustJob } from './trust-messages.ts';

export type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: string };

export interface CheckPorts {
	/** `done` is called once, in a later turn. */
	digest(path: string, done: (outcome: Outcome<HashedFile>) => void): void;
	/** The header of the file, judged. */
	gguf(path: string, done: (outcome: Outcome<GgufEntry>) => void): void;
	/** Who vouches for files on a disk. */
	trust(job: TrustJob, done: (outcome: Outcome<TrustFound>) => void): void;
	/** Milliseconds since 1970. */
	wallNow(): number;
	readonly telemetry: Telemetry;
}

interface Named {
	readonly name: string;
	readonly path: string;
}

export class CatalogChecks {
	readonly #shelf: CatalogShelf;
	readonly #ports: CheckPorts;
	/** Entries whose files are being hashed, and who waits for it. */
	readonly #hashing = new Map<string, (() => void)[]>();
	#onSettled: (() => void)[] = [];

	constructor(shelf: CatalogShelf, ports: CheckPorts) {
		this.#shelf = shelf;
		this.#ports = ports;
		ports.telemetry.expect('catalog_verifications_total', { result: 'ok', reason: '', engine: 'llamacpp' });
	}

	/** One at a time for each entry. `anew`: the bytes are read even if nothing speaks of a change. */
	check(id: string, anew: boolean): void {
		const entry = this.#shelf.get(id);
		if (entry === null || entry.local_path === null || this.#hashing.has(id)) return;
		if (!anew && this.isCurrent(entry)) return;
		this.#hashing.set(id, []);
		if (entry.verification !== 'pending') this.#shelf.keep({ ...entry, verification: 'pending', problem: null });
		const files = filesOf(entry);
		if (entry.gguf === null && entry.folder !== null) return this.#hash(id, null, files, [], anew);
		this.#ports.gguf(entry.local_path, (header) => {
			if (!header.ok) this.#unreadable(id, entry.local_path ?? '', header.problem);
			else this.#hash(id, header.value, files, [], anew);
		});
	}

	/** Its bytes were hashed, were right, and nothing speaks of a change since. */
	isCurrent(entry: CatalogEntry): boolean {
		if (entry.verification !== 'verified' || entry.digest === null || (entry.gguf === null && entry.folder === null)) return false;
		const { rules } = this.#shelf;
		// Nobody has looked by these rules.
		if (hasRules(rules) && !isOurs(entry) && entry.trust_rules !== rules.fingerprint) return false;
		const known = filesOf(entry).map(({ name, path }) => ({ name, digest: this.#known(path)?.digest ?? '' }));
		return known.every(({ digest }) => digest !== '') && digestOfFiles(known) === entry.digest;
	}

	/** Null: it has none yet, or it has changed since. */
	#known(path: string): HashedFile | null {
		try {
			const hashed = this.#shelf.store.hashed(path);
			return hashed !== null && isSameMark(hashed.mark, markOf(path)) ? hashed : null;
		} catch {
			// Gone, or no file: hashing it says so in words.
			return null;
		}
	}

	isChecking(id: string): boolean {
		return this.#hashing.has(id);
	}

	/** When the entry is not being hashed, or no more. */
	whenChecked(id: string, use: () => void): void {
		const waiting = this.#hashing.get(id);
		if (waiting === undefined) use();
		else waiting.push(use);
	}

	/** When nothing is being hashed. */
	whenSettled(use: () => void): void {
		if (this.#hashing.size === 0) use();
		else this.#onSettled.push(use);
	}

	/** One by one: several models are hashed at once, but no model takes all threads. */
	#hash(id: string, gguf: GgufEntry | null, left: readonly Named[], done: readonly HashedAs[], anew: boolean): void {
		const [next, ...rest] = left;
		if (next === undefined) return this.#hashed(id, gguf, done);
		const known = anew ? null : this.#known(next.path);
		if (known !== null) return this.#hash(id, gguf, rest, [...done, { ...next, hashed: known }], anew);
		this.#ports.digest(next.path, (hashed) => {
			if (!hashed.ok) this.#unreadable(id, next.path, hashed.problem);
			else this.#hash(id, gguf, rest, [...done, { ...next, hashed: hashed.value }], anew);
		});
	}

	#hashed(id: string, gguf: GgufEntry | null, files: readonly HashedAs[]): void {
		if (this.#shelf.closed) return;
		const { store } = this.#shelf;
		const entry = this.#shelf.get(id);
		if (entry === null) return this.#over(id);
		let problem: string | null = null;
		for (const { name, path, hashed } of files) {
			const { digest, mark } = hashed;
			const before = store.digestOf(path, mark);
			const said = entry.files.find((file) => file.name === name)?.digest ?? digest;
			if (before !== null && before !== digest)
				problem ??= `model file ${path}: its bytes have changed, though its size and date have not: it had digest ${before}, and has ${digest}`;
			else if (entry.folder !== null && said !== digest)
				problem ??= `model file ${path}: it has digest ${digest}, not ${said} as it was fetched`;
			else store.putDigest(path, hashed);
		}
		const digest = digestOfFiles(files.map(({ name, hashed }) => ({ name, digest: hashed.digest })));
		if (entry.expected_digest !== null && entry.expected_digest !== digest)
			problem ??= `model file ${entry.local_path}: it has digest ${digest}, not ${entry.expected_digest}`;
		const facts: Partial<CatalogEntry> = {
			digest,
			size_bytes: files.reduce((sum, { hashed }) => sum + hashed.mark.sizeBytes, 0),
			gguf,
			files: files.map(({ name, hashed }): CatalogFile => ({ name, digest: hashed.digest, size_bytes: hashed.mark.sizeBytes })),
		};
		// What a fetched model was when it came is known: damage does not become its truth.
		const kept = problem !== null && entry.folder !== null ? { digest } : facts;
		if (problem !== null) this.#checked(id, { ...kept, untrusted: true }, problem, 'mismatch');
		else this.#trust(id, { ...facts, last_verified_ms: this.#ports.wallNow() }, files);
	}

	/** The bytes are what they should be: who says so? */
	#trust(id: string, facts: Partial<CatalogEntry>, files: readonly HashedAs[]): void {
		const entry = this.#shelf.get(id);
		const { rules } = this.#shelf;
		if (entry === null || isOurs(entry) || !hasRules(rules)) return this.#checked(id, { ...facts, untrusted: false }, null, '');
		const job: TrustJob = {
			files: files.map(({ name, path, hashed }) => ({ name, path, digest: hashed.digest })),
			signatures: namedSignatures(entry),
			sbom: namedSbom(entry),
			kept: entry.folder,
			root: entry.manifests.flatMap((name) => /^oci:.*@(sha256:[0-9a-f]{64})$/.exec(name)?.[1] ?? [])[0] ?? null,
			said: entry.folder === null || entry.digest_said || entry.expected_digest !== null,
			rules,
		};
		this.#ports.trust(job, (found) => {
			if (this.#shelf.closed) return;
			const now = this.#shelf.get(id);
			if (now === null) return this.#over(id);
			if (!found.ok) return this.#checked(id, { ...facts, untrusted: rules.mode === 'strict' }, found.problem, 'signature');
			const trust = trustOf(now, found.value, rules);
			const [problem] = trust.trust_problems ?? [];
			// From now on its bytes are these: a file that becomes another is to be added anew.
			const pinned = rules.mode === 'strict' && now.folder === null ? { expected_digest: now.expected_digest ?? facts.digest ?? null } : {};
			if (problem === undefined) return this.#checked(id, { ...facts, ...trust, ...pinned }, null, '');
			if (rules.mode === 'strict') return this.#checked(id, { ...facts, ...trust }, `${now.source_url}: ${problem.words}`, problem.reason);
			this.warned(now, problem.reason, problem.words);
			this.#checked(id, { ...facts, ...trust }, null, '');
		});
	}

	/** What the strict mode would refuse. */
	warned({ id, source_url: ref }: CatalogEntry, reason: string, words: string): void {
		this.count('warned', reason);
		this.#ports.telemetry.log('warn', 'model-trust', { model: id, human: `${ref}: ${words}.` });
	}

	#unreadable(id: string, path: string, problem: string): void {
		this.#checked(id, {}, `model file ${path}: ${problem}`, 'unreadable');
	}

	#checked(id: string, facts: Partial<CatalogEntry>, problem: string | null, reason: string): void {
		if (this.#shelf.closed) return;
		const entry = this.#shelf.get(id);
		// It may have been deleted meanwhile.
		if (entry !== null) {
			this.#shelf.keep({ ...entry, ...facts, verification: problem === null ? 'verified' : 'failed', problem });
			this.count(problem === null ? 'ok' : 'failed', problem === null ? '' : reason);
			if (problem !== null) this.#ports.telemetry.log('error', 'model-unverified', { model: id, human: `${problem}.` });
		}
		this.#over(id);
	}

	#over(id: string): void {
		const waiting = this.#hashing.get(id) ?? [];
		this.#hashing.delete(id);
		for (const use of waiting) use();
		if (this.#hashing.size > 0) return;
		const settled = this.#onSettled;
		this.#onSettled = [];
		for (const use of settled) use();
	}

	count(result: 'ok' | 'failed' | 'warned', reason: string): void {
		this.#ports.telemetry.count('catalog_verifications_total', { result, reason, engine: 'llamacpp' });
	}
}

interface HashedAs extends Named {
	readonly hashed: HashedFile;
}

/** Every file of the model: what was fetched, or a user's file with all its parts. */
export function filesOf({ folder, files, local_path: path }: CatalogEntry): readonly Named[] {
	if (folder !== null) return files.map(({ name }) => ({ name, path: join(folder, name) }));
	if (path === null) return [];
	return partsOf(basename(path)).map((name) => ({ name, path: join(dirname(path), name) }));
}
