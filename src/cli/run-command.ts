/**
 * `run`: submits one task and streams it to the terminal. The text goes to stdout and nothing else does; where it stands
 * while it waits goes to stderr, on a terminal only. Ctrl-C cancels the task before it leaves.
 */
import {
	cancelTask,
	type DaemonClient,
	envelopeProblem,
	type JsonObject,
	number,
	submitTask,
	type TaskAccepted,
	text,
} from './daemon-client.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import { Problem } from './problem.ts';
import { type TaskEvent, taskEvents } from './task-stream.ts';
import type { Terminal } from './terminal.ts';

export interface RunOptions {
	readonly model: string;
	readonly prompt: string;
	readonly system: string | null;
	readonly maxTokens: number | null;
	readonly temperature: number | null;
	readonly seed: number | null;
	readonly priority: 'interactive' | 'batch' | null;
	/** Events as JSON lines instead of text. */
	readonly json: boolean;
}

/** How long a cancelled task may take to end before the command leaves without it. */
const cancelWaitMs = 3000;

export async function run(client: DaemonClient, options: RunOptions, terminal: Terminal): Promise<ExitCode> {
	const leaving = new AbortController();
	let accepted: TaskAccepted | null = null;
	let interrupts = 0;
	const interrupt = (): void => {
		if (++interrupts > 1) return leaving.abort();
		terminal.status('cancelling');
		setTimeout(() => leaving.abort(), cancelWaitMs).unref();
		// without an answer yet there is no id to cancel: it is cancelled as soon as the answer is here
		if (accepted !== null) cancelTask(client, accepted.taskId).catch(() => leaving.abort());
	};
	const stopListening = terminal.onInterrupt(interrupt);
	try {
		accepted = await submitTask(client, taskBody(options), leaving.signal);
		if (interrupts > 0) await cancelTask(client, accepted.taskId);
		if (options.json) terminal.out(`${JSON.stringify({ event: 'accepted', seq: null, data: accepted.body })}\n`);
		else showPlace(terminal, accepted.queuePosition, accepted.predictedStartMs);
		const view = options.json ? jsonView(terminal) : textView(terminal);
		for await (const event of taskEvents(client, accepted.eventsUrl, leaving.signal, (reason) =>
			terminal.status(`${reason}; connecting again`),
		)) {
			const code = view(event);
			if (code !== null) return interrupts > 0 ? exitCodes.interrupted : code;
		}
		return exitCodes.failure;
	} catch (error) {
		if (interrupts > 0) return exitCodes.interrupted;
		throw error;
	} finally {
		terminal.status(null);
		stopListening();
	}
}

function taskBody(options: RunOptions): JsonObject {
	const input =
		options.system === null
			? { prompt: options.prompt }
			: {
					messages: [
						{ role: 'system', content: options.system },
						{ role: 'user', content: options.prompt },
					],
				};
	return {
		model_ref: options.model,
		...input,
		...(options.maxTokens === null ? {} : { max_tokens: options.maxTokens }),
		...(options.temperature === null ? {} : { sampling: { temperature: options.temperature } }),
		...(options.seed === null ? {} : { seed: options.seed }),
		...(options.priority === null ? {} : { priority: options.priority }),
		// a terminal that closes takes its task with it
		on_disconnect: 'cancel',
	};
}

/** Consumes events; answers the exit code at the terminal one. */
type View = (event: TaskEvent) => ExitCode | null;

function jsonView(terminal: Terminal): View {
	return ({ event, seq, data }) => {
		terminal.out(`${JSON.stringify({ event, seq, data })}\n`);
		if (event === 'error') return envelopeProblem(data).exitCode;
		return event === 'end' ? endCode(data) : null;
	};
}

function textView(terminal: Terminal): View {
	let wrote = false;
	let phase = '';
	let lastText = '\n';
	return ({ event, data }) => {
		switch (event) {
			case 'started':
				if (phase === '' || phase === 'queued') terminal.status(phaseWords['prefill'] ?? null);
				return null;
			case 'token': {
				const piece = pieceText(data);
				if (piece === '') return null;
				terminal.status(null);
				terminal.out(terminal.safe(piece));
				wrote = true;
				lastText = piece;
				return null;
			}
			case 'metrics':
				phase = text(data['phase']) || phase;
				if (!wrote) showMetrics(terminal, data, phase);
				return null;
			case 'end':
				finishLine(terminal, lastText);
				terminal.note(summary(data));
				return endCode(data);
			case 'error':
				finishLine(terminal, lastText);
				throw envelopeProblem(data);
			default:
				return null;
		}
	};
}

/** The text of a `token` event, merged or not. */
export function pieceText(data: JsonObject): string {
	const batch = data['batch'];
	if (!Array.isArray(batch)) return text(data['t']);
	return batch.map((piece: unknown) => (typeof piece === 'object' && piece !== null && 't' in piece ? text(piece.t) : '')).join('');
}

function finishLine(terminal: Terminal, lastText: string): void {
	terminal.status(null);
	if (!lastText.endsWith('\n')) terminal.out('\n');
}

function endCode(data: JsonObject): ExitCode {
	return data['canceled'] === true ? exitCodes.failure : exitCodes.ok;
}

function showPlace(terminal: Terminal, position: number, predictedStartMs: number): void {
	const before = position === 0 ? 'next in line' : `${position} before this one`;
	terminal.status(predictedStartMs > 0 ? `queued: ${before}, about ${(predictedStartMs / 1000).toFixed(1)} s` : `queued: ${before}`);
}

const phaseWords: Readonly<Record<string, string>> = {
	admitting: 'being admitted',
	prefill: 'reading the prompt',
	decode: 'answering',
	migrated: 'going on in another slot',
};

function showMetrics(terminal: Terminal, data: JsonObject, phase: string): void {
	const words = phaseWords[phase];
	const position = number(data['queue_position']);
	if (words !== undefined) terminal.status(words);
	else if (position !== null) showPlace(terminal, position, number(data['predicted_start_ms']) ?? 0);
}

function summary(data: JsonObject): string {
	const tokens = number(data['tokens_out']) ?? 0;
	const decodeMs = number(data['decode_ms']) ?? 0;
	const rate = decodeMs > 0 ? `, ${Math.round((tokens / decodeMs) * 1000)} tokens/s` : '';
	const why =
		data['canceled'] === true ? 'cancelled' : text(data['finish_reason']) === 'length' ? 'stopped by the length limit' : 'finished';
	return `${why}: ${number(data['tokens_in']) ?? 0} tokens in, ${tokens} out${rate}, seed ${number(data['seed']) ?? '?'}`;
}

/** The prompt: the words of the command line, or all of stdin for `-`. */
export async function promptFrom(words: readonly string[], terminal: Terminal): Promise<string> {
	const prompt = words.length === 1 && words[0] === '-' ? await terminal.readAll() : words.join(' ');
	if (prompt.trim() === '')
		throw new Problem(exitCodes.usage, 'the prompt is empty', 'orchestratord run "Tell me a story", or - to read it from stdin');
	return prompt;
}
