/** What can go wrong with one answer, for the fake engines: any of them can be told to have any of these. */

export type Fault =
	/** Another answer in place of its own. */
	| { readonly kind: 'status'; readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: string }
	/** These bytes in place of an answer. */
	| { readonly kind: 'bytes'; readonly bytes: string; readonly ending: 'close' | 'reset' | 'hold' }
	/** Its own answer, with another content type. */
	| { readonly kind: 'type'; readonly type: string }
	/** Its own answer as far as so many events, and what comes then. */
	| { readonly kind: 'cut'; readonly afterEvents: number; readonly ending: Cut }
	/** Does not notice that its client has left. */
	| { readonly kind: 'deaf' };

export type Cut =
	/** The connection ends between two chunks. */
	| 'close'
	/** It is reset. */
	| 'reset'
	/** Nothing more comes. */
	| 'hold'
	/** A chunk that is shorter than it says, and the end of the connection. */
	| 'half-chunk'
	/** What is no chunk. */
	| 'garbage'
	/** An event that is no JSON. */
	| 'garbage-event'
	/** The body ends as it should; the engine's own end is missing. */
	| 'no-end';
