/**
 * Chats of Triton, which has no template: rendered by the one that the pool names. What stands at the beginning of a text is left to the
 * engine's tokenizer, which puts it there itself (`add_special_tokens` of vLLM and of the preprocessing model of TensorRT-LLM). Special tokens
 * that a message spells out are special there, as in any text that the engine is given. Front threads; checked once on an engine thread.
 */
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import { ChatRendering, TemplateError, withParsedArguments } from '../chat-rendering.ts';
import { type EngineOptions, UpstreamProblem, type UpstreamTarget } from '../upstream/adapter.ts';
import { fieldsOf, textOf } from '../upstream/json-fields.ts';

/** As calls have it. */
interface FoundTemplate {
	readonly source: string;
	readonly eosText: string;
}

const renderings = new WeakMap<UpstreamTarget, ChatRendering>();

/** Of the configuration; null: it names none. Throws `UpstreamProblem` where it is no template. */
export function templateIn({ chat_template: source, eos_token: eos }: EngineOptions): FoundTemplate | null {
	if (typeof source !== 'string') return null;
	const template = { source, eosText: typeof eos === 'string' ? eos : '' };
	try {
		renderingWith(template);
	} catch (error) {
		if (!(error instanceof TemplateError)) throw error;
		throw new UpstreamProblem(failure('POOL_UNAVAILABLE', `triton.chat_template: ${error.message}`, { retriable: false }));
	}
	return template;
}

/** What the engine is given of a prompt; failure: it is none that it can be given. */
export function promptFor(target: UpstreamTarget, input: Exclude<PromptInput, { kind: 'inputs' }>): string | Failure {
	if (input.kind === 'prompt' && input.raw) return input.text;
	const rendering = renderingOf(target);
	if (rendering === null) {
		if (input.kind === 'prompt') return input.text;
		const words =
			'messages are given; Triton has no chat template, so name one with triton.chat_template, or send the prompt as its model wants it';
		return failure('INVALID_PARAMS', words);
	}
	if (input.kind === 'prompt') return rendered(rendering, [{ role: 'user', content: input.text }], {});
	if (input.toolUse !== undefined) return failure('INVALID_PARAMS', 'tools are given; Triton is asked for text only');
	if (input.messages.some(({ parts }) => parts !== undefined))
		return failure('INVALID_PARAMS', 'messages have parts that are no text; Triton is asked for text only');
	const messages = input.messages.map(({ tool_calls: calls, parts: _parts, ...message }) =>
		calls === undefined ? message : { ...message, tool_calls: calls.map(withParsedArguments) },
	);
	return rendered(rendering, messages, input.templateArgs ?? {});
}

function rendered(rendering: ChatRendering, messages: readonly object[], more: object): string | Failure {
	try {
		return rendering.render(messages, more);
	} catch (error) {
		if (!(error instanceof TemplateError)) throw error;
		return failure('INVALID_PARAMS', error.message);
	}
}

function renderingOf(target: UpstreamTarget): ChatRendering | null {
	const known = renderings.get(target);
	if (known !== undefined) return known;
	const template = fieldsOf(target.found['template']);
	const source = textOf(template['source']);
	if (source === null) return null;
	const rendering = renderingWith({ source, eosText: textOf(template['eosText']) ?? '' });
	renderings.set(target, rendering);
	return rendering;
}

function renderingWith({ source, eosText }: FoundTemplate): ChatRendering {
	return new ChatRendering(source, { bosText: '', eosText });
}
