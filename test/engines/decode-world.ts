/** A task's side of a decode port, for tests and benches: requests, and a recorder of what the engine said. */
import type { Delivery } from '../../src/actors/kernel/ref.ts';
import {
	type CountNews,
	type DecodeNews,
	type DecodePort,
	type GenerateRequest,
	type Generation,
	type GenerationUsage,
	pieceHasIds,
	pieceHasLogprob,
	pieceHasTops,
	recordTextAt,
	type TokenizeNews,
} from '../../src/actors/serving/decode.ts';
import type { Failure } from '../../src/actors/serving/failure.ts';
import type { ReplicaFacts } from '../../src/actors/serving/messages.ts';
import { greedySampling, type PromptInput, type Sampling } from '../../src/actors/serving/task-request.ts';
import type { TopToken } from '../../src/actors/serving/top-tokens.ts';

export interface RequestOptions extends Partial<Omit<GenerateRequest, 'sampling'>> {
	/** Short for a raw prompt as `input`. */
	readonly prompt?: string;
	readonly sampling?: Partial<Sampling>;
}

const greedy: Sampling = { ...greedySampling, topK: 1 };

let leases = 0;

/** A lease of its own each; greedy and raw unless said otherwise. */
export function generateRequest(options: RequestOptions = {}): GenerateRequest {
	const { prompt = 'Once upon a time', sampling, ...rest } = options;
	leases += 1;
	return {
		lease: { epoch: 1, id: leases, poolId: 'pool', replicaId: 'replica', exclusive: false },
		input: raw(prompt),
		workload: 'completion',
		maxTokens: 32,
		maxTokensExplicit: false,
		ctx: 1_000_000_000,
		seed: 7,
		strict: false,
		priority: 'interactive',
		kvHint: 'reuse',
		tellIds: false,
		resume: null,
		...rest,
		sampling: { ...greedy, ...sampling },
	};
}

export function raw(text: string): PromptInput {
	return { kind: 'prompt', text, raw: true };
}

export interface SeenPiece {
	readonly text: string;
	readonly tokens: number;
	readonly tokenId: number | null;
	readonly logprob: number | null;
	/** The likeliest in its place, where they were asked for. */
	readonly tops: readonly TopToken[];
	/** Of all its tokens, when they were to be told. */
	readonly ids: readonly number[];
	/** Its flags but those of what precedes its text: 0 is the answer. */
	readonly channel: number;
}

export type End = Extract<DecodeNews, { type: 'embedded' | 'decode-ended' | 'decode-failed' | 'decode-cancelled' }>;

/** Records the news of one generation, and lets a test wait for its phases. Anything after the end is kept apart. */
export class SeenTask {
	/** What `tell` answers. */
	answer: Delivery = 'accepted';
	started: { readonly tokensIn: number; readonly tokensCached: number } | null = null;
	readonly pieces: SeenPiece[] = [];
	messages = 0;
	readonly afterEnd: DecodeNews[] = [];
	end: End | null = null;
	generation: Generation | null = null;
	readonly #watchers: { readonly reached: () => boolean; readonly resolve: () => void }[] = [];

	tell(news: DecodeNews): Delivery {
		if (this.answer !== 'accepted') return this.answer;
		this.messages += 1;
		if (this.end !== null) this.afterEnd.push(news);
		else if (news.type === 'decode-started') this.started = news;
		else if (news.type === 'pieces') this.pieces.push(...readPieces(news));
		else this.end = news;
		for (const watcher of this.#watchers.filter(({ reached }) => reached())) {
			this.#watchers.splice(this.#watchers.indexOf(watcher), 1);
			watcher.resolve();
		}
		return 'accepted';
	}

	get text(): string {
		return this.pieces.map((piece) => piece.text).join('');
	}

	get tokens(): number {
		return this.pieces.reduce((sum, piece) => sum + piece.tokens, 0);
	}

	/** The usage that its end carried; a failure is an error. */
	get usage(): GenerationUsage {
		if (this.end === null || this.end.type === 'decode-failed') throw new Error(`no usage: ${JSON.stringify(this.end)}`);
		return this.end.usage;
	}

	get failure(): Failure | null {
		return this.end?.type === 'decode-failed' ? this.end.failure : null;
	}

	hasStarted(): Promise<void> {
		return this.#until(() => this.started !== null || this.end !== null);
	}

	hasPieces(count: number): Promise<void> {
		return this.#until(() => this.pieces.length >= count || this.end !== null);
	}

	async hasEnded(): Promise<End> {
		await this.#until(() => this.end !== null);
		return this.end as End;
	}

	#until(reached: () => boolean): Promise<void> {
		return reached() ? Promise.resolve() : new Promise((resolve) => this.#watchers.push({ reached, resolve }));
	}
}

export function readPieces(news: Extract<DecodeNews, { type: 'pieces' }>): SeenPiece[] {
	const pieces: SeenPiece[] = [];
	const decoder = new TextDecoder('utf-8', { fatal: true });
	let at = news.start;
	for (let index = 0; index < news.count; index += 1) {
		const textBytes = news.bytes.readUInt16LE(at);
		const flagged = ((news.bytes[at + 3] as number) & pieceHasLogprob) !== 0;
		const textAt = at + recordTextAt(news.bytes, at);
		const tokens = news.bytes[at + 2] as number;
		const hasIds = ((news.bytes[at + 3] as number) & pieceHasIds) !== 0;
		const ids = Array.from({ length: hasIds ? tokens : 0 }, (_, index) => news.bytes.readUInt32LE(textAt - 4 * (tokens - index)));
		pieces.push({
			text: decoder.decode(news.bytes.subarray(textAt, textAt + textBytes)),
			tokens,
			ids,
			channel: (news.bytes[at + 3] as number) & ~(pieceHasIds | pieceHasLogprob | pieceHasTops),
			tops: topsIn(news.bytes, at),
			tokenId: flagged ? news.bytes.readUInt32LE(at + 4) : null,
			logprob: flagged ? news.bytes.readFloatLE(at + 8) : null,
		});
		at = textAt + textBytes;
	}
	if (at !== news.end) throw new Error('records do not fill their range');
	return pieces;
}

function topsIn(bytes: Buffer, at: number): readonly TopToken[] {
	if (((bytes[at + 3] as number) & pieceHasTops) === 0) return [];
	const length = bytes.readUInt16LE(at + 12);
	return JSON.parse(`[${bytes.toString('utf8', at + 14, at + 14 + length)}]`) as TopToken[];
}

export function begin(port: DecodePort, replica: ReplicaFacts, options: RequestOptions = {}): SeenTask {
	const task = new SeenTask();
	task.generation = port.start(replica, generateRequest(options), task);
	return task;
}

export async function generate(port: DecodePort, replica: ReplicaFacts, options: RequestOptions = {}): Promise<SeenTask> {
	const task = begin(port, replica, options);
	await task.hasEnded();
	return task;
}

/** The one answer to a question; a second one is an error. */
function answered<N>(ask: (replyTo: { tell(news: N): Delivery }) => void): Promise<N> {
	return new Promise((resolve, reject) => {
		let answers = 0;
		ask({
			tell(news) {
				answers += 1;
				if (answers > 1) reject(new Error('answered twice'));
				resolve(news);
				return 'accepted';
			},
		});
	});
}

export function count(port: DecodePort, replica: ReplicaFacts, input: PromptInput): Promise<CountNews> {
	return answered((replyTo) => port.count(replica, input, replyTo));
}

export function tokenize(port: DecodePort, replica: ReplicaFacts, text: string): Promise<TokenizeNews> {
	return answered((replyTo) => port.tokenize(replica, text, replyTo));
}
