/**
 * The threads of the daemon, as main keeps them: started, linked with each other, watched, started again. Runs on the main
 * thread; it moves no messages of actors, only the ports they travel through.
 *
 * A control or engine thread that is lost or stuck is started again and linked anew; its peers are told first. A front that
 * is stuck ends the daemon, for its open sockets make killing it fatal to the process.
 */
import { MessageChannel, Worker } from 'node:worker_threads';
import { proxy, type Remote, transfer, wrap } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { decideRestart, noFailures, type RestartHistory, type SupervisionSpec } from '../kernel/supervision.ts';
import { SharedTable } from './shared-table.ts';
import type { ThreadApi, ThreadBirth, ThreadFailed } from './thread-api.ts';
import { type Verdict, Watchdog, type WatchdogLimits } from './watchdog.ts';

export interface ThreadSpec {
	readonly name: string;
	/** The role's entry file. */
	readonly entry: URL;
	/** The role's configuration, for each incarnation. */
	config(incarnation: number): unknown;
	/** Threads it talks with directly. Named on one side is enough. */
	readonly peers: readonly string[];
	/** False for fronts: see above. */
	readonly mayKill: boolean;
	/** It waits for a disk, however slow that is: its silence means nothing. Others are told first when all ends, for they still write to it. */
	readonly isStore?: boolean;
	readonly supervision: SupervisionSpec;
	/** Of V8's heap: new objects live here first, and it is taken from the system for good. Less is collected more often. */
	readonly youngGenerationMb: number;
	/** Asked once the first thread of all has started: false, and this one is left out for good. */
	wanted?(): boolean;
}

export interface CrewEvents {
	/** A thread is gone and will be started again after `delayMs`. */
	onLost(name: string, why: string, delayMs: number): void;
	onRestarted(name: string, incarnation: number, facts: unknown): void;
	/** The daemon cannot go on. */
	onGivenUp(name: string, why: string): void;
}

export interface CrewOptions {
	/** Adds the metrics of a thread that has ended to those that are kept (null at first), so that no counter falls. */
	keepMetrics(kept: unknown, ended: unknown): unknown;
	/** Metrics of the thread that the crew itself runs on. */
	ownMetrics(): Promise<unknown>;
	/** All of them as the text of a scrape. Done here and not where it was asked for: that thread has streams to serve. */
	renderMetrics(all: readonly unknown[]): Promise<string>;
	/** See `MainApi`. */
	reloadConfig(): Promise<unknown>;
	/** See `MainApi`. */
	catalog(request: unknown): Promise<unknown>;
	/** For `MainApi`. */
	artifacts(request: unknown): Promise<unknown>;
	readonly watchdog?: WatchdogLimits;
}

interface Member {
	readonly spec: ThreadSpec;
	readonly row: number;
	incarnation: number;
	worker: Worker | null;
	api: Remote<ThreadApi<unknown, unknown>> | null;
	facts: unknown;
	failures: RestartHistory;
	/** As last asked for. */
	metrics: unknown;
	/** Resolves when this incarnation has ended: calls to it that wait will never be answered. */
	gone: Promise<void>;
	/** Why it is being ended, when we end it. */
	why: string | null;
}

const watchMs = 500;
/** More of them take the processors from each other for so long that they look stuck. */
const startsAtOnce = 4;
/** How long a thread may take to let go of what it holds before it is ended. */
const stopMs = 3_000;
/** A thread that is busy for longer is left out of a scrape: its last metrics stand in. */
const metricsMs = 1_000;
/** What a killed thread has counted since is lost to the metrics. */
const keepMs = 2_000;
const defaultLimits: WatchdogLimits = { stuckMs: 10_000, graceMs: 20_000 };

export class Crew {
	readonly #members = new Map<string, Member>();
	readonly #events: CrewEvents;
	readonly #table: SharedTable;
	readonly #watchdog: Watchdog;
	readonly #watching: NodeJS.Timeout;
	readonly #options: CrewOptions;
	readonly #keeping: NodeJS.Timeout;
	#keptMetrics: unknown = null;
	/** Ends when the scrape that is being made has been made. */
	#scrape: Promise<unknown> = Promise.resolve();
	#nextScrape: Promise<string> | null = null;
	#linkIncarnation = 0;
	#closing = false;

	constructor(specs: readonly ThreadSpec[], events: CrewEvents, options: CrewOptions) {
		this.#events = events;
		this.#options = options;
		this.#table = SharedTable.forThreads(specs.length);
		this.#watchdog = new Watchdog(options.watchdog ?? defaultLimits);
		specs.forEach((spec, row) => {
			this.#members.set(spec.name, {
				spec,
				row,
				incarnation: 0,
				worker: null,
				api: null,
				facts: null,
				failures: noFailures,
				metrics: null,
				gone: Promise.resolve(),
				why: null,
			});
		});
		this.#watching = setInterval(() => this.#watch(), watchMs);
		this.#keeping = setInterval(() => this.#keepMetrics(), keepMs);
	}

	/** Starts and links all: the first one alone, then, knowing its facts, the others, a few at once. Rejects with the reason when one cannot start. */
	async start(): Promise<void> {
		const [first, ...others] = this.#members.values();
		if (first === undefined) return;
		await this.#startMember(first);
		for (const { spec } of others) if (spec.wanted?.() === false) this.#members.delete(spec.name);
		const wanted = others.filter(({ spec }) => this.#members.has(spec.name));
		for (let from = 0; from < wanted.length; from += startsAtOnce) {
			// None is left half started: a front whose thread ends while it opens its port would take the process with it.
			const outcomes = await Promise.allSettled(wanted.slice(from, from + startsAtOnce).map((member) => this.#startMember(member)));
			for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
		}
	}

	/** Those that are not left out, in their order. */
	get names(): readonly string[] {
		return [...this.#members.keys()];
	}

	/** What a thread answered at its start; null before. */
	facts(name: string): unknown {
		return this.#member(name).facts;
	}

	incarnation(name: string): number {
		return this.#member(name).incarnation;
	}

	/** The text of a scrape: metrics of all threads that answer, and what is kept of those that have ended. */
	metrics(): Promise<string> {
		// All who ask while one is made share the next: each sees what had happened when it asked.
		this.#nextScrape ??= this.#scrape.then(() => {
			this.#nextScrape = null;
			const text = this.#collectMetrics();
			this.#scrape = text.catch(() => '');
			return text;
		});
		return this.#nextScrape;
	}

	async #collectMetrics(): Promise<string> {
		const members = [...this.#members.values()];
		const [own] = await Promise.all([this.#options.ownMetrics(), ...members.map((member) => this.#askMetrics(member, false))]);
		// Read in one go: what a thread leaves when it ends is either with it or kept, never both.
		const all = [this.#keptMetrics, ...members.map((member) => member.metrics), own].filter((metrics) => metrics !== null);
		return this.#options.renderMetrics(all);
	}

	/** Of threads that may be killed at any moment; a front has last words. */
	#keepMetrics(): void {
		for (const member of this.#members.values()) if (member.spec.mayKill) void this.#askMetrics(member, true);
	}

	async #askMetrics(member: Member, ifCounted: boolean): Promise<void> {
		const { api, incarnation } = member;
		if (api === null) return;
		let timer: NodeJS.Timeout | undefined;
		const late = new Promise<null>((resolve) => {
			timer = setTimeout(resolve, metricsMs, null);
		});
		const metrics = await Promise.race([api.metrics(ifCounted).catch(() => null), late]);
		clearTimeout(timer);
		if (metrics !== null && member.incarnation === incarnation && member.api === api) member.metrics = metrics;
	}

	/** What the role of a thread says of itself now; undefined while it is away. */
	async inspect(name: string): Promise<unknown> {
		const { api, gone } = this.#member(name);
		return api === null ? undefined : Promise.race([api.inspect(), gone]);
	}

	/** Tells a thread what has changed. One that is away begins with it when it comes back. */
	async configure(name: string, change: unknown): Promise<void> {
		const { api, gone } = this.#member(name);
		if (api !== null) await Promise.race([api.configure(change), gone]);
	}

	async drain(name: string, graceMs: number): Promise<void> {
		const member = this.#member(name);
		if (member.api !== null) await Promise.race([member.api.drain(graceMs), member.gone]);
	}

	async conclude(name: string): Promise<void> {
		const member = this.#member(name);
		if (member.api !== null) await Promise.race([member.api.conclude(), member.gone]);
	}

	/** Ends a control or engine thread by force; it is started again. */
	kill(name: string, why: string): void {
		const member = this.#member(name);
		if (!member.spec.mayKill) throw new Error(`${name} holds open sockets: killing it would end the process`);
		member.why = why;
		void member.worker?.terminate();
	}

	/** Stops all, and ends the threads once each has let go of what it holds, or had its time to. */
	async stop(): Promise<void> {
		this.#closing = true;
		clearInterval(this.#watching);
		clearInterval(this.#keeping);
		const members = [...this.#members.values()];
		// Fronts first: one that still runs takes the end of the others for a loss.
		const order: ((spec: ThreadSpec) => boolean)[] = [
			({ mayKill, isStore }) => !mayKill && isStore !== true,
			({ mayKill }) => mayKill,
			({ isStore }) => isStore === true,
		];
		for (const isNext of order) await this.#stopMembers(members.filter(({ spec }) => isNext(spec)));
		await Promise.all(members.flatMap(({ worker }) => (worker === null ? [] : [worker.terminate()])));
	}

	async #stopMembers(members: readonly Member[]): Promise<void> {
		const late = new Promise((resolve) => setTimeout(resolve, stopMs));
		await Promise.all(members.map(({ api, gone }) => Promise.race([api?.stop().catch(() => undefined), gone, late])));
	}

	async #startMember(member: Member): Promise<void> {
		member.incarnation += 1;
		const birth: ThreadBirth = { name: member.spec.name, row: member.row, table: this.#table.buffer, incarnation: member.incarnation };
		const worker = new Worker(member.spec.entry, {
			workerData: birth,
			name: member.spec.name,
			resourceLimits: { maxYoungGenerationSizeMb: member.spec.youngGenerationMb },
		});
		member.worker = worker;
		member.why = null;
		let failed: (why: Error) => void = () => {};
		const early = new Promise<never>((_resolve, reject) => {
			failed = reject;
		});
		early.catch(() => undefined);
		worker.on('message', (message: unknown) => {
			if (!isThreadFailed(message) || member.worker !== worker) return;
			member.why = message.stack || message.message;
			member.metrics = message.metrics ?? member.metrics;
			// It has closed what makes termination dangerous.
			void worker.terminate();
		});
		worker.on('error', (error: Error) => {
			member.why ??= error.stack ?? error.message;
		});
		let onGone: () => void = () => {};
		member.gone = new Promise((resolve) => {
			onGone = resolve;
		});
		worker.on('exit', (code) => {
			onGone();
			const why = member.why ?? `the thread ended with code ${code}`;
			failed(new Error(why));
			if (member.worker === worker) this.#onExit(member, why);
		});
		const api = wrap<ThreadApi<unknown, unknown>>(nodeEndpoint(worker));
		if (member.spec.isStore !== true) this.#watchdog.expect(member.spec.name, performance.now());
		member.facts = await Promise.race([api.start(member.spec.config(member.incarnation)), early]);
		member.api = api;
		// In one go: of two that start at once, the second one finds the first, and only it.
		this.#linkMember(member);
		const { reloadConfig, catalog, artifacts } = this.#options;
		api.attach(proxy({ metrics: () => this.metrics(), reloadConfig, catalog, artifacts })).catch(() => undefined);
	}

	/** Links a member with its peers that run. */
	#linkMember(member: Member): void {
		for (const other of this.#members.values()) {
			if (other === member || !this.#arePeers(member, other) || other.api === null || member.api === null) continue;
			this.#linkIncarnation += 1;
			const { port1, port2 } = new MessageChannel();
			// Not awaited: a thread that dies meanwhile never answers.
			member.api.connect(other.spec.name, other.incarnation, this.#linkIncarnation, transfer(port1, [port1])).catch(() => undefined);
			other.api.connect(member.spec.name, member.incarnation, this.#linkIncarnation, transfer(port2, [port2])).catch(() => undefined);
		}
	}

	#arePeers(a: Member, b: Member): boolean {
		return a.spec.peers.includes(b.spec.name) || b.spec.peers.includes(a.spec.name);
	}

	#onExit(member: Member, why: string): void {
		member.worker = null;
		this.#watchdog.forget(member.spec.name);
		if (this.#closing || member.api === null) return;
		member.api = null;
		if (member.metrics !== null) this.#keptMetrics = this.#options.keepMetrics(this.#keptMetrics, member.metrics);
		member.metrics = null;
		for (const other of this.#members.values()) {
			if (other !== member && this.#arePeers(member, other)) other.api?.peerLost(member.spec.name).catch(() => undefined);
		}
		const { spec } = member;
		const now = performance.now();
		const verdict = decideRestart(spec.supervision, member.failures, now, Math.random());
		if (verdict.decision === 'stop') {
			this.#events.onGivenUp(spec.name, why);
			return;
		}
		member.failures = verdict.history;
		this.#events.onLost(spec.name, why, verdict.delayMs);
		setTimeout(() => void this.#restart(member), verdict.delayMs);
	}

	async #restart(member: Member): Promise<void> {
		if (this.#closing) return;
		try {
			await this.#startMember(member);
			this.#events.onRestarted(member.spec.name, member.incarnation, member.facts);
		} catch (error) {
			if (this.#closing) return;
			this.#events.onGivenUp(member.spec.name, error instanceof Error ? error.message : String(error));
		}
	}

	#watch(): void {
		const threads = [...this.#members.values()].map(({ spec, row }) => ({
			name: spec.name,
			beats: this.#table.beats(row),
			mayKill: spec.mayKill,
		}));
		for (const verdict of this.#watchdog.judge(threads, performance.now())) this.#onVerdict(verdict);
	}

	#onVerdict({ name, verdict, silentMs }: Verdict): void {
		const why = `no sign of life for ${(silentMs / 1000).toFixed(1)} s`;
		if (verdict === 'kill') this.kill(name, why);
		else this.#events.onGivenUp(name, why);
	}

	#member(name: string): Member {
		const member = this.#members.get(name);
		if (member === undefined) throw new Error(`there is no thread ${name}`);
		return member;
	}
}

function isThreadFailed(message: unknown): message is ThreadFailed {
	return typeof message === 'object' && message !== null && 'kind' in message && message.kind === 'thread-failed';
}
