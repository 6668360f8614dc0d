/**
 * The pulls that are under way, by ref: several that want the same model are one, a few run at once and the others wait in line. Who watches
 * one is told whenever there is something newer than what it knows. On main; the bytes are another thread's.
 *
 * ```
 *  queued ─a place is free─► running ─► fetched | failed | canceled      each who asked is told, once
 * ```
 */
import type { FetchJob, FetchNews, FetchOrder, FetchOutcome, FetchProgress } from './fetch-messages.ts';

export interface PullPorts {
	/** `done` is called once, in a later turn. */
	fetch(job: FetchJob, heard: (news: FetchNews) => void, done: (outcome: FetchOutcome) => void): (order: FetchOrder) => void;
	/** By the quota: may the pull of `ref` have so many bytes in all, and which folders are to go for it. */
	room(ref: string, bytes: number): { readonly problem: string | null; readonly remove: readonly string[] };
	/** Pulls that may run at once. */
	readonly most: number;
}

interface Running {
	readonly job: FetchJob;
	order: ((order: FetchOrder) => void) | null;
	progress: FetchProgress;
	/** Bytes that it was given room for. */
	bytes: number;
	seq: number;
	readonly done: ((outcome: FetchOutcome) => void)[];
	readonly watchers: (() => void)[];
}

const queued: FetchProgress = {
	phase: 'queued',
	bytesDone: 0,
	bytesTotal: null,
	bytesPerS: null,
	etaMs: null,
	filesDone: 0,
	filesTotal: null,
	note: null,
};

export class Pulls {
	readonly #ports: PullPorts;
	/** In the order in which they were asked for. */
	readonly #pulls = new Map<string, Running>();
	#running = 0;
	#closed = false;

	constructor(ports: PullPorts) {
		this.#ports = ports;
	}

	/** One that is under way is joined. `done` is called once, in a later turn; not at all when the daemon ends before. */
	start(job: FetchJob, done: (outcome: FetchOutcome) => void): void {
		const known = this.#pulls.get(job.ref);
		if (known !== undefined) {
			known.done.push(done);
			return;
		}
		this.#pulls.set(job.ref, { job, order: null, progress: queued, bytes: 0, seq: 1, done: [done], watchers: [] });
		this.#next();
	}

	/** False: there is none. What has come stays for the next one. */
	cancel(ref: string): boolean {
		const pull = this.#pulls.get(ref);
		if (pull === undefined) return false;
		if (pull.order === null) this.#over(pull, { type: 'canceled' });
		else pull.order({ type: 'cancel' });
		return true;
	}

	/** Null: there is none. */
	view(ref: string): { readonly seq: number; readonly progress: FetchProgress } | null {
		return this.#pulls.get(ref) ?? null;
	}

	/** When there is something newer than `after`, or the pull is over; at once when it is not under way. */
	watch(ref: string, after: number, use: () => void): void {
		const pull = this.#pulls.get(ref);
		if (pull === undefined || pull.seq > after) use();
		else pull.watchers.push(use);
	}

	/** Bytes that those that are under way have room for, but this one. */
	bytesBeside(ref: string): number {
		let bytes = 0;
		for (const pull of this.#pulls.values()) if (pull.job.ref !== ref) bytes += pull.bytes;
		return bytes;
	}

	/** Nothing is begun, told or ended any more. */
	close(): void {
		this.#closed = true;
	}

	#next(): void {
		for (const pull of this.#pulls.values()) {
			if (this.#running >= this.#ports.most || this.#closed) return;
			if (pull.order !== null) continue;
			this.#running += 1;
			pull.order = this.#ports.fetch(
				pull.job,
				(news) => this.#heard(pull, news),
				(outcome) => {
					this.#running -= 1;
					this.#over(pull, outcome);
					this.#next();
				},
			);
		}
	}

	#heard(pull: Running, news: FetchNews): void {
		if (this.#closed) return;
		if (news.type === 'progress') {
			pull.progress = news.progress;
			this.#moved(pull);
			return;
		}
		const { problem, remove } = this.#ports.room(pull.job.ref, news.bytes);
		if (problem === null) pull.bytes = news.bytes;
		pull.order?.({ type: 'room', problem, remove });
	}

	#over(pull: Running, outcome: FetchOutcome): void {
		if (this.#closed) return;
		this.#pulls.delete(pull.job.ref);
		for (const done of pull.done) done(outcome);
		this.#moved(pull);
	}

	#moved(pull: Running): void {
		pull.seq += 1;
		for (const use of pull.watchers.splice(0)) use();
	}
}
