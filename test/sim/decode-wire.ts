/**
 * The byte half of the simulated engines, on a front thread: a decode port with one connection per engine process, opened when
 * first needed. As on the real wire nothing is sent before the engine's welcome, what one connection carries stays in order,
 * and what an engine had written before it died is read before the end of its connection.
 */
import type { ActorRef, Delivery } from '../../src/actors/kernel/ref.ts';
import type { CountNews, DecodeNews, DecodePort, GenerateRequest, Generation, TokenizeNews } from '../../src/actors/serving/decode.ts';
import { failure } from '../../src/actors/serving/failure.ts';
import type { ReplicaFacts } from '../../src/actors/serving/messages.ts';
import type { PromptInput } from '../../src/actors/serving/task-request.ts';
import type { TestPiece } from '../serving/piece-records.ts';
import type { EngineProcess } from './engine-process.ts';
import type { SimThread } from './sim-thread.ts';
import type { Universe } from './universe.ts';

/** One generation, as the checkers look at it. */
export interface GenerationRecord {
	readonly taskId: string;
	/** Of the front that asked, with its incarnation. */
	readonly front: string;
	readonly address: string;
	readonly request: GenerateRequest;
	/** Pieces behind which it was to go on. */
	from: number;
	readonly made: TestPiece[];
	/** The task has heard that it began. */
	begun: boolean;
	/** The task has heard its end, or has given it up. */
	over: boolean;
}

export class DecodeStream implements Generation {
	readonly connection: DecodeConnection;
	readonly request: GenerateRequest;
	readonly record: GenerationRecord;
	readonly #task: ActorRef<DecodeNews>;
	#open = true;
	#forsaken = false;

	constructor(connection: DecodeConnection, request: GenerateRequest, record: GenerationRecord, task: ActorRef<DecodeNews>) {
		this.connection = connection;
		this.request = request;
		this.record = record;
		this.#task = task;
	}

	get taskId(): string {
		return this.record.taskId;
	}

	cancel(): void {
		if (!this.#open) return;
		this.connection.send((engine) => engine.cancel(this));
	}

	abandon(): void {
		this.#forsaken = true;
		this.record.over = true;
		this.cancel();
	}

	/** The engine says it; the front hears it later. */
	say(news: DecodeNews): void {
		this.connection.say(() => this.hear(news));
	}

	/** On the front, in the order of the connection. */
	hear(news: DecodeNews): void {
		if (!this.#open) return;
		if (news.type !== 'pieces' && news.type !== 'decode-started') {
			this.#open = false;
			this.record.over = true;
			this.connection.streams.delete(this);
		}
		if (this.#forsaken) return;
		if (news.type === 'decode-started') this.record.begun = true;
		const delivery: Delivery = this.#task.tell(news);
		if (delivery === 'accepted') return;
		if (delivery === 'full') this.connection.bug(`the mailbox of ${this.taskId} is full`);
		this.#forsaken = true;
		this.cancel();
	}
}

export class DecodeConnection {
	readonly streams = new Set<DecodeStream>();
	closed = false;
	readonly #universe: Universe;
	readonly #thread: SimThread;
	readonly #process: EngineProcess | undefined;
	readonly #onClosed: () => void;
	#welcomed = false;
	#outbox: ((engine: EngineProcess) => void)[] = [];
	#heardAt = 0;

	constructor(universe: Universe, thread: SimThread, process: EngineProcess | undefined, onClosed: () => void) {
		this.#universe = universe;
		this.#thread = thread;
		this.#process = process;
		this.#onClosed = onClosed;
		if (process === undefined) this.say(() => this.end());
		else process.accept(this);
	}

	/** To the engine, once it has welcomed us. */
	send(frame: (engine: EngineProcess) => void): void {
		const engine = this.#process;
		if (this.closed || engine === undefined) return;
		if (this.#welcomed) engine.receive(() => frame(engine));
		else this.#outbox.push(frame);
	}

	/** From the engine: in order, a little later. */
	say(hear: () => void): void {
		const { random, plan } = this.#universe;
		const { host } = this.#thread;
		const now = host.now();
		this.#heardAt = Math.max(now + random.next() * plan.engine.lagMs, this.#heardAt);
		host.setTimer(this.#heardAt - now, () => {
			if (!this.closed) hear();
		});
	}

	welcome(): void {
		this.#welcomed = true;
		for (const frame of this.#outbox.splice(0)) this.send(frame);
	}

	/** The engine is gone, or was never there. */
	end(): void {
		if (this.closed) return;
		const lost = failure('WORKER_RESET', 'connection to the engine host lost');
		for (const stream of [...this.streams]) {
			stream.hear({ type: 'decode-failed', failure: lost, slot: 'unknown', began: this.#welcomed ? 'maybe' : 'no' });
		}
		this.closed = true;
		this.#onClosed();
	}

	/** The front is gone: the engine finds out. */
	drop(): void {
		this.closed = true;
		const engine = this.#process;
		engine?.receive(() => engine.disconnected(this));
	}

	bug(words: string): void {
		this.#universe.found('nothingIsLoggedAsABug', `${this.#thread.label}: ${words}`);
	}
}

export class SimDecodePort implements DecodePort {
	readonly #connections = new Map<string, DecodeConnection>();
	readonly #universe: Universe;
	readonly #thread: SimThread;

	constructor(universe: Universe, thread: SimThread) {
		this.#universe = universe;
		this.#thread = thread;
	}

	/** Generations whose last news has not come. */
	get inFlight(): number {
		let sum = 0;
		for (const connection of this.#connections.values()) sum += connection.streams.size;
		return sum;
	}

	start(replica: ReplicaFacts, request: GenerateRequest, task: ActorRef<DecodeNews>): Generation {
		const taskId = request.input.kind === 'prompt' ? (request.input.text.split(' ')[0] ?? '') : '';
		const record: GenerationRecord = {
			taskId,
			front: this.#thread.label,
			address: replica.address,
			request,
			from: 0,
			made: [],
			begun: false,
			over: false,
		};
		const other = this.#universe.generations.find((each) => each.taskId === taskId && each.front === record.front && !each.over);
		if (other !== undefined) this.#universe.found('tasksRunOnce', `${taskId} begins on ${replica.address} while ${other.address} has it`);
		this.#universe.generations.push(record);
		this.#universe.onGenerate(this.#thread, request);
		const connection = this.#to(replica.address);
		const stream = new DecodeStream(connection, request, record, task);
		connection.streams.add(stream);
		connection.send((engine) => engine.start(stream));
		return stream;
	}

	count(replica: ReplicaFacts, input: PromptInput, replyTo: ActorRef<CountNews>): void {
		const connection = this.#to(replica.address);
		let answered = false;
		const answer = (news: CountNews): void => {
			if (answered) return;
			answered = true;
			replyTo.tell(news);
		};
		const tokens = input.kind === 'prompt' ? input.text.length : 1;
		connection.send(() => connection.say(() => answer({ type: 'prompt-counted', tokens })));
		this.#thread.host.setTimer(1_000, () => answer({ type: 'count-failed', failure: failure('WORKER_RESET', 'no answer') }));
	}

	tokenize(_replica: ReplicaFacts, _text: string, _replyTo: ActorRef<TokenizeNews>): void {
		throw new Error('no actor tokenizes');
	}

	/** The thread is gone: the platform closes its sockets. */
	drop(): void {
		for (const connection of this.#connections.values()) connection.drop();
		this.#connections.clear();
	}

	#to(address: string): DecodeConnection {
		const open = this.#connections.get(address);
		if (open !== undefined) return open;
		const connection: DecodeConnection = new DecodeConnection(this.#universe, this.#thread, this.#universe.processes.get(address), () => {
			if (this.#connections.get(address) === connection) this.#connections.delete(address);
		});
		this.#connections.set(address, connection);
		return connection;
	}
}
