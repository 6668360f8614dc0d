/**
 * Which artifacts there are, in tables of the daemon's store: each entry by the digest of its content and its tenant, and by age. Opened and
 * written by main alone; each change is one transaction, on disk when it returns. Contents are files, and none of its business.
 */
import type { Database, RootDatabase } from 'lmdb';
import type { ArtifactEntry, ArtifactName } from '../serving/artifact-messages.ts';

/** A stored value: when it was given, as a number among all, and the JSON of the entry. */
const orderDigits = 11;
const hexDigits = 64;
/** Of an entry, beside its JSON: its keys and its place in two tables, about. */
const entryBytes = 256;
/** Entries that one page looks at: one of a rare kind is shorter, and goes on in the next. */
const lookedAtMax = 5_000;

export interface ArtifactFilter {
	readonly tenant: string | null;
	readonly kind: string | null;
	readonly tag: string | null;
}

export interface ArtifactPage {
	/** Each as JSON, the newest first. */
	readonly entries: readonly string[];
	/** Null: there is no more. */
	readonly next: string | null;
}

export interface Put {
	/** As JSON. */
	readonly entry: string;
	/** Contents that no entry has any more, by the hexadecimal digits of their digests. */
	readonly dropped: readonly string[];
	readonly collected: number;
}

export class ArtifactIndex {
	readonly #root: RootDatabase<string, string>;
	/** By digest and tenant. */
	readonly #entries: Database<string, string>;
	/** Keys of entries, by order. */
	readonly #ages: Database<string, string>;
	readonly #sums: Database<string, string>;

	constructor(root: RootDatabase<string, string>) {
		this.#root = root;
		this.#entries = root.openDB<string, string>({ name: 'artifacts', encoding: 'string' });
		this.#ages = root.openDB<string, string>({ name: 'artifact-ages', encoding: 'string' });
		this.#sums = root.openDB<string, string>({ name: 'artifact-sums', encoding: 'string' });
	}

	/** Of all contents, each once, and of all entries. */
	get bytes(): number {
		return Number(this.#sums.get('bytes') ?? 0);
	}

	/** The JSON of the entry. */
	find({ id, tenant, foreign }: ArtifactName): string | null {
		const stored = this.#entries.get(keyOf(id, tenant)) ?? (foreign ? this.#anyOf(hexOf(id)) : undefined);
		return stored === undefined ? null : stored.slice(orderDigits);
	}

	/** Whether an entry of any tenant has this content. */
	has(hex: string): boolean {
		return this.#anyOf(hex) !== undefined;
	}

	/** What it costs of the quota to have it. */
	costOf(entry: ArtifactEntry): number {
		return entry.size_bytes + costOf(JSON.stringify(entry));
	}

	/**
	 * Takes an entry in, in place of one of the same content and tenant, and lets the oldest go until all fits into the quota. Null: its parent
	 * is gone. Its content is on disk by now.
	 */
	put(entry: ArtifactEntry, quotaBytes: number): Put | null {
		return this.#root.transactionSync(() => {
			const { id, tenant, parent } = entry;
			if (parent !== null && this.#entries.get(keyOf(parent, tenant)) === undefined) return null;
			const key = keyOf(id, tenant);
			const json = JSON.stringify(entry);
			this.#forget(key);
			let bytes = this.bytes + costOf(json) + (this.has(hexOf(id)) ? 0 : entry.size_bytes);
			const order = this.#next();
			this.#entries.putSync(key, order + json);
			this.#ages.putSync(order, key);
			this.#sums.putSync('bytes', String(bytes));
			const dropped: string[] = [];
			let collected = 0;
			while (bytes > quotaBytes) {
				const [oldest] = [...this.#ages.getRange({ limit: 1 })];
				if (oldest === undefined || oldest.value === key) break;
				const hex = this.#forget(oldest.value);
				if (hex !== null) dropped.push(hex);
				collected++;
				bytes = this.bytes;
			}
			return { entry: json, dropped, collected };
		});
	}

	/** Null: there is none. */
	remove(name: ArtifactName): { readonly dropped: string | null } | null {
		const json = this.find(name);
		if (json === null) return null;
		const { id, tenant } = JSON.parse(json) as ArtifactEntry;
		return this.#root.transactionSync(() => ({ dropped: this.#forget(keyOf(id, tenant)) }));
	}

	/** The newest first, behind `after`. */
	page({ tenant, kind, tag }: ArtifactFilter, limit: number, after: string | null): ArtifactPage {
		const entries: string[] = [];
		let looked = 0;
		for (const { key: order, value: key } of this.#ages.getRange({ reverse: true, ...(after === null ? {} : { start: after }) })) {
			if (order === after) continue;
			const json = this.#entries.get(key)?.slice(orderDigits);
			if (json === undefined) continue;
			looked++;
			if (tenant === null && kind === null && tag === null) entries.push(json);
			else {
				const entry = JSON.parse(json) as ArtifactEntry;
				const fits = (tenant ?? entry.tenant) === entry.tenant && (kind ?? entry.kind) === entry.kind;
				if (fits && (tag === null || entry.tags.includes(tag))) entries.push(json);
			}
			if (entries.length === limit || looked === lookedAtMax) return { entries, next: order };
		}
		return { entries, next: null };
	}

	/** Inside a transaction. Answers the content that nobody has any more; null: somebody has it, or there was no such entry. */
	#forget(key: string): string | null {
		const stored = this.#entries.get(key);
		if (stored === undefined) return null;
		const hex = key.slice(0, hexDigits);
		const json = stored.slice(orderDigits);
		this.#entries.removeSync(key);
		this.#ages.removeSync(stored.slice(0, orderDigits));
		const last = !this.has(hex);
		const { size_bytes: sizeBytes } = JSON.parse(json) as ArtifactEntry;
		this.#sums.putSync('bytes', String(this.bytes - costOf(json) - (last ? sizeBytes : 0)));
		return last ? hex : null;
	}

	#anyOf(hex: string): string | undefined {
		const [found] = [...this.#entries.getRange({ start: hex, limit: 1 })];
		return found?.key.startsWith(hex) === true ? found.value : undefined;
	}

	#next(): string {
		const [newest] = [...this.#ages.getRange({ reverse: true, limit: 1 })];
		const order = newest === undefined ? 0 : Number.parseInt(newest.key, 36) + 1;
		return order.toString(36).padStart(orderDigits, '0');
	}
}

function costOf(json: string): number {
	return Buffer.byteLength(json) + entryBytes;
}

/** A tenant may be any text: as JSON it has no characters that a key may not have. */
function keyOf(id: string, tenant: string): string {
	return `${hexOf(id)}${JSON.stringify(tenant)}`;
}

function hexOf(id: string): string {
	return id.slice('sha256:'.length);
}
