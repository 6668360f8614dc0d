/** A catalog folder of its own, a source that misbehaves, and pulls between the two with the production code; only the delays are short. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FetchedModel, FetchProgress, FetchSources } from '../../src/actors/catalog/fetch-messages.ts';
import type { TrustRules } from '../../src/actors/catalog/trust-messages.ts';
import { packageRoot } from '../../src/config-root.ts';
import { checkGguf } from '../../src/engines/embedded/gguf-check.ts';
import { FetchError } from '../../src/fetch/fetch-error.ts';
import { pull } from '../../src/fetch/pull.ts';
import { ggufEntryOf } from '../../src/roles/file-worker.ts';
import { BadSource } from './bad-source.ts';
import { rules } from './rules.ts';

/** A real one. */
export const model = readFileSync(join(packageRoot(), 'models', 'tiny-chat.gguf'));

export function digestOf(bytes: Buffer | string): string {
	return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

export const noSources: FetchSources = {
	hf: { endpoint: 'http://127.0.0.1:1', token: null },
	s3: { endpoint: null, region: 'us-east-1', keys: null },
	oci: [],
	caRoots: [],
	redirectHosts: [],
};

export interface PullMore {
	readonly digest?: string | null;
	readonly sources?: Partial<FetchSources>;
	readonly signal?: AbortSignal;
	readonly rules?: Partial<TrustRules>;
	readonly signatures?: readonly string[];
	readonly sbom?: string;
	readonly failuresMax?: number;
	readonly silentMs?: number;
	room?(bytes: number): Promise<void>;
}

export class PullWorld {
	readonly root = mkdtempSync(join(tmpdir(), 'orchestratord-fetch-'));
	readonly source = new BadSource();
	readonly told: FetchProgress[] = [];
	readonly waits: string[] = [];

	async pull(ref: string, more: PullMore = {}): Promise<FetchedModel> {
		return await pull(
			{
				ref,
				root: this.root,
				expectedDigest: more.digest ?? null,
				sources: { ...noSources, ...more.sources },
				rules: rules(more.rules),
				signatures: more.signatures ?? [],
				sbom: more.sbom ?? null,
			},
			{
				signal: more.signal ?? new AbortController().signal,
				retry: { firstMs: 1, maxMs: 5, failuresMax: more.failuresMax ?? 3 },
				silentMs: more.silentMs ?? 5_000,
				now: () => performance.now(),
				onProgress: (progress) => {
					this.told.push(progress);
					if (progress.note !== null) this.waits.push(progress.note);
				},
				room: more.room ?? (() => Promise.resolve()),
				judge: (path, isFirst) => (isFirst ? ggufEntryOf(checkGguf(path)) : null),
			},
		);
	}

	/** When so many bytes have come. */
	async came(bytes: number): Promise<void> {
		while ((this.told.at(-1)?.bytesDone ?? 0) < bytes) await new Promise((resolve) => setImmediate(resolve));
	}

	/** Pulls, and is cut once, when so many bytes have come. */
	async pullCut(ref: string, bytes: number, more: PullMore = {}): Promise<FetchedModel> {
		this.told.length = 0;
		this.source.fault(new URL(ref).pathname, { holdAfter: bytes });
		const pulled = this.pull(ref, more);
		await this.source.held();
		await this.came(bytes);
		this.source.drop();
		return await pulled;
	}

	async refused(ref: string, code: string, words: RegExp, more: PullMore = {}): Promise<void> {
		await assert.rejects(this.pull(ref, more), (error) => {
			assert.ok(error instanceof FetchError, String(error));
			assert.equal(error.code, code, error.message);
			assert.match(error.message, words);
			return true;
		});
	}

	/** Folders of models that can be seen. */
	get visible(): string[] {
		try {
			return readdirSync(join(this.root, 'models'));
		} catch {
			return [];
		}
	}

	async close(): Promise<void> {
		await this.source.close();
		rmSync(this.root, { recursive: true });
	}
}

/** Runs `test` in a world of its own. */
export async function inWorld(test: (world: PullWorld) => Promise<void>): Promise<void> {
	const world = new PullWorld();
	await world.source.listen();
	try {
		await test(world);
	} finally {
		await world.close();
	}
}
