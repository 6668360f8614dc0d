/**
 * `run`: submits one task and streams it to the terminal. The text goes to stdout and nothing else does; where it stands
 * while it waits goes to stderr, on a terminal only. Ctrl-C cancels the task before it leaves.
 */
import { DaemonError, type EndData, type Task, type TaskEvent, type TaskInput, textOf } from '../client/index.ts';
import { type DaemonClient, envelopeProblem, type JsonObject, number, problemOf, text, told } from './daemon-client.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import { Problem } from './problem.ts';
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
	let task: Task | null = null;
	let interrupts = 0;
	const interrupt = (): void => {
		if (++interrupts > 1) return leaving.abort();
		terminal.status('cancelling');
		setTimeout(() => leaving.abort(), cancelWaitMs).unref();
		// without an answer yet there is no id to cancel: it is cancelled as soon as the answer is here
		task?.cancel().catch(() => leaving.abort());
	};
	const stopListening = terminal.onInterrupt(interrupt);
	try {
		task = await told(client.api.submit(taskBody(options), { signal: leaving.signal }));
		if (interrupts > 0) await told(task.cancel());
		const { accepted } = task;
		if (options.json) terminal.out(`${JSON.stringify({ event: 'accepted', seq: null, data: accepted })}\n`);
		else if (accepted !== null) showPlace(terminal, accepted.queue_position, accepted.predicted_start_ms);
		const view = options.json ? jsonView(terminal) : textView(terminal);
		const onRetry = (reason: string): void => terminal.status(`${reason}; connecting again`);
		for await (const event of task.events({ verbose: false, signal: leaving.signal, onRetry })) {
			const code = view(event);
			if (code !== null) return interrupts > 0 ? exitCodes.interrupted : code;
		}
		return exitCodes.failure;
	} catch (error) {
		if (interrupts > 0) return exitCodes.interrupted;
		if (error instanceof DaemonError && error.status === 404)
			throw new Problem(exitCodes.failure, 'the daemon does not know the task: it was restarted, or forgot it');
		throw problemOf(error);
	} finally {
		terminal.status(null);
		stopListening();
	}
}

function taskBody(options: RunOptions): TaskInput {
	const input: Pick<TaskInput, 'prompt' | 'messages'> =
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
	return (event) => {
		terminal.out(`${JSON.stringify({ event: event.type, seq: event.seq, data: dataOf(event) })}\n`);
		if (event.type === 'error') return envelopeProblem(event.data).exitCode;
		return event.type === 'end' ? endCode(event.data.canceled) : null;
	};
}

function textView(terminal: Terminal): View {
	let wrote = false;
	let phase = '';
	let lastText = '\n';
	return (event) => {
		switch (event.type) {
			case 'started':
				if (phase === '' || phase === 'queued') terminal.status(phaseWords['prefill'] ?? null);
				return null;
			case 'token': {
				const piece = textOf(event.tokens);
				if (piece === '') return null;
				terminal.status(null);
				terminal.out(terminal.safe(piece));
				wrote = true;
				lastText = piece;
				return null;
			}
			case 'metrics':
				phase = text(event.data['phase']) || phase;
				if (!wrote) showMetrics(terminal, event.data, phase);
				return null;
			case 'end':
				finishLine(terminal, lastText);
				terminal.note(summary(event.data));
				return endCode(event.data.canceled);
			case 'error':
				finishLine(terminal, lastText);
				throw envelopeProblem(event.data);
		}
	};
}

/** As it was sent. */
function dataOf(event: TaskEvent): unknown {
	if (event.type !== 'token') return event.data;
	return event.tokens.length === 1 ? event.tokens[0] : { batch: event.tokens };
}

function finishLine(terminal: Terminal, lastText: string): void {
	terminal.status(null);
	if (!lastText.endsWith('\n')) terminal.out('\n');
}

function endCode(canceled: boolean): ExitCode {
	return canceled ? exitCodes.failure : exitCodes.ok;
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

function summary({ tokens_in: tokensIn, tokens_out: tokens, decode_ms: decodeMs, finish_reason: reason, canceled, seed }: EndData): string {
	const rate = decodeMs > 0 ? `, ${Math.round((tokens / decodeMs) * 1000)} tokens/s` : '';
	const why = canceled ? 'cancelled' : reason === 'length' ? 'stopped by the length limit' : 'finished';
	return `${why}: ${tokensIn} tokens in, ${tokens} out${rate}, seed ${seed}`;
}

/** The prompt: the words of the command line, or all of stdin for `-`. */
export async function promptFrom(words: readonly string[], terminal: Terminal): Promise<string> {
	const prompt = words.length === 1 && words[0] === '-' ? await terminal.readAll() : words.join(' ');
	if (prompt.trim() === '')
		throw new Problem(exitCodes.usage, 'the prompt is empty', 'orchestratord run "Tell me a story", or - to read it from stdin');
	return prompt;
}
