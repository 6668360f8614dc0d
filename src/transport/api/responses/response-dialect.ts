/**
 * A stream of `/v1/responses`: its events as OpenAI documents them. What is told, and its sequence numbers, follow from the log alone, so that whoever
 * comes back is told the same. On the front thread.
 */
import type { Failure } from '../../../actors/serving/failure.ts';
import type { TaskView } from '../../../actors/serving/task-directory.ts';
import type { Clock } from '../../clock.ts';
import type { ByteSink } from '../../stream/byte-sink.ts';
import type { EndJson } from '../../stream/dialect-feed.ts';
import { answerOf, type Segment } from '../answer.ts';
import { type Block, BlockDialect } from '../block-dialect.ts';
import { inputOf } from '../custom-tools.ts';
import { timingComments } from '../openai/answer-context.ts';
import { type ItemStatus, itemId, outputItem, outputPart } from './response-items.ts';
import { knownTools, type Recipe, type ResponseStatus, responseAt } from './response-json.ts';
import { isCustom, type ToolTable } from './response-tools.ts';

export interface ResponseContext {
	readonly recipe: Recipe;
	readonly task: TaskView;
	readonly arrivedAt: number;
	readonly clock: Clock;
	/** Only events behind this sequence number are told; −1: all. */
	readonly after: number;
}

const textTail = Buffer.from('"}\n\n');

export class ResponseDialect extends BlockDialect {
	readonly farewell = '';
	readonly unmerged = true;
	readonly #context: ResponseContext;
	readonly #known: ToolTable['known'];
	#sequence = 0;
	/** Where a piece of text begins that is not told; −1: it is. */
	#silentFrom = -1;

	constructor(context: ResponseContext) {
		super();
		this.#context = context;
		this.#known = knownTools(context.recipe.echo);
	}

	open(out: ByteSink): void {
		const { background } = this.#context.recipe;
		this.#tell(out, 'response.created', { response: this.#response(background ? 'queued' : 'in_progress') });
		if (background) this.#tell(out, 'response.queued', { response: this.#response('queued') });
	}

	begin(out: ByteSink): void {
		this.#tell(out, 'response.in_progress', { response: this.#response('in_progress') });
	}

	fail(out: ByteSink, problem: Failure): void {
		const status = this.#context.task.finishReason === 'canceled' ? 'cancelled' : 'failed';
		this.#tell(out, 'response.failed', { response: this.#response(status, problem) });
	}

	lastComments(): readonly string[] {
		const { task, arrivedAt, clock } = this.#context;
		return timingComments({ tasks: [task], arrivedAt, now: () => clock.now() });
	}

	protected start(out: ByteSink, { kind, index, id, name }: Block): void {
		const segment: Segment = kind === 'call' ? { kind, id, name, arguments: '' } : { kind, text: '' };
		this.#tell(out, 'response.output_item.added', { output_index: index, item: this.#item(segment, index, 'in_progress') });
		if (segment.kind !== 'call') this.#tell(out, 'response.content_part.added', { ...this.#at(kind, index), part: outputPart(segment) });
	}

	protected delta(out: ByteSink, { kind, index, name }: Block, delta: string): void {
		if (kind === 'text') this.#tell(out, 'response.output_text.delta', { ...this.#at(kind, index), delta, logprobs: [] });
		else if (kind === 'reasoning') this.#tell(out, 'response.reasoning_text.delta', { ...this.#at(kind, index), delta });
		else if (!isCustom(name, this.#known))
			this.#tell(out, 'response.function_call_arguments.delta', { item_id: this.#id(kind, index), output_index: index, delta });
	}

	protected stop(out: ByteSink, { kind, index }: Block): void {
		// It is whole in the log: what follows it was read there.
		const segment = answerOf(this.#context.task.log).segments[index];
		if (segment === undefined) return;
		if (segment.kind === 'call') {
			const item = { item_id: this.#id(kind, index), output_index: index };
			if (isCustom(segment.name, this.#known)) {
				// The text is an argument: it is known once the arguments are whole.
				const input = inputOf(segment.arguments);
				this.#tell(out, 'response.custom_tool_call_input.delta', { ...item, delta: input });
				this.#tell(out, 'response.custom_tool_call_input.done', { ...item, input });
			} else {
				const name = this.#known.get(segment.name)?.name ?? segment.name;
				this.#tell(out, 'response.function_call_arguments.done', { ...item, name, arguments: segment.arguments });
			}
		} else {
			const { text } = segment;
			if (kind === 'text') this.#tell(out, 'response.output_text.done', { ...this.#at(kind, index), text, logprobs: [] });
			else this.#tell(out, 'response.reasoning_text.done', { ...this.#at(kind, index), text });
			this.#tell(out, 'response.content_part.done', { ...this.#at(kind, index), part: outputPart(segment) });
		}
		const status = this.ending?.finish_reason === 'length' ? 'incomplete' : 'completed';
		this.#tell(out, 'response.output_item.done', { output_index: index, item: this.#item(segment, index, status) });
	}

	protected textHead(out: ByteSink, { kind, index }: Block): void {
		const sequence = this.#sequence;
		this.#sequence += 1;
		this.#silentFrom = sequence <= this.#context.after ? out.used : -1;
		if (this.#silentFrom >= 0) return;
		const head = JSON.stringify({
			type: 'response.output_text.delta',
			sequence_number: sequence,
			...this.#at(kind, index),
			logprobs: [],
			delta: '',
		});
		out.text(`event: response.output_text.delta\ndata: ${head.slice(0, -2)}`);
	}

	protected textTail(out: ByteSink): void {
		if (this.#silentFrom >= 0) out.used = this.#silentFrom;
		else out.bytes(textTail);
	}

	protected over(out: ByteSink, end: EndJson): void {
		const status = end.finish_reason === 'length' ? 'incomplete' : 'completed';
		this.#tell(out, `response.${status}`, { response: this.#response(status) });
	}

	#tell(out: ByteSink, type: string, fields: object): void {
		const sequence = this.#sequence;
		this.#sequence += 1;
		if (sequence <= this.#context.after) return;
		out.text(`event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: sequence, ...fields })}\n\n`);
	}

	#response(status: ResponseStatus, problem: Failure | null = null): object {
		const { recipe, task, clock } = this.#context;
		return responseAt(recipe, task, clock, status, problem);
	}

	#item(segment: Segment, index: number, status: ItemStatus): object {
		return outputItem(segment, index, this.#context.task.request.taskId, status, this.#known);
	}

	#at(kind: Segment['kind'], index: number): object {
		return { item_id: this.#id(kind, index), output_index: index, content_index: 0 };
	}

	#id(kind: Segment['kind'], index: number): string {
		return itemId({ kind }, index, this.#context.task.request.taskId);
	}
}
