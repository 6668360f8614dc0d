/** What became of a configuration that was read anew while the daemon runs. Types only; plain data, crosses threads. */

export interface ConfigChange {
	/** Pools, by id. */
	readonly added: readonly string[];
	/** They take nothing new, and end with their last task. */
	readonly removed: readonly string[];
	/** In place, or one replica after the other, where it is what their engines are started with. */
	readonly changed: readonly string[];
	readonly unchanged: readonly string[];
	/** API keys, by name: new ones, those that are none any more, and those of which anything has changed. */
	readonly keys: { readonly added: readonly string[]; readonly removed: readonly string[]; readonly changed: readonly string[] };
	/** Keys that have changed and are read at the start only. */
	readonly restartNeeded: readonly string[];
}

export type ConfigReload =
	| { readonly ok: true; readonly change: ConfigChange }
	/** Nothing of it was applied. */
	| { readonly ok: false; readonly problems: readonly string[] };
