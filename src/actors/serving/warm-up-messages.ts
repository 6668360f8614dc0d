/** What is told of a pool that can give no slot yet: what has to be done before, and how far that is. Types only, and plain data. */

export interface WarmUpTold {
	/** `waiting`: the engine has failed, and is started again later. */
	readonly status: 'running' | 'waiting';
	/** Milliseconds that are left of it; null: nobody has measured it or said it, and what is counted in is a guess. */
	readonly leftMs: number | null;
	/** Its model is not here yet, and comes first; null: it is, or comes from nowhere. */
	readonly fetch: ModelFetch | null;
}

/** How far the model of an engine is on its way to this machine. */
export interface ModelFetch {
	/** `waiting`: in line, or for its source. */
	readonly status: 'running' | 'waiting';
	readonly bytesDone: number;
	/** Null: its source has not said. */
	readonly bytesTotal: number | null;
	/** Null: nobody can say. */
	readonly leftMs: number | null;
	/** For a person: what it waits for. */
	readonly note: string | null;
}
