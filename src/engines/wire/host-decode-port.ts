/**
 * The decode port of a front thread to engine hosts of ours: one connection per replica, opened when first needed, shared
 * by all its tasks, forgotten when it closes. A host that comes back has another address.
 */
import type { ActorRef } from '../../actors/kernel/ref.ts';
import type { CountNews, DecodeNews, DecodePort, GenerateRequest, Generation, TokenizeNews } from '../../actors/serving/decode.ts';
import { leaseKey } from '../../actors/serving/engine-life.ts';
import type { ReplicaFacts } from '../../actors/serving/messages.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import { parseAddress } from './host-address.ts';
import { HostConnection, type HostConnectionLimits } from './host-connection.ts';
import type { HostRequest } from './host-protocol.ts';
import { PromptCounts } from './prompt-counts.ts';

export class HostDecodePort implements DecodePort {
	readonly #connections = new Map<string, HostConnection>();
	readonly #counts = new PromptCounts();
	readonly #onBug: (words: string) => void;
	readonly #limits: Partial<HostConnectionLimits>;
	#closed = false;

	/** `onBug`: a task refused its tokens, which its bounds should not let happen. */
	constructor(onBug: (words: string) => void, limits: Partial<HostConnectionLimits> = {}) {
		this.#onBug = onBug;
		this.#limits = limits;
	}

	start(replica: ReplicaFacts, request: GenerateRequest, task: ActorRef<DecodeNews>): Generation {
		return this.#to(replica.address).start(hostRequest(request), task);
	}

	count(replica: ReplicaFacts, input: PromptInput, replyTo: ActorRef<CountNews>): void {
		const key = this.#counts.keyOf(replica, input);
		const known = this.#counts.get(key);
		if (known !== undefined) {
			replyTo.tell({ type: 'prompt-counted', tokens: known });
			return;
		}
		this.#to(replica.address).count(input, (news) => {
			if (news.type === 'prompt-counted') this.#counts.put(key, news.tokens);
			replyTo.tell(news);
		});
	}

	tokenize(replica: ReplicaFacts, text: string, replyTo: ActorRef<TokenizeNews>): void {
		this.#to(replica.address).tokenize(text, replyTo);
	}

	/** Closes every connection, for good: their streams fail, and so does whatever is asked later. */
	close(): void {
		this.#closed = true;
		for (const connection of [...this.#connections.values()]) connection.close(closing);
	}

	/** Streams and questions in flight, over all connections. */
	get inFlight(): number {
		let sum = 0;
		for (const connection of this.#connections.values()) sum += connection.inFlight;
		return sum;
	}

	/** Connections that are open. */
	get connections(): number {
		return this.#connections.size;
	}

	#to(address: string): HostConnection {
		const open = this.#connections.get(address);
		if (open !== undefined) return open;
		const connection: HostConnection = new HostConnection(
			parseAddress(address),
			{
				onClosed: () => {
					if (this.#connections.get(address) === connection) this.#connections.delete(address);
				},
				onBug: this.#onBug,
			},
			this.#limits,
		);
		this.#connections.set(address, connection);
		if (this.#closed) connection.close(closing);
		return connection;
	}
}

const closing = 'this front is closing';

/** A host knows a lease by its key. */
function hostRequest(request: GenerateRequest): HostRequest {
	return {
		input: request.input,
		workload: request.workload,
		maxTokensExplicit: request.maxTokensExplicit,
		maxTokens: request.maxTokens,
		ctx: request.ctx,
		sampling: request.sampling,
		seed: request.seed,
		strict: request.strict,
		kvHint: request.kvHint,
		tellIds: request.tellIds,
		resume: request.resume,
		leaseKey: leaseKey(request.lease),
	};
}
