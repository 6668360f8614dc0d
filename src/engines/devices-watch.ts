/**
 * Looks at the devices again and again as long as somebody follows them and there are any; where there are none, once. One look at a time,
 * at a bounded rate, never in the way of anything else. What is wrong with a tool is told once. On an engine thread.
 */
import { type DeviceProbe, type DevicesFound, noDevices } from './devices.ts';

export interface DeviceWatchOptions {
	readonly probe: DeviceProbe;
	/** From the end of a look to the next. */
	readonly everyMs: number;
	/** A sentence, once. */
	onProblem(words: string): void;
}

export class DeviceWatch {
	readonly #options: DeviceWatchOptions;
	readonly #followers = new Set<(found: DevicesFound) => void>();
	readonly #told = new Set<string>();
	#latest: DevicesFound = noDevices;
	#first: Promise<DevicesFound> | null = null;
	#anew: Promise<DevicesFound> | null = null;
	#timer: NodeJS.Timeout | null = null;
	#looking = false;

	constructor(options: DeviceWatchOptions) {
		this.#options = options;
	}

	/** As of the last look; none before the first. */
	get latest(): DevicesFound {
		return this.#latest;
	}

	/** What the first look found. */
	first(): Promise<DevicesFound> {
		this.#first ??= this.#look();
		return this.#first;
	}

	/** As they are now. Where there were none at the first look, there are none. */
	async now(): Promise<DevicesFound> {
		const found = await this.first();
		if (found.devices.length === 0 && found.problems.length === 0) return found;
		this.#anew ??= this.#look().finally(() => {
			this.#anew = null;
		});
		return this.#anew;
	}

	/** Calls back after each look from now on. The answer ends it. */
	follow(follower: (found: DevicesFound) => void): () => void {
		this.#followers.add(follower);
		this.#lookLater();
		return () => {
			this.#followers.delete(follower);
			if (this.#followers.size > 0 || this.#timer === null) return;
			clearTimeout(this.#timer);
			this.#timer = null;
		};
	}

	async #look(): Promise<DevicesFound> {
		this.#looking = true;
		this.#latest = await this.#options.probe.look();
		this.#looking = false;
		for (const words of this.#latest.problems) {
			if (this.#told.has(words)) continue;
			this.#told.add(words);
			this.#options.onProblem(words);
		}
		for (const follower of [...this.#followers]) follower(this.#latest);
		this.#lookLater();
		return this.#latest;
	}

	#lookLater(): void {
		if (this.#looking || this.#timer !== null || this.#followers.size === 0 || this.#first === null) return;
		// A tool that has told of devices and fails now may tell again.
		if (this.#latest.devices.length === 0 && this.#latest.problems.length === 0) return;
		this.#timer = setTimeout(() => {
			this.#timer = null;
			void this.#look();
		}, this.#options.everyMs).unref();
	}
}
