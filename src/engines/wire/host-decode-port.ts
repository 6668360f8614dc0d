/**
 * The decode port of a front thread to engine hosts of ours: one connection per replica, opened when first needed, shared
 * by all its tasks, forgotten when it closes. A host that comes back has another address.
 */
import type { ActorRef } from '../../actors/kernel/ref.ts';
import type { CountNews, DecodeNews, DecodePort, GenerateRequest, Generation, TokenizeNews } from '../../actors/serving/decode.ts';
import { leaseKey } from '../../actors/serving/engine-life.ts';
import type { ReplicaFacts } from '../../actors/serving/messages.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import { HostConnection, parseAddress } from './host-connection.ts';

export class HostDecodePort implements DecodePort {
	readonly #connections = new Map<string, HostConnection>();
	readonly #onBug: (words: string) => void;

	constructor(onBug: (words: string) => void) {
		this.#onBug = onBug;
	}

	start(replica: ReplicaFacts, request: GenerateRequest, task: ActorRef<DecodeNews>): Generation {
		const { lease, ...rest } = request;
		return this.#to(replica.address).start({ ...rest, leaseKey: leaseKey(lease) }, task);
	}

	count(replica: ReplicaFacts, input: PromptInput, replyTo: ActorRef<CountNews>): void {
		this.#to(replica.address).count(input, replyTo);
	}

	tokenize(replica: ReplicaFacts, text: string, replyTo: ActorRef<TokenizeNews>): void {
		this.#to(replica.address).tokenize(text, replyTo);
	}

	/** Closes every connection; their streams fail. */
	close(): void {
		for (const connection of [...this.#connections.values()]) connection.close('this front is closing');
	}

	/** Streams and questions in flight, over all connections. */
	get inFlight(): number {
		let sum = 0;
		for (const connection of this.#connections.values()) sum += connection.inFlight;
		return sum;
	}

	#to(address: string): HostConnection {
		const open = this.#connections.get(address);
		if (open !== undefined) return open;
		const connection = new HostConnection(parseAddress(address), {
			onClosed: () => {
				if (this.#connections.get(address) === connection) this.#connections.delete(address);
			},
			onBug: this.#onBug,
		});
		this.#connections.set(address, connection);
		return connection;
	}
}
