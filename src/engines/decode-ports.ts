/** The decode port of a front thread: to host processes of ours, or to engines over HTTP, as a replica's address says. */
import type { ActorRef } from '../actors/kernel/ref.ts';
import type { CountNews, DecodeNews, DecodePort, GenerateRequest, Generation, TokenizeNews } from '../actors/serving/decode.ts';
import type { ReplicaFacts } from '../actors/serving/messages.ts';
import type { PromptInput } from '../actors/serving/task-request.ts';
import { isUpstream } from './upstream/upstream-address.ts';
import type { UpstreamDecodePort } from './upstream/upstream-decode-port.ts';
import type { HostDecodePort } from './wire/host-decode-port.ts';

export class DecodePorts implements DecodePort {
	readonly #hosts: HostDecodePort;
	readonly #upstreams: UpstreamDecodePort;

	constructor(hosts: HostDecodePort, upstreams: UpstreamDecodePort) {
		this.#hosts = hosts;
		this.#upstreams = upstreams;
	}

	start(replica: ReplicaFacts, request: GenerateRequest, task: ActorRef<DecodeNews>): Generation {
		return this.#to(replica).start(replica, request, task);
	}

	count(replica: ReplicaFacts, input: PromptInput, replyTo: ActorRef<CountNews>): void {
		this.#to(replica).count(replica, input, replyTo);
	}

	tokenize(replica: ReplicaFacts, text: string, replyTo: ActorRef<TokenizeNews>): void {
		this.#to(replica).tokenize(replica, text, replyTo);
	}

	close(): void {
		this.#hosts.close();
		this.#upstreams.close();
	}

	#to({ address }: ReplicaFacts): DecodePort {
		return isUpstream(address) ? this.#upstreams : this.#hosts;
	}
}
