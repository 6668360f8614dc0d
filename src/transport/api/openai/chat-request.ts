/**
 * From a checked body of a chat or a raw completion to the bodies of native tasks, one for each answer, and to how they are to be told. Pure. What
 * the native body cannot say, or says of other engines, is refused there.
 */
import { type Parsed, refused } from '../json-body.ts';
import type { TaskBody } from '../schemas.ts';
import { seedMax } from '../schemas.ts';
import type { ChatBody, CompletionBody, Extension } from './chat-schemas.ts';
import { choicesMax } from './chat-schemas.ts';

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
	/** Put before each answer; by prompt. */
	readonly echo: readonly string[] | null;
}

export function chatRequest(body: ChatBody): Parsed<GenerationRequest> {
	const {
		response_format: format,
		tools,
		tool_choice: choice,
		reasoning_effort: effort,
		chat_template_kwargs: template,
		top_logprobs: tops,
	} = body;
	if ((tops ?? 0) > 0 && body.logprobs !== true) return refused('top_logprobs is given without logprobs: true, to which it belongs');
	const templateArgs = { ...template, ...(effort === undefined ? {} : { reasoning_effort: effort }) };
	const maxTokens = body.max_completion_tokens ?? body.max_tokens;
	const hasTools = tools !== undefined && tools.length > 0;
	if (!hasTools && choice !== undefined && choice !== 'none' && choice !== 'auto') return refused('tool_choice is given without tools');
	const native: TaskBody = {
		...commonBody(body),
		messages: body.messages.map(messageOf),
		...(maxTokens === undefined ? {} : { max_tokens: maxTokens }),
		...(hasTools ? { tools, ...(choice === undefined ? {} : { tool_choice: choice }) } : {}),
		...(body.parallel_tool_calls === undefined ? {} : { parallel_tool_calls: body.parallel_tool_calls }),
		...(Object.keys(templateArgs).length === 0 ? {} : { template_args: templateArgs }),
		sampling: {
			...samplingBody(body),
			...(body.logprobs === true ? { logprobs: true } : {}),
			...((tops ?? 0) > 0 ? { top_logprobs: tops as number } : {}),
			...(format?.type === 'json_object' ? { json_object: true } : {}),
			...(format?.type === 'json_schema' ? { json_schema: format.json_schema.schema } : {}),
		},
	};
	return { ok: true, value: { path: 'chat', bodies: [native], echo: null, logprobs: body.logprobs === true, ...howToTell(body) } };
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
	const native = (prompt: string): TaskBody => ({
		...commonBody(body),
		prompt,
		raw: true,
		max_tokens: body.max_tokens ?? 16,
		sampling: {
			...samplingBody(body),
			...(body.logprobs === undefined ? {} : { logprobs: true }),
			...((body.logprobs ?? 0) > 0 ? { top_logprobs: body.logprobs as number } : {}),
		},
	});
	return {
		ok: true,
		value: {
			path: 'completion',
			bodies: prompts.map(native),
			echo: body.echo === true ? prompts : null,
			logprobs: body.logprobs !== undefined,
			...howToTell(body),
		},
	};
}

/** What of a message has a meaning here. */
function messageOf({
	role,
	content,
	name,
	tool_calls: calls,
	tool_call_id: callId,
}: ChatBody['messages'][number]): NonNullable<TaskBody['messages']>[number] {
	return {
		role,
		...(content === undefined ? {} : { content }),
		...(typeof name === 'string' && name !== '' ? { name } : {}),
		...(calls === undefined || calls === null || calls.length === 0
			? {}
			: { tool_calls: calls.map(({ id, function: called }) => ({ id, function: { name: called.name, arguments: called.arguments } })) }),
		...(typeof callId === 'string' && callId !== '' ? { tool_call_id: callId } : {}),
	};
}

/** What all APIs of others have: our extension, with a client that is waited for. */
export function extendedBody(
	model: string,
	extension: Extension | undefined,
): Pick<TaskBody, 'model_ref' | 'on_disconnect'> & Partial<TaskBody> {
	return { model_ref: model, on_disconnect: 'cancel', ...extension };
}

function howToTell({ model, n, stream, stream_options: options }: ChatBody | CompletionBody) {
	const includeUsage = options?.include_usage === true;
	const continuousUsage = includeUsage && options.continuous_usage_stats === true;
	return { model, n: n ?? 1, stream: stream === true, includeUsage, continuousUsage };
}

function commonBody({ model, orchestratord, seed }: ChatBody | CompletionBody) {
	// Any whole number is a seed to them.
	const least = seed === undefined ? undefined : ((seed % (seedMax + 1)) + seedMax + 1) % (seedMax + 1);
	return { ...extendedBody(model, orchestratord), ...(least === undefined ? {} : { seed: least }) };
}

function samplingBody(body: ChatBody | CompletionBody) {
	const { stop, logit_bias: bias } = body;
	const stops = (typeof stop === 'string' ? [stop] : (stop ?? [])).filter((text) => text !== '');
	return {
		temperature: body.temperature ?? 1,
		top_p: body.top_p ?? 1,
		top_k: Math.max(0, body.top_k ?? 0),
		min_p: body.min_p ?? 0,
		repeat_penalty: body.repetition_penalty ?? body.repeat_penalty ?? 1,
		presence_penalty: body.presence_penalty ?? 0,
		frequency_penalty: body.frequency_penalty ?? 0,
		...(stops.length === 0 ? {} : { stop: stops }),
		...(bias === undefined ? {} : { logit_bias: bias }),
		...(body.ignore_eos === undefined ? {} : { ignore_eos: body.ignore_eos }),
		...(body.min_tokens === undefined ? {} : { min_tokens: body.min_tokens }),
	};
}
