/**
 * How vLLM tells what it makes: `vllm/v1/engine/detokenizer.py` (whole characters only; with stop strings the last `max(len) − 1` characters wait,
 * unless the stop string is to be in the text, `stop_buffer_length`) and `vllm/v1/engine/output_processor.py` (steps that nobody has taken yet
 * become one, `RequestOutput.add`). Over the slots of all fakes.
 */
import { endOfText } from './fake-model.ts';
import type { FakeSlots, FakeWork } from './fake-slots.ts';

export interface VllmStep {
	readonly text: string;
	readonly ids: readonly number[];
	readonly logprobs: readonly number[];
	/** `vllm/v1/engine/__init__.py`, FinishReason; null: it goes on. */
	readonly finish: 'stop' | 'length' | null;
	readonly stopReason: string | null;
}

export interface VllmWork {
	readonly prompt: readonly number[];
	readonly maxTokens: number;
	readonly stop: readonly string[];
	readonly includeStop: boolean;
	readonly seed: number | null;
	readonly endsNotBefore: number;
	/** As `FakeWork` has it; null: what follows from the prompt. */
	readonly says: readonly number[] | null;
	/** Steps that become one. */
	readonly merged: number;
	step(step: VllmStep): void;
}

/** Begins it; what is returned ends it. */
export function vllmText(
	slots: FakeSlots,
	{ prompt, maxTokens, stop, includeStop, seed, endsNotBefore, says, merged, step }: VllmWork,
): () => void {
	const buffer = includeStop ? 0 : Math.max(1, ...stop.map((text) => text.length)) - 1;
	let output = '';
	let told = 0;
	let ids: number[] = [];
	let logprobs: number[] = [];
	const tell = (finish: VllmStep['finish'], stopReason: string | null): void => {
		const until = finish === null ? Math.max(told, output.length - buffer) : output.length;
		step({ text: output.slice(told, until), ids, logprobs, finish, stopReason });
		told = until;
		ids = [];
		logprobs = [];
	};
	const work: FakeWork = {
		prompt,
		maxTokens,
		stop: [],
		seed,
		endsNotBefore,
		...(says === null ? {} : { says }),
		token({ id, logprob, text, made }) {
			const from = output.length;
			output += text;
			ids.push(id);
			logprobs.push(logprob);
			for (const word of stop) {
				const at = output.indexOf(word, Math.max(0, from - word.length + 1));
				if (at < 0) continue;
				output = output.slice(0, includeStop ? at + word.length : at);
				tell('stop', word);
				return slots.drop(work);
			}
			// The last one tells the end, too.
			if (made < maxTokens && ids.length >= merged) tell(null, null);
		},
		ended({ reason, text }) {
			output += text;
			if (reason === 'end-of-text') {
				ids.push(endOfText);
				logprobs.push(-0.25);
			}
			tell(reason === 'length' ? 'length' : 'stop', null);
		},
	};
	slots.add(work);
	return () => slots.drop(work);
}

/** vllm/sampling_params.py: `ignore_eos`, `min_tokens`. */
export function endOf({ ignore_eos: ignores, min_tokens: least }: Readonly<Record<string, unknown>>): number {
	return ignores === true ? Number.POSITIVE_INFINITY : Number(least ?? 0);
}
