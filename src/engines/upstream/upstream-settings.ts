/** What the configuration says of an engine over HTTP. Made on the main thread; crosses to engine threads with a replica. */
import type { EngineOptions, UpstreamEngine } from './adapter.ts';

export interface UpstreamSettings {
	readonly kind: 'upstream';
	readonly engine: UpstreamEngine;
	/** One a replica, in order; where there are fewer, they take turns. */
	readonly urls: readonly string[];
	/** Never logged, never shown. */
	readonly key: string | null;
	/** What the engine calls its model; null: the one that it has. */
	readonly model: string | null;
	readonly slots: number;
	/** Null: what the engine says. */
	readonly ctx: number | null;
	readonly defaultCtx: number;
	readonly connectMs: number;
	/** Of the section named like the engine; absent: it has none. */
	readonly options?: EngineOptions;
}

export function isUpstreamSettings(settings: unknown): settings is UpstreamSettings {
	return typeof settings === 'object' && settings !== null && 'kind' in settings && settings.kind === 'upstream';
}
