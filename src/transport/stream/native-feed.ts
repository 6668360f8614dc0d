/** The events of one task as its log has them: each slice goes out without a copy. On the front thread. */
import type { EventLogView } from '../../actors/serving/event-log-view.ts';
import type { TaskView } from '../../actors/serving/task-directory.ts';
import type { ByteRange, Feed } from './feed.ts';
import { metricsFrame } from './sse.ts';

export class NativeFeed implements Feed {
	readonly #log: EventLogView;
	/** The last seq that was handed out. */
	#cursor: number;
	readonly #task: TaskView;
	readonly #verbose: boolean;
	#unsubscribe: () => void = () => undefined;

	constructor(task: TaskView, after: number, verbose: boolean) {
		this.#task = task;
		this.#log = task.log;
		this.#verbose = verbose;
		// below the first event there is nothing to write
		this.#cursor = Math.max(after, task.log.firstSeq - 1);
	}

	get correlationId(): string {
		return this.#task.request.correlationId;
	}

	get hasEnd(): boolean {
		return this.#log.ended;
	}

	get finished(): boolean {
		return this.#log.ended && this.#cursor >= this.#log.lastSeq;
	}

	get hasMore(): boolean {
		return this.#cursor < this.#log.lastSeq;
	}

	get lost(): boolean {
		return this.#log.forgotten && !this.finished;
	}

	get standingVersion(): number {
		return this.#task.standingVersion;
	}

	get phase(): string {
		return this.#task.phase;
	}

	attach(moved: () => void): void {
		this.#unsubscribe = this.#log.subscribe(moved);
		this.#task.ref.tell({ type: 'watcher-attached' });
	}

	leave(): void {
		this.#unsubscribe();
		this.#task.ref.tell({ type: 'watcher-gone' });
	}

	next(bytesMax: number, merged: boolean): ByteRange | null {
		const log = this.#log;
		if (this.#cursor >= log.lastSeq) return null;
		const slice = merged ? log.mergedSlice(this.#cursor, bytesMax) : log.slice(this.#cursor, bytesMax);
		if (slice !== null) this.#cursor = slice.lastSeq;
		return slice;
	}

	standing(now: number): Uint8Array {
		return metricsFrame(this.#task, this.#verbose, now);
	}
}
