/** What a scripted engine is told: its pace, its length, its faults. Plain data, from the pool's configuration. */

/**
 * A fault, and which requests have it: all, or those that `nth` and `promptContains` choose. A request has the first fault of
 * the list that fits; one that ends before `afterTokens` has none.
 * - `stall`: no token after `afterTokens`, though the engine lives and acknowledges a cancel
 * - `die`: the process ends with SIGKILL after `afterTokens`
 * - `error`: the generation fails after `afterTokens`
 * - `ignore-cancel`: a cancel changes nothing; generation runs to its end
 * - `flood`: after `afterTokens`, the rest at once
 */
export interface ScriptedFault {
	readonly kind: 'stall' | 'die' | 'error' | 'ignore-cancel' | 'flood';
	readonly afterTokens: number;
	/** Only the n-th completion of this process, from 1, its self-test not counted; null: every one. */
	readonly nth: number | null;
	/** Only requests whose prompt holds this; null: every one. */
	readonly promptContains: string | null;
	/** Only the self-test of the starting replica, which no other fault touches. */
	readonly selfTest: boolean;
}

export interface ScriptedSettings {
	readonly modelName: string;
	readonly slots: number;
	readonly ctx: number;
	/** Prompt tokens a second; from 1 000 000 on, without any wait. */
	readonly prefillTokensPerS: number;
	/** Tokens a second of each stream; from 1 000 000 on, as fast as it can. */
	readonly decodeTokensPerS: number;
	/** Tokens of an answer that nothing cuts. */
	readonly tokens: number;
	/** How long the engine takes to load. */
	readonly loadMs: number;
	/**
	 * `words`: text from prompt and seed. `clock`: each token is the moment it was made, µs on the monotonic clock. `echo`: the
	 * tokens of the prompt, from its first again after its last.
	 */
	readonly text: 'words' | 'clock' | 'echo';
	/** A file to append each token to that it makes; null: none. */
	readonly record: string | null;
	readonly faults: readonly ScriptedFault[];
}
