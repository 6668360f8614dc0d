/**
 * From a checked body of a chat or a raw completion to the bodies of native tasks, one for each answer, and to how they are to be told. Pure. What
 * the native body cannot say, or says of other engines, is refused there.
 */
import { type Parsed, refused } from '../json-body.ts';
import type { TaskBody } from '../schemas.ts';
import { seedMax } from '../schemas.ts';
import type { ChatBody, CompletionBody, Extension } from './chat-schemas.ts';
import { choicesMax } from './chat-schemas.ts';
import { callProblem, chatTools, nativeCall, noCustom } from './chat-tools.ts';

/** A request of the completions paths. */
export interface GenerationRequest {
	readonly path: 'chat' | 'completion';
	readonly model: string;
	/** A native body for each prompt; each is asked `n` times, the seed one more each time. */
	readonly bodies: readonly TaskBody[];
	readonly n: number;
	readonly stream: boolean;
	readonly includeUsage: boolean;
	/** Each chunk tells the tokens so far. */
	readonly continuousUsage: boolean;
	readonly logprobs: boolean;
	/** Names of tools whose input is a text: their calls are told so. */
	readonly custom: ReadonlySet<string>;
	/** Put before each answer; by prompt. */
	readonly echo: readonly string[] | null;
}

export function chatRequest(body: ChatBody): Parsed<GenerationRequest> {
	const { response_format: format, reasoning_effort: effort, chat_template_kwargs: template, top_logprobs: tops } = body;
	if ((tops ?? 0) > 0 && body.logprobs !== true) return refused('top_logprobs is given without logprobs: true, to which it belongs');
	const maxTokens = body.max_completion_tokens ?? body.max_tokens;
	const tools = chatTools(body);
	if (!tools.ok) return tools;
	const problem = callProblem(body.messages);
	if (problem !== null) return refused(problem);
	const sampling = samplingBody(body);
	if (body.logprobs === true) sampling.logprobs = true;
	if (tops !== undefined && tops > 0) sampling.top_logprobs = tops;
	if (format?.type === 'json_object') sampling.json_object = true;
	else if (format?.type === 'json_schema') sampling.json_schema = format.json_schema.schema;
	const native = commonBody(body, sampling);
	native.messages = body.messages.map(messageOf);
	if (maxTokens !== undefined) native.max_tokens = maxTokens;
	if (tools.value.tools !== undefined) native.tools = tools.value.tools;
	if (tools.value.choice !== undefined) native.tool_choice = tools.value.choice;
	if (body.parallel_tool_calls !== undefined) native.parallel_tool_calls = body.parallel_tool_calls;
	if (effort !== undefined) native.template_args = { ...template, reasoning_effort: effort };
	else if (template !== undefined && Object.keys(template).length > 0) native.template_args = template;
	return { ok: true, value: told(body, 'chat', [native], body.logprobs === true, null, tools.value.custom) };
}

export function completionRequest(body: CompletionBody): Parsed<GenerationRequest> {
	const prompts = typeof body.prompt === 'string' ? [body.prompt] : body.prompt;
	const n = body.n ?? 1;
	if (prompts.length * n > choicesMax)
		return refused(`prompt and n ask for ${prompts.length * n} answers; at most ${choicesMax} are given to one request`);
	if (body.best_of !== undefined && body.best_of !== n) return refused(`best_of is ${body.best_of}; it must be absent, or as n`);
	if (body.echo === true && body.logprobs !== undefined)
		return refused('echo is given with logprobs; the log-probabilities of a prompt are not known here');
	const empty = prompts.indexOf('');
	if (empty >= 0) return refused('prompt is an empty text; there is nothing to go on from');
	const native = (prompt: string): TaskBody => {
		const sampling = samplingBody(body);
		if (body.logprobs !== undefined) sampling.logprobs = true;
		if (body.logprobs !== undefined && body.logprobs > 0) sampling.top_logprobs = body.logprobs;
		const made = commonBody(body, sampling);
		made.prompt = prompt;
		made.raw = true;
		made.max_tokens = body.max_tokens ?? 16;
		return made;
	};
	const echo = body.echo === true ? prompts : null;
	return { ok: true, value: told(body, 'completion', prompts.map(native), body.logprobs !== undefined, echo, noCustom) };
}

/** What of a message has a meaning here. */
function messageOf({ role, content, name, tool_calls: calls, tool_call_id: callId }: ChatBody['messages'][number]): Message {
	const message: Message = content === undefined ? { role } : { role, content };
	if (typeof name === 'string' && name !== '') message.name = name;
	if (calls !== undefined && calls !== null && calls.length > 0) message.tool_calls = calls.map(nativeCall);
	if (typeof callId === 'string' && callId !== '') message.tool_call_id = callId;
	return message;
}

type Message = NonNullable<TaskBody['messages']>[number];

/** What all APIs of others have: our extension, with a client that is waited for. */
export function extendedBody(
	model: string,
	extension: Extension | undefined,
): Pick<TaskBody, 'model_ref' | 'on_disconnect'> & Partial<TaskBody> {
	return { model_ref: model, on_disconnect: 'cancel', ...extension };
}

function told(
	{ model, n, stream, stream_options: options }: ChatBody | CompletionBody,
	path: GenerationRequest['path'],
	bodies: readonly TaskBody[],
	logprobs: boolean,
	echo: readonly string[] | null,
	custom: ReadonlySet<string>,
): GenerationRequest {
	const includeUsage = options?.include_usage === true;
	const continuousUsage = includeUsage && options.continuous_usage_stats === true;
	return { path, model, bodies, n: n ?? 1, stream: stream === true, includeUsage, continuousUsage, logprobs, custom, echo };
}

function commonBody({ model, orchestratord, seed }: ChatBody | CompletionBody, sampling: SamplingBody): TaskBody {
	const native: TaskBody =
		orchestratord === undefined
			? { model_ref: model, on_disconnect: 'cancel', sampling }
			: { ...extendedBody(model, orchestratord), sampling };
	// Any whole number is a seed to them.
	if (seed !== undefined) native.seed = ((seed % (seedMax + 1)) + seedMax + 1) % (seedMax + 1);
	return native;
}

type SamplingBody = NonNullable<TaskBody['sampling']>;

function samplingBody(body: ChatBody | CompletionBody): SamplingBody {
	const { stop, logit_bias: bias } = body;
	const sampling: SamplingBody = {
		temperature: body.temperature ?? 1,
		top_p: body.top_p ?? 1,
		top_k: Math.max(0, body.top_k ?? 0),
		min_p: body.min_p ?? 0,
		repeat_penalty: body.repetition_penalty ?? body.repeat_penalty ?? 1,
		presence_penalty: body.presence_penalty ?? 0,
		frequency_penalty: body.frequency_penalty ?? 0,
	};
	const stops = typeof stop === 'string' ? [stop] : stop;
	const ends = stops?.filter((text) => text !== '') ?? [];
	if (ends.length > 0) sampling.stop = ends;
	if (bias !== undefined) sampling.logit_bias = bias;
	if (body.ignore_eos !== undefined) sampling.ignore_eos = body.ignore_eos;
	if (body.min_tokens !== undefined) sampling.min_tokens = body.min_tokens;
	return sampling;
}
