/** Which fetched models make room for another: those that no pool loads, the longest unused first. Pure. */
import type { CatalogEntry } from '../serving/catalog-messages.ts';

export interface QuotaQuestion {
	readonly entries: Iterable<CatalogEntry>;
	/** Whether a pool loads it, or it is being fetched: it stays. */
	readonly inUse: (entry: CatalogEntry) => boolean;
	/** 0: there is none. */
	readonly quotaBytes: number;
	/** Of the model that is wanted, and of those that are being fetched beside it. */
	readonly bytes: number;
	readonly bytesBeside: number;
}

export interface QuotaAnswer {
	/** Null: there is room once `evict` is gone. */
	readonly problem: string | null;
	/** Folders, each of which may be that of several entries. */
	readonly evict: readonly string[];
}

export function makeRoom({ entries, inUse, quotaBytes, bytes, bytesBeside }: QuotaQuestion): QuotaAnswer {
	if (quotaBytes === 0) return { problem: null, evict: [] };
	const folders = new Map<string, { bytes: number; usedMs: number; used: boolean }>();
	for (const entry of entries) {
		if (entry.folder === null) continue;
		const known = folders.get(entry.folder) ?? { bytes: entry.size_bytes ?? 0, usedMs: 0, used: false };
		known.usedMs = Math.max(known.usedMs, entry.used_ms ?? entry.last_verified_ms ?? 0);
		known.used ||= inUse(entry);
		folders.set(entry.folder, known);
	}
	let over = bytes + bytesBeside - quotaBytes;
	for (const each of folders.values()) over += each.bytes;
	const evict: string[] = [];
	for (const [folder, each] of [...folders].filter(([, { used }]) => !used).sort(([, a], [, b]) => a.usedMs - b.usedMs)) {
		if (over <= 0) break;
		evict.push(folder);
		over -= each.bytes;
	}
	if (over <= 0) return { problem: null, evict };
	const words = `catalog.quota_bytes is ${quotaBytes}; with ${bytes} bytes more it would be exceeded by ${over}, even without every model that no pool uses`;
	return { problem: words, evict: [] };
}
