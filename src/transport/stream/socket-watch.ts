/**
 * One task watched over a WebSocket: a cursor into its log, like `Watcher`, but one of many that share a connection. It writes
 * when its session lets it, a bounded slice at a time, and never more token events than the client has given credit for.
 */
import type { TaskView } from '../../actors/serving/task-directory.ts';
import { type EventFrame, eventFrame, eventMessage, socketMessage } from './socket-messages.ts';
import { metricsOf } from './sse.ts';

export interface WatchOutput {
	/** False: the socket has refused it, or something before. */
	send(text: string): boolean;
	now(): number;
	/** The log moved. */
	marked(watch: SocketWatch): void;
}

const metricsMs = 1000;

export class SocketWatch {
	readonly task: TaskView;
	/** In its session's list of those with something to write. */
	waiting = false;
	/** Tokens are merged into batches until it has caught up: the socket had refused a write. */
	behind = false;
	/** Said once the end of the log is here: answers to cancels of a task whose events are still on their way. */
	readonly atEnd: (() => void)[] = [];
	readonly #ref: string | null;
	readonly #frame: EventFrame;
	readonly #output: WatchOutput;
	readonly #unsubscribe: () => void;
	/** The last seq that was handed to the socket. */
	#cursor: number;
	/** Token events that may still be sent; null: credit is not in use. */
	#credit: number | null;
	#metricsAt = Number.NEGATIVE_INFINITY;
	#standingVersion = -1;
	#phase: TaskView['phase'] | null = null;
	#closed = false;

	constructor(task: TaskView, ref: string | null, after: number, credit: number | null, output: WatchOutput) {
		this.task = task;
		this.#ref = ref;
		this.#frame = eventFrame(ref, task.request.taskId, task.log.run);
		// below the first event there is nothing to write
		this.#cursor = Math.max(after, task.log.firstSeq - 1);
		this.#credit = credit;
		this.#output = output;
		this.#unsubscribe = task.log.subscribe(() => output.marked(this));
		task.ref.tell({ type: 'watcher-attached' });
	}

	/** The terminal event was written, or nothing can be read any more. */
	get done(): boolean {
		const { log } = this.task;
		return log.forgotten || (log.ended && this.#cursor >= log.lastSeq);
	}

	/** Something is to be written that its credit allows. */
	get hasMore(): boolean {
		const { log } = this.task;
		if (this.#cursor >= log.lastSeq || log.forgotten) return false;
		return this.#credit !== 0 || !this.#nextIsToken();
	}

	give(credit: number): void {
		this.#credit = (this.#credit ?? 0) + credit;
	}

	/** Writes about `bytesMax` at most. False: the socket has refused some of it. */
	pump(bytesMax: number): boolean {
		if (!this.behind && !this.task.log.ended && this.#metricsDue() && !this.#writeMetrics()) return false;
		const open = this.behind ? this.#writeMerged(bytesMax) : this.#writeEvents(bytesMax);
		if (open && this.#cursor >= this.task.log.lastSeq) this.behind = false;
		return open;
	}

	metricsDue(): boolean {
		return !this.task.log.ended && !this.behind && this.#metricsDue();
	}

	close(): void {
		if (this.#closed) return;
		this.#closed = true;
		this.#unsubscribe();
		this.task.ref.tell({ type: 'watcher-gone' });
	}

	#writeEvents(bytesMax: number): boolean {
		let bytes = 0;
		let open = true;
		this.task.log.forEach(this.#cursor, (seq, name, json) => {
			if (name === 'token' && !this.#spend()) return false;
			const text = eventMessage(this.#frame, seq, name, json);
			bytes += text.length;
			this.#cursor = seq;
			open = this.#output.send(text);
			return open && bytes < bytesMax;
		});
		return open;
	}

	/** Runs of tokens as `token {batch:[…]}`, under the seq of the last. */
	#writeMerged(bytesMax: number): boolean {
		const tokens: string[] = [];
		let bytes = 0;
		let other: string | null = null;
		this.task.log.forEach(this.#cursor, (seq, name, json) => {
			if (name !== 'token') {
				if (tokens.length > 0) return false;
				other = eventMessage(this.#frame, seq, name, json);
				this.#cursor = seq;
				return false;
			}
			if (!this.#spend()) return false;
			tokens.push(json);
			bytes += json.length;
			this.#cursor = seq;
			return bytes < bytesMax;
		});
		if (other !== null) return this.#output.send(other);
		if (tokens.length === 0) return true;
		const [only] = tokens;
		const json = tokens.length === 1 && only !== undefined ? only : `{"batch":[${tokens.join(',')}]}`;
		return this.#output.send(eventMessage(this.#frame, this.#cursor, 'token', json));
	}

	/** False: there is no credit for one more token event. */
	#spend(): boolean {
		if (this.#credit === null) return true;
		if (this.#credit === 0) return false;
		this.#credit -= 1;
		return true;
	}

	#nextIsToken(): boolean {
		let token = false;
		this.task.log.forEach(this.#cursor, (_seq, name) => {
			token = name === 'token';
			return false;
		});
		return token;
	}

	#metricsDue(): boolean {
		if (this.task.standingVersion === this.#standingVersion) return false;
		return this.task.phase !== this.#phase || this.#output.now() - this.#metricsAt >= metricsMs;
	}

	#writeMetrics(): boolean {
		this.#standingVersion = this.task.standingVersion;
		this.#phase = this.task.phase;
		this.#metricsAt = this.#output.now();
		return this.#output.send(
			socketMessage('metrics', { ref: this.#ref, taskId: this.task.request.taskId }, metricsOf(this.task, false, this.#metricsAt)),
		);
	}
}
