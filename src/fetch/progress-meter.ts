/** How far a pull is, how fast, and when it will be done: told to main at most so often. On the fetching thread. */
import type { FetchProgress } from '../actors/catalog/fetch-messages.ts';

/** A rate is that of the last seconds: networks change. */
const windowMs = 8_000;
const sampleMs = 500;
export const tellMs = 250;

export class ProgressMeter {
	readonly #tell: (progress: FetchProgress) => void;
	readonly #now: () => number;
	#phase: FetchProgress['phase'] = 'resolving';
	#note: string | null = null;
	#bytesTotal: number | null = null;
	#filesTotal: number | null = null;
	#filesDone = 0;
	#bytesBefore = 0;
	#offset = 0;
	/** Bytes by time, the oldest first; what was there before is no speed. */
	#samples: { readonly at: number; readonly bytes: number }[] = [];
	#toldAt = Number.NEGATIVE_INFINITY;
	#untold = false;

	constructor(now: () => number, tell: (progress: FetchProgress) => void) {
		this.#now = now;
		this.#tell = tell;
	}

	set phase(phase: FetchProgress['phase']) {
		this.#phase = phase;
		this.#told();
	}

	/** `bytes` null: the source has not said. */
	planned(files: number, bytes: number | null): void {
		this.#filesTotal = files;
		this.#bytesTotal = bytes;
		this.#told();
	}

	/** The one file that there is has that many bytes. */
	set bytesTotal(bytes: number) {
		if (this.#filesTotal === 1) this.#bytesTotal = bytes;
	}

	/** Bytes of the files that are done. */
	get bytesBefore(): number {
		return this.#bytesBefore;
	}

	/** Of the file that is fetched now. `fresh`: they have just come, and were not there already. */
	offset(bytes: number, fresh: boolean): void {
		const now = this.#now();
		if (!fresh || bytes < this.#offset) this.#samples = [];
		this.#offset = bytes;
		const last = this.#samples.at(-1);
		if (last === undefined || now - last.at >= sampleMs) {
			this.#samples.push({ at: now, bytes: this.#bytesBefore + bytes });
		}
		this.#untold = true;
		if (now - this.#toldAt >= tellMs) this.#told();
	}

	/** Now and then: what has come last is told too, and a standstill. */
	tick(): void {
		if (this.#untold || this.#samples.length > 0) this.#told();
	}

	fileDone(bytes: number): void {
		this.#bytesBefore += bytes;
		this.#offset = 0;
		this.#filesDone += 1;
		this.#told();
	}

	/** It waits, for what `note` says; null: it goes on. */
	waits(note: string | null): void {
		this.#note = note;
		this.#phase = note === null ? 'fetching' : 'waiting';
		this.#samples = [];
		this.#told();
	}

	#told(): void {
		const now = this.#now();
		this.#toldAt = now;
		this.#untold = false;
		while ((this.#samples[0]?.at ?? now) < now - windowMs) this.#samples.shift();
		const bytesDone = this.#bytesBefore + this.#offset;
		const first = this.#samples[0];
		const bytesPerS =
			first === undefined || now - first.at < sampleMs ? null : Math.round(((bytesDone - first.bytes) / (now - first.at)) * 1000);
		const left = this.#bytesTotal === null ? null : this.#bytesTotal - bytesDone;
		this.#tell({
			phase: this.#phase,
			bytesDone,
			bytesTotal: this.#bytesTotal,
			bytesPerS,
			etaMs: left === null || bytesPerS === null || bytesPerS <= 0 ? null : Math.round((left / bytesPerS) * 1000),
			filesDone: this.#filesDone,
			filesTotal: this.#filesTotal,
			note: this.#note,
		});
	}
}
