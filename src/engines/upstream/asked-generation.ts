/**
 * A generation whose request cannot be made before its engine was asked something: the ids of a prompt, or its length. Until then
 * the engine has nothing to do for it, so a cancel is done at once. Front threads.
 */
import type { ActorRef } from '../../actors/kernel/ref.ts';
import type { DecodeNews, Generation, GenerationUsage } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import { type PreparedCall, type UpstreamCall, type UpstreamEngine, UpstreamProblem } from './adapter.ts';

/** A generation that a front can close, too. */
export interface ClosableGeneration extends Generation {
	close(why: string): void;
}

export interface AskedPlace {
	readonly engine: UpstreamEngine;
	readonly task: ActorRef<DecodeNews>;
	begin(call: UpstreamCall): ClosableGeneration;
	/** Once, unless one has begun: nothing of it is left. */
	over(): void;
}

const nothing: GenerationUsage = { tokensIn: 0, tokensCached: 0, tokensOut: 0, prefillMs: 0, decodeMs: 0 };

export class AskedGeneration implements ClosableGeneration {
	readonly #place: AskedPlace;
	#running: ClosableGeneration | null = null;
	#told = false;

	constructor(place: AskedPlace, prepared: Promise<PreparedCall>) {
		this.#place = place;
		prepared.then(
			(call) => this.#goOn(call),
			(error: unknown) => this.#fail(problemOf(error)),
		);
	}

	cancel(): void {
		if (this.#running !== null) this.#running.cancel();
		else this.#tell({ type: 'decode-cancelled', usage: nothing });
	}

	abandon(): void {
		if (this.#running !== null) this.#running.abandon();
		else this.#end();
	}

	close(why: string): void {
		if (this.#running !== null) this.#running.close(why);
		else this.#fail(failure('WORKER_RESET', why));
	}

	#goOn(call: PreparedCall): void {
		if (this.#told) return;
		if ('ended' in call) {
			this.#place.task.tell({ type: 'decode-started', tokensIn: call.tokensIn, tokensCached: 0 });
			this.#tell({ type: 'decode-ended', finishReason: call.ended, usage: { ...nothing, tokensIn: call.tokensIn } });
		} else if ('code' in call) this.#fail(call);
		else this.#running = this.#place.begin(call);
	}

	#fail(problem: Failure): void {
		this.#tell({ type: 'decode-failed', failure: { ...problem, engine: this.#place.engine }, slot: 'free', began: 'no' });
	}

	#tell(news: DecodeNews): void {
		if (this.#told || this.#running !== null) return;
		this.#place.task.tell(news);
		this.#end();
	}

	#end(): void {
		if (this.#told) return;
		this.#told = true;
		this.#place.over();
	}
}

function problemOf(error: unknown): Failure {
	return error instanceof UpstreamProblem ? error.failure : failure('INTERNAL', 'the engine could not be asked');
}
