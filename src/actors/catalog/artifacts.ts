/**
 * The store of artifacts: what may come in, whose it is, what goes when room is wanted, and that nothing is answered which is not what its id
 * says. On main. A content is on disk before its entry is, and its entry is gone before the file is: what a crash leaves is a file that nobody
 * names, which the next start removes.
 */
import { createHash } from 'node:crypto';
import type { Telemetry } from '../kernel/telemetry.ts';
import {
	type ArtifactAnswer,
	type ArtifactEntry,
	type ArtifactName,
	type ArtifactRequest,
	artifactKinds,
} from '../serving/artifact-messages.ts';
import { type Failure, type FailureCode, failure } from '../serving/failure.ts';
import type { ArtifactIndex, Put } from './artifact-index.ts';

export type Content =
	| { readonly kind: 'whole'; readonly bytes: Buffer }
	/** There is no file, or it holds something else. */
	| { readonly kind: 'gone' | 'damaged' }
	| { readonly kind: 'unreadable'; readonly problem: string };

/** Files named by the SHA-256 of what they hold, in hexadecimal digits. `done` is called once, in a later turn. */
export interface ArtifactFiles {
	/** On disk, whole, under its name when `done` hears null; else nothing is there that was not before. */
	keep(hex: string, bytes: Buffer, done: (problem: string | null) => void): void;
	/** Its bytes are hashed. */
	read(hex: string, done: (content: Content) => void): void;
	drop(hex: string, done: (problem: string | null) => void): void;
	/** Names of all files, in parts; then `done`. */
	names(visit: (hexes: readonly string[]) => void, done: () => void): void;
}

export interface ArtifactsOptions {
	readonly quotaBytes: number;
	/** Milliseconds since 1970. */
	wallNow(): number;
	readonly telemetry: Telemetry;
}

type PutArtifact = Extract<ArtifactRequest, { type: 'put-artifact' }>;
type Reply = (answer: ArtifactAnswer) => void;

/** Of contents that are being written. */
const writingBytesMax = 64 * 1024 * 1024;
const retryMs = 1_000;

export class Artifacts {
	readonly #index: ArtifactIndex;
	readonly #files: ArtifactFiles;
	readonly #options: ArtifactsOptions;
	/** Work on a content waits for what is under way with it: the first is. */
	readonly #turns = new Map<string, ((done: () => void) => void)[]>();
	#writingBytes = 0;
	#closed = false;
	#onIdle: (() => void)[] = [];

	constructor(index: ArtifactIndex, files: ArtifactFiles, options: ArtifactsOptions) {
		this.#index = index;
		this.#files = files;
		this.#options = options;
		for (const kind of artifactKinds) options.telemetry.expect('artifacts_stored_total', { kind });
		options.telemetry.expect('artifacts_collected_total', {});
		this.#showBytes();
	}

	/** Removes what a crash has left. `done`: all has been looked at. */
	sweep(done: () => void): void {
		this.#files.names((hexes) => {
			for (const hex of hexes) if (!this.#closed && !this.#index.has(hex)) this.#drop(hex);
		}, done);
	}

	/** Nothing is begun from now on. `use`: when nothing is under way. */
	close(use: () => void): void {
		this.#closed = true;
		if (this.#turns.size === 0) use();
		else this.#onIdle.push(use);
	}

	/** `reply` is called once: at once, or when the disk has answered. */
	answer(request: ArtifactRequest, reply: Reply): void {
		if (this.#closed) return reply(refused('POOL_UNREADY', 'the daemon is shutting down', { retryAfterMs: retryMs }));
		switch (request.type) {
			case 'put-artifact':
				return this.#put(request, reply);
			case 'get-artifact':
				return this.#get(request, reply);
			case 'describe-artifact': {
				const json = this.#index.find(request);
				return reply(json === null ? unknownArtifact : { ok: true, json });
			}
			case 'delete-artifact':
				return reply(this.#remove(request));
			case 'list-artifacts': {
				const { entries, next } = this.#index.page(request, request.limit, request.after);
				return reply({ ok: true, json: `{"artifacts":[${entries.join(',')}],"next_cursor":${JSON.stringify(next)}}` });
			}
		}
	}

	#put({ content, ...given }: PutArtifact, reply: Reply): void {
		const bytes = Buffer.from(content);
		const hex = createHash('sha256').update(bytes).digest('hex');
		const { kind, tenant, tags, parent, metadata } = given;
		const entry: ArtifactEntry = {
			id: `sha256:${hex}`,
			kind,
			tenant,
			tags,
			parent,
			metadata,
			size_bytes: bytes.length,
			created_ms: this.#options.wallNow(),
		};
		const problem = this.#problemOf(entry, bytes, content);
		if (problem !== null) return reply({ ok: false, failure: problem });
		this.#writingBytes += bytes.length;
		this.#inTurn(hex, (done) => {
			this.#files.keep(hex, bytes, (unwritten) => {
				this.#writingBytes -= bytes.length;
				reply(unwritten === null ? this.#enter(entry) : this.#unwritten(unwritten));
				done();
			});
		});
	}

	#problemOf(entry: ArtifactEntry, bytes: Buffer, content: string): Failure | null {
		const { quotaBytes } = this.#options;
		const { parent, tenant, id } = entry;
		// Half of a surrogate pair is no character, and would come back as another.
		if (bytes.toString() !== content) return failure('INVALID_PARAMS', 'content holds half a surrogate pair; it must be a whole text');
		if (this.#index.costOf(entry) > quotaBytes)
			return failure('PAYLOAD_TOO_LARGE', `content has ${bytes.length} bytes; artifacts.quota_bytes is ${quotaBytes}`);
		if (parent === id) return failure('INVALID_PARAMS', `parent is ${parent}, which is the artifact itself`);
		if (parent !== null && this.#index.find({ id: parent, tenant, foreign: false }) === null) return unknownParent(parent);
		if (this.#writingBytes + bytes.length <= writingBytesMax) return null;
		const more = { retryAfterMs: retryMs, policyLabel: 'artifacts' };
		return failure('ADMISSION_REJECT', 'too many artifacts are being written at once; try again shortly', more);
	}

	/** Its content is on disk. */
	#enter(entry: ArtifactEntry): ArtifactAnswer {
		let put: Put | null;
		try {
			put = this.#index.put(entry, this.#options.quotaBytes);
		} catch (error) {
			return this.#unwritten(error instanceof Error ? error.message : String(error));
		}
		if (put === null) {
			const hex = entry.id.slice('sha256:'.length);
			if (!this.#index.has(hex)) this.#drop(hex);
			return { ok: false, failure: unknownParent(entry.parent) };
		}
		const { telemetry } = this.#options;
		telemetry.count('artifacts_stored_total', { kind: entry.kind });
		if (put.collected > 0) telemetry.count('artifacts_collected_total', {}, put.collected);
		for (const hex of put.dropped) this.#drop(hex);
		this.#showBytes();
		return { ok: true, json: put.entry };
	}

	#unwritten(problem: string): ArtifactAnswer {
		this.#options.telemetry.log('error', 'artifact-unwritten', {
			message: problem,
			human: 'An artifact could not be written to the disk.',
		});
		return refused('POOL_UNREADY', 'the artifact could not be written to the disk; the log of the daemon says why', {
			retryAfterMs: retryMs,
		});
	}

	#get(name: ArtifactName, reply: Reply): void {
		const json = this.#index.find(name);
		if (json === null) return reply(unknownArtifact);
		this.#files.read(name.id.slice('sha256:'.length), (content) => {
			if (content.kind === 'whole')
				return reply({ ok: true, json: `${json.slice(0, -1)},"content":${JSON.stringify(content.bytes.toString())}}`, entry: json });
			// It may have been deleted while it was read.
			if (this.#index.find(name) === null) return reply(unknownArtifact);
			const why =
				content.kind === 'gone'
					? 'its file is gone'
					: content.kind === 'damaged'
						? 'its file holds something else than was given'
						: 'its file cannot be read';
			const message = content.kind === 'unreadable' ? content.problem : why;
			this.#options.telemetry.log('error', 'artifact-damaged', { artifact: name.id, message, human: `Artifact ${name.id}: ${why}.` });
			reply(refused('UNTRUSTED_ARTIFACT', `${name.id} is not served: ${why}; give its content again, or delete it`));
		});
	}

	#remove(name: ArtifactName): ArtifactAnswer {
		const removed = this.#index.remove(name);
		if (removed === null) return unknownArtifact;
		if (removed.dropped !== null) this.#drop(removed.dropped);
		this.#showBytes();
		return { ok: true, json: '' };
	}

	#drop(hex: string): void {
		this.#inTurn(hex, (done) => {
			// Meanwhile it may have been given again.
			if (this.#index.has(hex)) return done();
			this.#files.drop(hex, (problem) => {
				if (problem !== null) this.#options.telemetry.log('warn', 'artifact-undeleted', { artifact: `sha256:${hex}`, message: problem });
				done();
			});
		});
	}

	#inTurn(hex: string, work: (done: () => void) => void): void {
		const waiting = this.#turns.get(hex);
		if (waiting !== undefined) {
			waiting.push(work);
			return;
		}
		this.#turns.set(hex, [work]);
		this.#next(hex);
	}

	#next(hex: string): void {
		const turns = this.#turns.get(hex);
		const work = turns?.[0];
		if (turns === undefined || work === undefined) return;
		work(() => {
			turns.shift();
			if (turns.length > 0) return this.#next(hex);
			this.#turns.delete(hex);
			if (this.#turns.size > 0) return;
			for (const use of this.#onIdle.splice(0)) use();
		});
	}

	#showBytes(): void {
		this.#options.telemetry.gauge('artifact_bytes', {}, this.#index.bytes);
	}
}

const unknownArtifact: ArtifactAnswer = {
	ok: false,
	failure: failure('NOT_FOUND', 'there is no such artifact; it may have been collected'),
};

function unknownParent(parent: string | null): Failure {
	return failure('NOT_FOUND', `parent is ${parent}; there is no such artifact`);
}

function refused(code: FailureCode, words: string, more: { readonly retryAfterMs?: number } = {}): ArtifactAnswer {
	return { ok: false, failure: failure(code, words, more) };
}
