/** What fronts and the Dispatcher say of whose task it is: for the directory of `task-homes.ts`. Types only. */

/** What a front says of a task beside its summary, for the directory of `task-homes.ts`. */
export interface TaskClaim {
	readonly frontId: string;
	readonly bodyHash: string;
	/** The idempotency keys that it is known by. */
	readonly keys: readonly string[];
	/** Refused where another front has a task by the same name: the client chose it, and has no 202 yet. */
	readonly exclusive: boolean;
}

/** A task as the directory knows it. */
export interface KnownTask {
	readonly taskId: string;
	readonly tenant: string;
	readonly bodyHash: string;
	readonly keys: readonly string[];
}

/** Answer to `claim-task`. */
export interface TaskClaimed {
	readonly type: 'task-claimed';
	readonly verdict: /** No other front has it, or gets it any more. */
		| { readonly kind: 'ours' }
		| { readonly kind: 'elsewhere'; readonly frontId: string; readonly taskId: string }
		/** The id and the key name two different tasks. */
		| { readonly kind: 'contradiction' }
		/** Not all fronts have reported to this control thread. */
		| { readonly kind: 'unsure' };
}
