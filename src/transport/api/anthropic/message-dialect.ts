/** `/v1/messages`: answers whole and as a stream of events, in the shape of Anthropic. On the front thread. */
import type { Failure } from '../../../actors/serving/failure.ts';
import type { TaskView } from '../../../actors/serving/task-directory.ts';
import type { ByteSink } from '../../stream/byte-sink.ts';
import type { EndJson } from '../../stream/dialect-feed.ts';
import { answerOf, type Segment } from '../answer.ts';
import { type Block, BlockDialect } from '../block-dialect.ts';
import { envelopeOf } from '../errors.ts';
import { timingComments } from '../openai/answer-context.ts';
import { anthropicError } from './anthropic-errors.ts';
import type { MessagesRequest } from './message-request.ts';

export interface MessageContext {
	readonly request: MessagesRequest;
	readonly task: TaskView;
	readonly arrivedAt: number;
	readonly now: () => number;
}

/** All has ended well. */
export function wholeMessage({ request, task }: MessageContext): object {
	const { tokensIn, tokensOut, finishReason } = task;
	const stop = finishReason === 'canceled' || finishReason === null ? 'stop' : finishReason;
	const { segments } = answerOf(task.log);
	const end = { finish_reason: stop, ...(task.stopSequence === null ? {} : { stop_sequence: task.stopSequence }) } as const;
	return {
		...messageHead(request, task),
		content: contentOf(segments, request.thinking),
		...stopOf(
			end,
			segments.some(({ kind }) => kind === 'call'),
		),
		usage: usageOf(task, tokensIn, tokensOut),
	};
}

export class MessageDialect extends BlockDialect {
	readonly farewell = event('message_stop', {});
	readonly #context: MessageContext;
	#pinged = false;
	#calls = false;
	#textHead = Buffer.alloc(0);
	#textHeadOf = -1;

	constructor(context: MessageContext) {
		super();
		this.#context = context;
	}

	begin(out: ByteSink): void {
		const { request, task } = this.#context;
		const message = {
			...messageHead(request, task),
			content: [],
			stop_reason: null,
			stop_sequence: null,
			usage: usageOf(task, task.tokensIn, 0),
		};
		out.text(event('message_start', { message }));
	}

	fail(out: ByteSink, problem: Failure): void {
		out.text(event('error', anthropicError(envelopeOf(problem, this.#context.task.request.correlationId))));
	}

	lastComments(): readonly string[] {
		return timingComments({ ...this.#context, tasks: [this.#context.task] });
	}

	protected override tells(kind: Segment['kind']): boolean {
		return kind !== 'reasoning' || this.#context.request.thinking;
	}

	protected start(out: ByteSink, { kind, index, id, name }: Block): void {
		const empty =
			kind === 'text'
				? { type: 'text', text: '' }
				: kind === 'reasoning'
					? { type: 'thinking', thinking: '', signature: '' }
					: { type: 'tool_use', id, name, input: {} };
		this.#calls ||= kind === 'call';
		out.text(event('content_block_start', { index, content_block: empty }));
		if (!this.#pinged) out.text(event('ping', {}));
		this.#pinged = true;
	}

	protected delta(out: ByteSink, { kind, index }: Block, text: string): void {
		const delta =
			kind === 'text'
				? { type: 'text_delta', text }
				: kind === 'reasoning'
					? { type: 'thinking_delta', thinking: text }
					: { type: 'input_json_delta', partial_json: text };
		out.text(event('content_block_delta', { index, delta }));
	}

	protected stop(out: ByteSink, { index }: Block): void {
		out.text(event('content_block_stop', { index }));
	}

	protected textHead(out: ByteSink, { index }: Block): void {
		if (index !== this.#textHeadOf) {
			this.#textHead = Buffer.from(
				`event: content_block_delta\ndata: {"type":"content_block_delta","index":${index},"delta":{"type":"text_delta","text":"`,
			);
			this.#textHeadOf = index;
		}
		out.bytes(this.#textHead);
	}

	protected textTail(out: ByteSink): void {
		out.bytes(textTail);
	}

	protected over(out: ByteSink, end: EndJson): void {
		const usage = usageOf(this.#context.task, end.tokens_in, end.tokens_out);
		out.text(event('message_delta', { delta: stopOf(end, this.#calls), usage }));
	}
}

const textTail = Buffer.from('"}}\n\n');

function event(type: string, fields: object): string {
	return `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;
}

/** The same for each who attaches to the task. */
function messageHead({ model }: MessagesRequest, { request }: TaskView) {
	return { id: `msg_${request.taskId}`, type: 'message', role: 'assistant', model };
}

/** `input_tokens` are those that were not found in a cache. */
function usageOf({ tokensCached }: TaskView, tokensIn: number, tokensOut: number) {
	const cached = Math.min(tokensCached ?? 0, tokensIn);
	return {
		input_tokens: tokensIn - cached,
		cache_creation_input_tokens: 0,
		cache_read_input_tokens: cached,
		output_tokens: tokensOut,
	};
}

/** An engine that had to call one tool may say that it came to a stop, as OpenAI has it: here it is a call. */
function stopOf({ finish_reason: reason, stop_sequence: stopped }: Pick<EndJson, 'finish_reason' | 'stop_sequence'>, calls: boolean) {
	if (stopped !== undefined) return { stop_reason: 'stop_sequence', stop_sequence: stopped };
	return {
		stop_reason: reason === 'length' ? 'max_tokens' : calls || reason === 'tool_calls' ? 'tool_use' : 'end_turn',
		stop_sequence: null,
	};
}

function contentOf(segments: readonly Segment[], thinking: boolean): object[] {
	const content: ({ type: 'text'; text: string } | { type: 'thinking' | 'tool_use' })[] = [];
	for (const segment of segments) {
		const last = content.at(-1);
		if (segment.kind === 'call') {
			const { id, name, arguments: given } = segment;
			content.push({ type: 'tool_use', ...{ id, name, input: inputOf(given) } });
		} else if (segment.kind === 'text') {
			// On both sides of a thought that is not told.
			if (last?.type === 'text') last.text += segment.text;
			else content.push({ type: 'text', text: segment.text });
		} else if (thinking) content.push({ type: 'thinking', ...{ thinking: segment.text, signature: '' } });
	}
	return content;
}

/** What is no JSON object, for it was cut or written wrong, is told as Anthropic says to tell it. */
function inputOf(given: string): object {
	if (given === '') return {};
	try {
		const input: unknown = JSON.parse(given);
		if (typeof input === 'object' && input !== null && !Array.isArray(input)) return input;
	} catch (problem) {
		if (!(problem instanceof SyntaxError)) throw problem;
	}
	return { INVALID_JSON: given };
}
