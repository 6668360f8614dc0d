/** A decode port whose generations do what the test says, in the order of a real one: started, pieces*, one end. */
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import type { CountNews, DecodeNews, DecodePort, GenerateRequest, Generation, GenerationUsage } from '../../src/actors/serving/decode.ts';
import type { Failure } from '../../src/actors/serving/failure.ts';
import { failure } from '../../src/actors/serving/failure.ts';
import type { ReplicaFacts } from '../../src/actors/serving/messages.ts';
import { pieceRecords, type TestPiece } from './piece-records.ts';

export class ScriptedGeneration implements Generation {
	readonly request: GenerateRequest;
	readonly task: ActorRef<DecodeNews>;
	/** How often it was told to stop. */
	cancels = 0;
	over = false;
	abandoned = false;
	tokens = 0;
	/** Every text sent, in order. */
	readonly texts: string[] = [];
	readonly #onCancel: (generation: ScriptedGeneration) => void;

	constructor(request: GenerateRequest, task: ActorRef<DecodeNews>, onCancel: (generation: ScriptedGeneration) => void) {
		this.request = request;
		this.task = task;
		this.#onCancel = onCancel;
	}

	cancel(): void {
		this.cancels++;
		if (this.cancels === 1 && !this.over) this.#onCancel(this);
	}

	abandon(): void {
		this.abandoned = true;
		this.cancel();
	}

	get usage(): GenerationUsage {
		return { tokensIn: 5, tokensCached: 1, tokensOut: this.tokens, prefillMs: 3, decodeMs: 40 };
	}

	started(): void {
		this.#tell({ type: 'decode-started', tokensIn: 5, tokensCached: 1 });
	}

	pieces(...pieces: readonly TestPiece[]): void {
		for (const piece of pieces) {
			this.tokens += piece.n ?? 1;
			this.texts.push(String(piece.text));
		}
		this.#tell(pieceRecords(pieces));
	}

	broken(): void {
		this.#tell({ type: 'pieces', bytes: Buffer.from([9, 0, 1, 0, 65]), start: 0, end: 5, count: 1 });
	}

	end(finishReason: 'stop' | 'length' = 'stop'): void {
		this.#last({ type: 'decode-ended', finishReason, usage: this.usage });
	}

	embedded(...vectors: readonly Float32Array[]): void {
		this.#last({ type: 'embedded', vectors, usage: this.usage });
	}

	cancelled(): void {
		this.#last({ type: 'decode-cancelled', usage: this.usage });
	}

	failed(
		problem: Failure = failure('WORKER_RESET', 'the engine died'),
		slot: 'free' | 'unknown' = 'unknown',
		began: 'maybe' | 'no' = 'maybe',
	): void {
		this.#last({ type: 'decode-failed', failure: problem, slot, began });
	}

	#last(news: DecodeNews): void {
		this.#tell(news);
		this.over = true;
	}

	#tell(news: DecodeNews): void {
		if (this.over) throw new Error('test: news after the end');
		if (!this.abandoned) this.task.tell(news);
	}
}

export class ScriptedDecode implements DecodePort {
	readonly generations: ScriptedGeneration[] = [];
	readonly counts: ActorRef<CountNews>[] = [];
	onStart: (generation: ScriptedGeneration) => void = () => undefined;
	/** Default: a well-behaved engine. */
	onCancel: (generation: ScriptedGeneration) => void = (generation) => generation.cancelled();

	start(_replica: ReplicaFacts, request: GenerateRequest, task: ActorRef<DecodeNews>): Generation {
		const generation = new ScriptedGeneration(request, task, (told) => this.onCancel(told));
		this.generations.push(generation);
		this.onStart(generation);
		return generation;
	}

	count(_replica: ReplicaFacts, _input: unknown, replyTo: ActorRef<CountNews>): void {
		this.counts.push(replyTo);
	}

	tokenize(): void {
		throw new Error('test: no task tokenizes');
	}
}
