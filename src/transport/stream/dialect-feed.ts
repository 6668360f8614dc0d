/**
 * A stream in the form of another API than ours: the events of the tasks of one request, in the order in which they come, as its dialect
 * writes them. As long as the request waits it tells its place in comments. On the front thread.
 */
import type { EventLogView } from '../../actors/serving/event-log-view.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { TaskView } from '../../actors/serving/task-directory.ts';
import { standingNow } from '../api/standing.ts';
import { ByteSink } from './byte-sink.ts';
import type { ByteRange, Feed } from './feed.ts';
import { type FrameVisitor, type TokenJson, visitFrames } from './token-frames.ts';

/** The end of a task, as it was logged. */
export interface EndJson {
	readonly tokens_in: number;
	readonly tokens_out: number;
	readonly finish_reason: 'stop' | 'length' | 'tool_calls' | 'canceled';
	/** The stop string that ended it, where that is known. */
	readonly stop_sequence?: string;
}

/** How an API says it. `choice` is the index of the task among those of the request. */
export interface Dialect {
	/** True: each piece of text is told by itself, however far its reader is behind. */
	readonly unmerged?: boolean;
	/** Before all else, at once. */
	open?(out: ByteSink): void;
	/** Before the first piece of a choice, or its end. */
	begin(out: ByteSink, choice: number): void;
	/** Around the text of a piece, or of several that follow each other. */
	openText(out: ByteSink, choice: number): void;
	/** `tokens`: of those pieces. */
	closeText(out: ByteSink, choice: number, tokens: number): void;
	/** A thought, a part of a call, or text with its log-probability. */
	piece(out: ByteSink, choice: number, token: TokenJson): void;
	end(out: ByteSink, choice: number, end: EndJson): void;
	/** Instead of all that would follow, of all choices. */
	fail(out: ByteSink, problem: Failure): void;
	/** Behind the ends of all choices. */
	finish(out: ByteSink): void;
	/** Comments behind all that, a line each. */
	lastComments(): readonly string[];
	/** The last words of a stream that went well. */
	readonly farewell: string;
}

const out = new ByteSink();
/** What a dialect writes is this many times longer than what it is written from, or less. */
const growth = 4;

export class DialectFeed implements Feed {
	readonly #choices: readonly Choice[];
	readonly #dialect: Dialect;
	#opened = false;
	#failed = false;
	finished = false;

	/** One task at least. */
	constructor(tasks: readonly TaskView[], dialect: Dialect) {
		this.#dialect = dialect;
		this.#choices = tasks.map((task, index) => new Choice(task, index, dialect, (problem) => this.#fail(problem)));
	}

	get correlationId(): string {
		return this.#first.request.correlationId;
	}

	get hasEnd(): boolean {
		return this.#choices.every(({ task }) => task.log.ended);
	}

	get hasMore(): boolean {
		return !this.finished && this.#choices.some((choice) => choice.cursor < choice.task.log.lastSeq);
	}

	get lost(): boolean {
		return !this.finished && this.#choices.some(({ task: { log }, cursor }) => log.forgotten && (cursor < log.lastSeq || !log.ended));
	}

	get standingVersion(): number {
		return this.#first.standingVersion;
	}

	get phase(): string {
		return this.#first.phase;
	}

	attach(moved: () => void): void {
		for (const choice of this.#choices) choice.attach(moved);
	}

	leave(): void {
		for (const choice of this.#choices) choice.leave();
	}

	next(bytesMax: number, merged: boolean): ByteRange | null {
		if (this.finished) return null;
		if (!this.#opened) this.#dialect.open?.(out);
		this.#opened = true;
		const share = Math.ceil(bytesMax / growth / this.#choices.length);
		// A slice of which nothing is told is no end: null means that nobody has more.
		do for (const choice of this.#choices) if (!this.#failed) choice.write(share, merged && this.#dialect.unmerged !== true);
		while (out.used === 0 && !this.#failed && this.hasMore && !this.lost);
		if (this.#failed || this.#choices.every((choice) => choice.ended)) this.#finish();
		if (out.used === 0) return null;
		const bytes = out.take();
		return { bytes, start: 0, end: bytes.length };
	}

	standing(now: number): Uint8Array | null {
		const { state, standing } = this.#first;
		if (state !== 'queued' || standing === null) return null;
		const { position, predictedStartMs } = standingNow(standing, now);
		return Buffer.from(`: queue {"position":${position},"eta_ms":${Math.round(predictedStartMs)}}\n\n`);
	}

	get #first(): TaskView {
		return (this.#choices[0] as Choice).task;
	}

	/** The others are of no use without it. */
	#fail(problem: Failure): void {
		this.#failed = true;
		this.#dialect.fail(out, problem);
		for (const { task } of this.#choices) task.ref.tell({ type: 'cancel', reason: 'client', replyTo: null });
	}

	#finish(): void {
		this.finished = true;
		if (!this.#failed) this.#dialect.finish(out);
		const comments = this.#dialect.lastComments();
		if (comments.length > 0) out.text(`: ${comments.join('\n: ')}\n\n`);
		if (!this.#failed) out.text(this.#dialect.farewell);
	}
}

/** One task of the request, and how far it has been told. */
class Choice implements FrameVisitor {
	readonly task: TaskView;
	cursor: number;
	ended = false;
	readonly #index: number;
	readonly #dialect: Dialect;
	readonly #fail: (problem: Failure) => void;
	#begun = false;
	#textOpen = false;
	/** Of the text that is open. */
	#tokens = 0;
	#merged = false;
	#unsubscribe: () => void = () => undefined;

	constructor(task: TaskView, index: number, dialect: Dialect, fail: (problem: Failure) => void) {
		this.task = task;
		this.cursor = task.log.firstSeq - 1;
		this.#index = index;
		this.#dialect = dialect;
		this.#fail = fail;
	}

	attach(moved: () => void): void {
		this.#unsubscribe = this.task.log.subscribe(moved);
		this.task.ref.tell({ type: 'watcher-attached' });
	}

	leave(): void {
		this.#unsubscribe();
		this.task.ref.tell({ type: 'watcher-gone' });
	}

	write(bytesMax: number, merged: boolean): void {
		const log: EventLogView = this.task.log;
		if (this.cursor >= log.lastSeq) return;
		const slice = log.slice(this.cursor, bytesMax);
		if (slice === null) return;
		this.cursor = slice.lastSeq;
		this.#merged = merged;
		visitFrames(slice, this);
		this.#closeText();
	}

	text(from: Buffer, start: number, end: number, tokens: number): void {
		if (!this.#textOpen) {
			if (!this.#begun) this.#begin();
			this.#dialect.openText(out, this.#index);
			this.#textOpen = true;
		}
		out.range(from, start, end);
		this.#tokens += tokens;
		if (!this.#merged) this.#closeText();
	}

	piece(token: TokenJson): void {
		this.#closeText();
		if (!this.#begun) this.#begin();
		this.#dialect.piece(out, this.#index, token);
	}

	event(name: 'started' | 'end' | 'error', json: string): void {
		if (name === 'started') return;
		this.#closeText();
		this.ended = true;
		if (name === 'error') return this.#fail(failureIn(json));
		const end = JSON.parse(json) as EndJson;
		if (end.finish_reason === 'canceled') return this.#fail(canceled());
		if (!this.#begun) this.#begin();
		this.#dialect.end(out, this.#index, end);
	}

	#begin(): void {
		this.#begun = true;
		this.#dialect.begin(out, this.#index);
	}

	#closeText(): void {
		if (!this.#textOpen) return;
		this.#textOpen = false;
		this.#dialect.closeText(out, this.#index, this.#tokens);
		this.#tokens = 0;
	}
}

/** Not what a client of such an API has asked for: it would have left. */
export function canceled(): Failure {
	return failure('CANCELED', 'the task was cancelled, and makes no answer any more');
}

function failureIn(json: string): Failure {
	const {
		code,
		message,
		retriable,
		retry_after_ms: retryAfterMs,
	} = JSON.parse(json) as {
		readonly code: Failure['code'];
		readonly message: string;
		readonly retriable: boolean;
		readonly retry_after_ms?: number;
	};
	return failure(code, message, { retriable, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) });
}
