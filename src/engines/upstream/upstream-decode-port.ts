/** The decode port of a front thread to engines over HTTP: connections for each engine, an adapter for each kind. */
import type { ActorRef } from '../../actors/kernel/ref.ts';
import type { CountNews, DecodeNews, DecodePort, GenerateRequest, Generation, TokenizeNews } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { ReplicaFacts } from '../../actors/serving/messages.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import { adapterOf, type UpstreamAdapters, UpstreamProblem, type UpstreamTarget } from './adapter.ts';
import { type Endpoint, endpointOf } from './endpoint.ts';
import { RecordBlocks } from './record-writer.ts';
import { parseUpstream } from './upstream-address.ts';
import { upstreamClient } from './upstream-client.ts';
import { UpstreamConnections } from './upstream-connections.ts';
import { UpstreamGeneration } from './upstream-generation.ts';

interface Upstream {
	readonly target: UpstreamTarget;
	readonly endpoint: Endpoint;
	readonly connections: UpstreamConnections;
	/** Of every request but its path and length. */
	readonly headers: string;
}

export class UpstreamDecodePort implements DecodePort {
	readonly #adapters: UpstreamAdapters;
	/** By address. One whose settings have changed has another. */
	readonly #upstreams = new Map<string, Upstream>();
	readonly #blocks = new RecordBlocks();
	readonly #running = new Set<UpstreamGeneration>();

	constructor(adapters: UpstreamAdapters) {
		this.#adapters = adapters;
	}

	get inFlight(): number {
		return this.#running.size;
	}

	start(replica: ReplicaFacts, request: GenerateRequest, task: ActorRef<DecodeNews>): Generation {
		const { target, endpoint, connections, headers } = this.#upstream(replica.address);
		const adapter = adapterOf(this.#adapters, target.engine);
		const call = adapter.call(target, request);
		if ('code' in call) {
			task.tell({ type: 'decode-failed', failure: { ...call, engine: target.engine }, slot: 'free', began: 'no' });
			return { cancel() {}, abandon() {} };
		}
		const body = Buffer.from(JSON.stringify(call.body));
		const head = `POST ${endpoint.basePath}${call.path} HTTP/1.1\r\n${headers}accept: ${call.answers}\r\ncontent-length: ${body.length}\r\n\r\n`;
		const bytes = Buffer.concat([Buffer.from(head, 'latin1'), body]);
		const generation: UpstreamGeneration = new UpstreamGeneration({
			engine: target.engine,
			call,
			task,
			blocks: this.#blocks,
			send: (answer, fresh) => connections.send(bytes, answer, fresh),
			problem: (said) => adapter.problem(said),
			over: () => this.#running.delete(generation),
		});
		this.#running.add(generation);
		return generation;
	}

	count(replica: ReplicaFacts, input: PromptInput, replyTo: ActorRef<CountNews>): void {
		const { target } = this.#upstream(replica.address);
		adapterOf(this.#adapters, target.engine)
			.count(upstreamClient(target), target, input)
			.then(
				(tokens) =>
					replyTo.tell(
						tokens === null ? { type: 'count-failed', failure: cannot(target, 'count tokens') } : { type: 'prompt-counted', tokens },
					),
				(error: unknown) => replyTo.tell({ type: 'count-failed', failure: problemOf(error) }),
			);
	}

	tokenize(replica: ReplicaFacts, text: string, replyTo: ActorRef<TokenizeNews>): void {
		const { target } = this.#upstream(replica.address);
		adapterOf(this.#adapters, target.engine)
			.tokenize(upstreamClient(target), target, text)
			.then(
				(tokens) =>
					replyTo.tell(tokens === null ? { type: 'tokenize-failed', failure: cannot(target, 'tokenize') } : { type: 'tokenized', tokens }),
				(error: unknown) => replyTo.tell({ type: 'tokenize-failed', failure: problemOf(error) }),
			);
	}

	/** Closes every connection, for good: their generations fail. */
	close(): void {
		for (const { connections } of this.#upstreams.values()) connections.close('this front is closing');
		this.#upstreams.clear();
	}

	#upstream(address: string): Upstream {
		const known = this.#upstreams.get(address);
		if (known !== undefined) return known;
		const target = parseUpstream(address);
		const endpoint = endpointOf(target.url);
		const key = target.key === null ? '' : `authorization: Bearer ${target.key}\r\n`;
		const headers = `host: ${endpoint.authority}\r\nuser-agent: orchestratord\r\ncontent-type: application/json\r\n${key}`;
		const upstream = { target, endpoint, headers, connections: new UpstreamConnections(endpoint, target.connectMs) };
		this.#upstreams.set(address, upstream);
		return upstream;
	}
}

function cannot({ engine }: UpstreamTarget, what: string): Failure {
	return failure('INVALID_PARAMS', `the engine cannot ${what}`, { engine });
}

function problemOf(error: unknown): Failure {
	return error instanceof UpstreamProblem ? error.failure : failure('INTERNAL', 'the engine could not be asked');
}
