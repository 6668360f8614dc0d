/** The decode port of a front thread to engines over HTTP: connections for each engine, an adapter for each kind. */
import type { ActorRef } from '../../actors/kernel/ref.ts';
import type { CountNews, DecodeNews, DecodePort, GenerateRequest, Generation, TokenizeNews } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { ReplicaFacts } from '../../actors/serving/messages.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import { adapterOf, type PreparedCall, type UpstreamAdapters, type UpstreamCall, UpstreamProblem, type UpstreamTarget } from './adapter.ts';
import { AskedGeneration, type ClosableGeneration } from './asked-generation.ts';
import { type Endpoint, endpointOf } from './endpoint.ts';
import { ReadBatch } from './read-batch.ts';
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
	readonly #batch = new ReadBatch();
	readonly #running = new Set<ClosableGeneration>();

	constructor(adapters: UpstreamAdapters) {
		this.#adapters = adapters;
	}

	get inFlight(): number {
		return this.#running.size;
	}

	start(replica: ReplicaFacts, request: GenerateRequest, task: ActorRef<DecodeNews>): Generation {
		const upstream = this.#upstream(replica.address);
		const { target } = upstream;
		const adapter = adapterOf(this.#adapters, target.engine);
		const prepared = adapter.prepare?.(upstreamClient(target), target, request) ?? null;
		if (prepared !== null) return this.#asked(upstream, prepared, task);
		const call = adapter.call(target, request);
		if ('code' in call) {
			task.tell({ type: 'decode-failed', failure: { ...call, engine: target.engine }, slot: 'free', began: 'no' });
			return { cancel() {}, abandon() {} };
		}
		return this.#begin(upstream, call, task);
	}

	#asked(upstream: Upstream, prepared: Promise<PreparedCall>, task: ActorRef<DecodeNews>): Generation {
		const generation: AskedGeneration = new AskedGeneration(
			{
				engine: upstream.target.engine,
				task,
				begin: (call) => {
					this.#running.delete(generation);
					return this.#begin(upstream, call, task);
				},
				over: () => this.#running.delete(generation),
			},
			prepared,
		);
		this.#running.add(generation);
		return generation;
	}

	#begin({ target, endpoint, connections, headers }: Upstream, call: UpstreamCall, task: ActorRef<DecodeNews>): UpstreamGeneration {
		const adapter = adapterOf(this.#adapters, target.engine);
		const body = Buffer.from(JSON.stringify(call.body));
		const head = `POST ${endpoint.basePath}${call.path} HTTP/1.1\r\n${headers}accept: ${call.answers}\r\ncontent-length: ${body.length}\r\n\r\n`;
		const bytes = Buffer.concat([Buffer.from(head, 'latin1'), body]);
		const generation: UpstreamGeneration = new UpstreamGeneration({
			engine: target.engine,
			call,
			task,
			blocks: this.#blocks,
			batch: this.#batch,
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
		const why = 'this front is closing';
		for (const generation of this.#running) if (generation instanceof AskedGeneration) generation.close(why);
		for (const { connections } of this.#upstreams.values()) connections.close(why);
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
