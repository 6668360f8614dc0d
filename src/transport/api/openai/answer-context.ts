/** What all parts of one answer on the completions paths share: its id, its time, its model; and the tokens that it took. Pure. */
import type { TaskView } from '../../../actors/serving/task-directory.ts';
import type { EndJson } from '../../stream/dialect-feed.ts';
import { timingOf } from '../task-timing.ts';
import type { GenerationRequest } from './chat-request.ts';

export interface AnswerContext {
	readonly request: GenerationRequest;
	readonly tasks: readonly TaskView[];
	/** When the request came, and what time it is now. */
	readonly arrivedAt: number;
	readonly now: () => number;
	/** Milliseconds since 1970. */
	readonly wallNow: () => number;
}

export interface Identity {
	readonly id: string;
	readonly created: number;
	readonly model: string;
	/** Which weights; absent where the engine does not tell. */
	readonly system_fingerprint?: string;
}

/** The same for each who attaches to these tasks. */
export function identityOf({ request, tasks, now, wallNow }: AnswerContext, prefix: string): Identity {
	const first = tasks[0] as TaskView;
	const digest = first.modelDigest?.replace('sha256:', '').slice(0, 12);
	return {
		id: `${prefix}-${first.request.taskId}`,
		created: Math.floor((wallNow() - now() + first.admittedAt) / 1000),
		model: request.model,
		...(digest === undefined ? {} : { system_fingerprint: `fp_${digest}` }),
	};
}

/** Adds the tokens of answers up as they end. */
export class UsageCount {
	readonly #context: AnswerContext;
	#prompt = 0;
	#completion = 0;
	#cached = 0;
	reasoning = 0;

	constructor(context: AnswerContext) {
		this.#context = context;
	}

	/** Of one task. A prompt that is asked several times counts once. */
	add(choice: number, { tokens_in: tokensIn, tokens_out: tokensOut }: Pick<EndJson, 'tokens_in' | 'tokens_out'>): void {
		this.#completion += tokensOut;
		if (choice % this.#context.request.n !== 0) return;
		this.#prompt += tokensIn;
		this.#cached += this.#context.tasks[choice]?.tokensCached ?? 0;
	}

	json() {
		return {
			prompt_tokens: this.#prompt,
			completion_tokens: this.#completion,
			total_tokens: this.#prompt + this.#completion,
			prompt_tokens_details: { cached_tokens: this.#cached },
			completion_tokens_details: { reasoning_tokens: this.reasoning },
		};
	}
}

/** As the headers of an answer that is given whole. */
export function timingComments({ tasks, arrivedAt, now }: Pick<AnswerContext, 'tasks' | 'arrivedAt' | 'now'>): readonly string[] {
	const { serverTiming, queueWaitMs } = timingOf(tasks, arrivedAt, now());
	return [
		`X-Task-Id: ${tasks.map(({ request }) => request.taskId).join(', ')}`,
		`X-Queue-Wait-Ms: ${queueWaitMs}`,
		`Server-Timing: ${serverTiming}`,
	];
}
