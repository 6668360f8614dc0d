/** What the configuration says of an engine that we start and that is not ours. Crosses to the engine thread with a replica. */
import type { EngineOptions, UpstreamEngine } from '../upstream/adapter.ts';

export interface ManagedSettings {
	readonly kind: 'managed';
	readonly engine: UpstreamEngine;
	/** With macros, all of which have a value. */
	readonly command: readonly string[];
	/** The same; never logged, never shown. */
	readonly env: Readonly<Record<string, string>>;
	readonly modelWord: string | null;
	/** What the engine is asked for; null: the one model that it has. */
	readonly model: string | null;
	/** Never logged, never shown. */
	readonly key: string | null;
	readonly connectMs: number;
	readonly readyMs: number;
	readonly stopMs: number;
	readonly slots: number;
	/** Null: what the engine says. */
	readonly ctx: number | null;
	readonly defaultCtx: number;
	/** Null: whatever it sees. */
	readonly devices: readonly number[] | null;
	readonly maxTokensOut: number;
	/** Of the pool, with a folder in it for each replica; null: the engine is given none. */
	readonly cacheDir: string | null;
	/** Of the section named like the engine; absent: it has none. */
	readonly options?: EngineOptions;
}

export function isManagedSettings(settings: unknown): settings is ManagedSettings {
	return typeof settings === 'object' && settings !== null && 'kind' in settings && settings.kind === 'managed';
}
