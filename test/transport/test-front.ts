/**
 * A whole front over the real server library, on a free loopback port, with actors made of closures behind it: what the
 * tests of the HTTP surface talk to.
 */
import { RealHost } from '../../src/actors/kernel/real-host.ts';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';
import type { Labels, LogLevel, Telemetry } from '../../src/actors/kernel/telemetry.ts';
import type { CountNews, DecodePort, TokenizeNews } from '../../src/actors/serving/decode.ts';
import type { ReadEngineLog } from '../../src/actors/serving/engine-log-messages.ts';
import type { Failure } from '../../src/actors/serving/failure.ts';
import type { DispatcherCommand, PoolView, ReplicaFacts } from '../../src/actors/serving/messages.ts';
import type { ElsewhereCommand, Lookup, Opening, TaskDirectory, TasksCommand } from '../../src/actors/serving/task-directory.ts';
import { cursorOf, placeOfCursor } from '../../src/actors/serving/task-page.ts';
import type { TaskRequest } from '../../src/actors/serving/task-request.ts';
import type { Clock } from '../../src/transport/clock.ts';
import { buildFront, type Front, type FrontOptions } from '../../src/transport/front.ts';
import { chooseHost, type HostPreference } from '../../src/transport/http/choose-host.ts';
import type { HttpHostOptions } from '../../src/transport/http/http-host.ts';
import { type MetricsSnapshot, renderMetrics } from '../../src/transport/telemetry/metrics-merge.ts';
import { decisionRecord } from '../serving/summaries.ts';
import { FakeTask, standingAt } from './fake-task.ts';
import { RawClient } from './raw-client.ts';

export const replicaFacts: ReplicaFacts = {
	replicaId: 'p1-0',
	poolId: 'p1',
	engine: 'scripted',
	engineVersion: '1',
	modelDigest: null,
	modelName: 'scripted:demo',
	address: 'SECRET-ADDRESS',
	slots: 2,
	ctx: 2048,
	workloads: ['completion'],
	samplerProfileVersion: '1',
	chatTemplate: null,
	device: 'CPU',
	features: ['logprobs'],
};

export function poolView(more: Partial<PoolView> = {}): PoolView {
	return {
		poolId: 'p1',
		engine: 'scripted',
		provider: 'embedded',
		model: 'scripted:demo',
		aliases: ['default'],
		names: [],
		ctx: 2048,
		maxTokensOut: 1024,
		charges: { wallMs: 600_000, perTokenIn: 0, perTokenOut: 0, gpus: 0 },
		slotsTotal: 2,
		slotsFree: 1,
		queueDepth: { interactive: 1, batch: 2 },
		state: 'ready',
		residency: 'always',
		drainingUntil: null,
		readyAt: null,
		retiring: false,
		fetch: null,
		reloadingTo: null,
		purging: null,
		lastError: null,
		replicas: [{ replicaId: 'p1-0', state: 'ready', facts: replicaFacts, breaker: 'closed', lastError: null }],
		...more,
	};
}

/** Keeps tasks in a map; opens whatever is asked for unless `answer` says otherwise. */
export class FakeTasks implements TaskDirectory, ActorRef<TasksCommand> {
	readonly tasks = new Map<string, FakeTask>();
	readonly expired = new Set<string>();
	readonly requests: TaskRequest[] = [];
	pools: readonly PoolView[] = [poolView()];
	controlReachable = true;
	complete = true;
	/** What becomes of the next requests: opened, a refusal, or silence. */
	answer: 'open' | 'silence' | Failure = 'open';
	/** Of those that are opened. */
	standing = standingAt(3);
	delivery: 'accepted' | 'full' | 'closed' = 'accepted';
	readonly #now: () => number;
	readonly silenced: { readonly request: TaskRequest; readonly replyTo: ActorRef<Opening> }[] = [];

	constructor(now: () => number) {
		this.#now = now;
	}

	tell(command: TasksCommand): 'accepted' | 'full' | 'closed' {
		if (this.delivery !== 'accepted' || command.type !== 'open-task') return this.delivery;
		const { request, replyTo } = command;
		this.requests.push(request);
		if (this.answer === 'silence') this.silenced.push({ request, replyTo });
		else if (this.answer === 'open') this.open(request, replyTo);
		else replyTo.tell({ type: 'task-refused', failure: this.answer });
		return 'accepted';
	}

	open(request: TaskRequest, replyTo: ActorRef<Opening>): FakeTask {
		const known = this.tasks.get(request.taskId);
		const task = known ?? this.add(request);
		replyTo.tell({
			type: 'task-opened',
			task,
			standing: this.standing,
			poolId: 'p1',
			onTimeProbability: request.deadlineMs === null ? null : 0.5,
			fresh: known === undefined,
		});
		return task;
	}

	add(request: TaskRequest): FakeTask {
		const task = new FakeTask(request, this.#now());
		this.tasks.set(request.taskId, task);
		return task;
	}

	lookup(taskId: string): Lookup {
		const task = this.tasks.get(taskId);
		if (task !== undefined) return { found: 'task', task };
		return this.expired.has(taskId) ? { found: 'expired', taskId } : { found: 'nothing' };
	}

	list(filter: Parameters<TaskDirectory['list']>[0], limit: number, cursor: string | null): ReturnType<TaskDirectory['list']> {
		const all = [...this.tasks.values()]
			.reverse()
			.filter((task) => (filter.state ?? task.state) === task.state && (filter.poolId ?? task.poolId) === task.poolId)
			.filter((task) => (filter.tenant ?? task.request.tenant) === task.request.tenant);
		const from = cursor === null ? 0 : (placeOfCursor(cursor)?.ordinal ?? 0);
		const next = from + limit < all.length ? cursorOf({ at: 0, front: 0, ordinal: from + limit }) : null;
		return { tasks: all.slice(from, from + limit), nextCursor: next };
	}
}

export interface LogLine {
	readonly level: LogLevel;
	readonly event: string;
	readonly fields: Readonly<Record<string, unknown>>;
}

export interface TestFront {
	readonly url: string;
	readonly port: number;
	readonly front: Front;
	readonly system: ActorSystem;
	readonly tasks: FakeTasks;
	readonly lines: LogLine[];
	/** Counted, as `metric reason`. */
	readonly counted: string[];
	readonly dispatched: DispatcherCommand[];
	readonly decode: { tokenized: TokenizeNews };
	metrics: () => Promise<readonly MetricsSnapshot[]>;
	/** Runs `work` in an actors' turn, as a Task does. */
	inTurn(work: () => void): Promise<void>;
	fetch(path: string, init?: RequestInit): Promise<Response>;
	post(path: string, body: unknown, headers?: Readonly<Record<string, string>>): Promise<Response>;
	raw(): Promise<RawClient>;
	close(): void;
}

/** `elsewhere`: where tasks of other front threads are found; null: this is the only one. */
export async function startFront(
	more: Partial<FrontOptions> = {},
	clock?: Clock,
	preference: HostPreference = 'auto',
	elsewhere: ActorRef<ElsewhereCommand> | null = null,
	engineLogs: (system: ActorSystem) => ActorRef<ReadEngineLog> | null = () => null,
	http: Partial<HttpHostOptions> = {},
): Promise<TestFront> {
	const lines: LogLine[] = [];
	const counted: string[] = [];
	const telemetry: Telemetry = {
		count: (metric: string, labels: Labels) => {
			counted.push(`${metric} ${labels['reason'] ?? ''}`);
		},
		gauge: () => undefined,
		observe: () => undefined,
		expect: () => undefined,
		log: (level, event, fields) => {
			lines.push({ level, event, fields });
		},
	};
	const system = new ActorSystem(new RealHost(telemetry));
	const tasks = new FakeTasks(() => system.host.now());
	const dispatched: DispatcherCommand[] = [];
	const decode = { tokenized: { type: 'tokenized', tokens: [{ id: 5, text: 'hi' }] } as TokenizeNews };
	const port: DecodePort = {
		start: () => ({ cancel: () => undefined, abandon: () => undefined }),
		count: (_replica, _input, replyTo: ActorRef<CountNews>) => replyTo.tell({ type: 'prompt-counted', tokens: 1 }),
		tokenize: (_replica, _text, replyTo) => replyTo.tell(decode.tokenized),
	};
	const options: FrontOptions = {
		front: 0,
		hostname: '127.0.0.1',
		hosts: [],
		corsOrigins: [],
		auth: { keys: [], publicMetrics: false },
		headerCountMax: 50,
		bodyBytesMax: 1_000_000,
		onDisconnect: 'detach',
		disconnectGraceMs: 2000,
		responses: { countMax: 100, bytesMax: 1_000_000 },
		version: '1.2.3',
		buildCommit: null,
		buildTime: null,
		sse: { heartbeatMs: 15_000, stallMs: 30_000, microbatchMs: 0, watchersMax: 50 },
		...more,
	};
	const logs = engineLogs(system);
	const choice = chooseHost(
		preference,
		{
			hostname: '127.0.0.1',
			port: 0,
			bodyBytesMax: options.bodyBytesMax,
			inflightBodyBytesMax: 10_000_000,
			wsMessageBytesMax: 100_000,
			connectionsMax: 1_000,
			...http,
		},
		(where, error) => lines.push({ level: 'error', event: 'host-bug', fields: { where, error } }),
	);
	if (!choice.ok) throw new Error(choice.reason);
	let metrics = async (): Promise<readonly MetricsSnapshot[]> => [];
	const front = buildFront({
		host: choice.host,
		system,
		tasks,
		directory: tasks,
		elsewhere,
		decode: port,
		dispatcher: () => ({
			tell: (command) => {
				if (command.type === 'explain') command.replyTo.tell({ type: 'explained', decision: decisionRecord });
				else dispatched.push(command);
				return 'accepted';
			},
		}),
		engineLogs: () => logs,
		collectMetrics: async () => renderMetrics(await metrics()),
		options,
		...(clock === undefined ? {} : { clock }),
	});
	const listening = await front.listen();
	const url = `${http.tls === undefined || http.tls === null ? 'http' : 'https'}://127.0.0.1:${listening.port}`;
	const clients: RawClient[] = [];
	return {
		url,
		port: listening.port,
		front,
		system,
		tasks,
		lines,
		counted,
		dispatched,
		decode,
		get metrics() {
			return metrics;
		},
		set metrics(collect) {
			metrics = collect;
		},
		inTurn: (work) =>
			new Promise((resolve, reject) => {
				const edge = system.edge<null>(() => {
					edge.close();
					try {
						work();
						resolve();
					} catch (error) {
						reject(error);
					}
				});
				edge.tell(null);
			}),
		fetch: (path, init) => fetch(`${url}${path}`, init),
		post: (path, body, headers = {}) =>
			fetch(`${url}${path}`, {
				method: 'POST',
				headers: { 'content-type': 'application/json', ...headers },
				body: typeof body === 'string' ? body : JSON.stringify(body),
			}),
		async raw() {
			const client = await RawClient.connect(listening.port);
			clients.push(client);
			return client;
		},
		close() {
			for (const client of clients) client.end();
			front.close();
			system.shutdown();
			assertNothingQuoted(lines, tasks.requests);
		},
	};
}

/** No line of the log holds a prompt of any request that came through. */
function assertNothingQuoted(lines: readonly LogLine[], requests: readonly TaskRequest[]): void {
	const said = JSON.stringify(lines.map(({ event, fields }) => [event, fields]));
	for (const { input } of requests) {
		const texts =
			input.kind === 'prompt' ? [input.text] : input.kind === 'messages' ? input.messages.map(({ content }) => content) : input.inputs;
		for (const text of texts) if (text.length >= 8 && said.includes(JSON.stringify(text).slice(1, -1))) throw new Error(`logged: ${text}`);
	}
}
