/**
 * What the clients of a daemon were told of their durable tasks, over all lives of that daemon, and whether what it tells now agrees with
 * it. A promise that was broken is noted with all that was known of its task.
 */
import { type SeenEvent, textOf } from './client.ts';

export interface TaskBody {
	readonly model_ref: string;
	readonly prompt: string;
	readonly seed: number;
	readonly max_tokens: number;
	readonly priority: 'batch';
	readonly task_id?: string;
}

/** One request, and what was said of it. */
export interface Told {
	readonly body: TaskBody;
	readonly key: string | null;
	/** Of its 202; null: it was never answered, and may have been taken or not. */
	taskId: string | null;
	/** Which life of the daemon took it, or was asked. */
	readonly life: number;
	/** `told`: a 204 came. */
	cancel: 'no' | 'asked' | 'told';
	/** The last run that was seen, and its events in order. */
	run: number;
	events: SeenEvent[];
	/** Its one end, once anybody has been told. */
	end: { readonly run: number; readonly event: SeenEvent } | null;
	/** As `GET …/result` said, the first time. */
	result: string | null;
	/** In which life it was looked at with its end, last. */
	checked: number;
}

const terminal: ReadonlySet<string> = new Set(['end', 'error']);

export class CrashLedger {
	readonly all: Told[] = [];
	readonly broken: string[] = [];
	/** By seed: the longest text that any run made. */
	readonly #texts = new Map<number, string>();
	counts = { accepted: 0, cancelled: 0, ended: 0, resumed: 0, expired: 0, again: 0 };

	add(body: TaskBody, key: string | null, life: number): Told {
		const told: Told = {
			body,
			key,
			taskId: null,
			life,
			cancel: 'no',
			run: 0,
			events: [],
			end: null,
			result: null,
			checked: 0,
		};
		this.all.push(told);
		return told;
	}

	/** A 202: also of the same request again. */
	accepted(told: Told, taskId: string): void {
		if (told.taskId === null) this.counts.accepted += 1;
		else if (told.taskId !== taskId) this.fail(told, `the same request named task ${taskId}`);
		told.taskId = taskId;
		if (told.body.task_id !== undefined && told.body.task_id !== taskId) this.fail(told, `was taken as ${taskId}`);
		const other = this.all.find((each) => each !== told && each.taskId === taskId);
		if (other !== undefined) this.fail(told, `has the id of another task: ${JSON.stringify(other.body)}`);
	}

	/** In words; null: no promise was broken. */
	get verdict(): string | null {
		const { broken } = this;
		return broken.length === 0 ? null : `${broken.length} broken promises:\n${broken.slice(0, 8).join('\n')}`;
	}

	/** Accepted, and nobody has been told how it ended. */
	get open(): Told[] {
		return this.all.filter(({ taskId, end }) => taskId !== null && end === null);
	}

	/** One more numbered event, as a watcher in this life read it. */
	saw(told: Told, event: SeenEvent, life: number): void {
		const { id, run } = event;
		if (id === null || run === null) return this.fail(told, `event ${event.name} has id ${String(id)} of run ${String(run)}`);
		if (told.end !== null && (run !== told.end.run || id > (told.end.event.id ?? 0)))
			return this.fail(told, `${event.name} ${run}.${id} came behind its end`);
		if (run < told.run) return this.fail(told, `run ${run} came behind run ${told.run}`);
		if (run > life - told.life + 1) return this.fail(told, `run ${run} in life ${life}`);
		if (run > told.run) {
			told.run = run;
			told.events = [];
		}
		const known = told.events.find((each) => each.id === id);
		if (known !== undefined) {
			if (JSON.stringify(known) !== JSON.stringify(event))
				this.fail(told, `event ${run}.${id} was ${JSON.stringify(known)}, is ${JSON.stringify(event)}`);
			return;
		}
		// The text of a run may come in pieces of any size; its numbers have no gap.
		if (id <= (told.events.at(-1)?.id ?? 0)) return this.fail(told, `event ${run}.${id} came late`);
		told.events.push(event);
		this.#checkText(told);
		if (terminal.has(event.name)) this.#ended(told, run, event);
	}

	fail(told: Told, words: string): void {
		const { body, key, taskId, life, cancel, run, end } = told;
		const events = told.events.map(({ id, name }) => (name === 'token' ? id : `${name} ${id}`)).join(' ');
		this.broken.push(`${words}: ${JSON.stringify({ body, key, taskId, life, cancel, run, end: end?.event.data ?? null, events })}`);
	}

	#ended(told: Told, run: number, event: SeenEvent): void {
		this.counts.ended += 1;
		told.end = { run, event };
		const { data } = event;
		if (event.name === 'error') this.fail(told, `failed: ${JSON.stringify(data)}`);
		else if (told.cancel === 'no' && data['canceled'] === true) this.fail(told, 'was cancelled by nobody');
		else if (data['canceled'] !== true && data['tokens_out'] !== told.body.max_tokens) this.fail(told, 'ended early');
	}

	/** Runs of one prompt with one seed make one text, as far as each goes. */
	#checkText(told: Told): void {
		const text = textOf(told.events);
		const known = this.#texts.get(told.body.seed) ?? '';
		if (!known.startsWith(text) && !text.startsWith(known)) this.fail(told, `made another text in run ${told.run}`);
		else if (text.length > known.length) this.#texts.set(told.body.seed, text);
	}
}
