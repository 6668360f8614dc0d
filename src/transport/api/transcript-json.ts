/**
 * A task that has ended as the transcript that is kept of it. Pure. `full` has all that was asked and answered; `redacted` has who spoke and
 * how long, numbers and states, and no word of a prompt, an output, a stop string, a schema, a grammar or a name of a tool.
 */
import type { TaskView } from '../../actors/serving/task-directory.ts';
import type { ChatMessage, PromptInput, Sampling, TaskRequest } from '../../actors/serving/task-request.ts';
import type { Clock } from '../clock.ts';
import { type Answer, answerOf } from './answer.ts';
import { taskJson } from './task-json.ts';

export type TranscriptMode = 'redacted' | 'full';

/** `request`: as it was before its end took the texts away. Its log is read. */
export function transcriptJson(task: TaskView, request: TaskRequest, mode: TranscriptMode, clock: Clock): string {
	const {
		watchers: _watchers,
		last_event_id: _last,
		streams: _streams,
		transcript_artifact: _own,
		error,
		...facts
	} = taskJson(task, clock);
	const redacted = mode === 'redacted';
	const answer = answerOf(task.log);
	return JSON.stringify({
		mode,
		task: {
			...facts,
			// What it says may quote the request.
			error: error === null || !redacted ? error : { code: error.code, retriable: error.retriable },
			...(redacted ? {} : { stop_sequence: task.stopSequence }),
		},
		sampling: samplingOf(request.sampling, redacted),
		input: redacted ? outlineOf(request.input) : wholeOf(request.input),
		output: redacted ? outputOutline(answer) : { text: answer.text, reasoning: answer.reasoning, tool_calls: answer.toolCalls },
	});
}

function samplingOf(sampling: Sampling, redacted: boolean): Readonly<Record<string, unknown>> {
	const { stop, jsonSchema, grammar } = sampling;
	return {
		temperature: sampling.temperature,
		top_p: sampling.topP,
		top_k: sampling.topK,
		min_p: sampling.minP,
		repeat_penalty: sampling.repeatPenalty,
		presence_penalty: sampling.presencePenalty,
		frequency_penalty: sampling.frequencyPenalty,
		logprobs: sampling.logprobs,
		json_object: sampling.jsonObject === true,
		...(redacted
			? { stop: stop.length, json_schema: jsonSchema !== null, grammar: grammar !== null }
			: { stop, json_schema: jsonSchema, grammar }),
	};
}

function wholeOf(input: PromptInput): unknown {
	if (input.kind === 'messages') {
		const { messages, toolUse } = input;
		return { kind: input.kind, messages, ...(toolUse === undefined ? {} : { tools: toolUse.tools, tool_choice: toolUse.choice }) };
	}
	return input.kind === 'prompt' ? { kind: input.kind, raw: input.raw, prompt: input.text } : { kind: input.kind };
}

function outlineOf(input: PromptInput): unknown {
	if (input.kind === 'messages') {
		const tools = input.toolUse?.tools.length ?? 0;
		return { kind: input.kind, messages: input.messages.map(messageOutline), tools };
	}
	return input.kind === 'prompt' ? { kind: input.kind, raw: input.raw, characters: input.text.length } : { kind: input.kind };
}

function messageOutline({ role, content, parts, tool_calls: calls }: ChatMessage): unknown {
	return {
		role,
		characters: content.length,
		...(parts === undefined ? {} : { parts: parts.map(({ type }) => type) }),
		...(calls === undefined ? {} : { tool_calls: calls.length }),
	};
}

function outputOutline({ text, reasoning, toolCalls }: Answer): unknown {
	return { text_characters: text.length, reasoning_characters: reasoning.length, tool_calls: toolCalls.length };
}
