/**
 * One run of the daemon in a simulation, a function of its seed: fronts, the control thread and engine threads with the
 * production actors and links, engine processes and clients that are simulated, faults, and then calm, in which everything
 * must come to an end and to rest. What the checkers found is its result, together with the hash of its trace.
 */

import type { Delivery } from '../../src/actors/kernel/ref.ts';
import type { SimEvent } from '../../src/actors/kernel/sim-host.ts';
import { SeededRandom, SimHost, SimWorld } from '../../src/actors/kernel/sim-host.ts';
import type { GenerateRequest } from '../../src/actors/serving/decode.ts';
import type { DispatcherMessage } from '../../src/actors/serving/dispatcher.ts';
import { leaseKey } from '../../src/actors/serving/engine-life.ts';
import type { DispatcherCommand, PlacementNews, ReplicaSpec } from '../../src/actors/serving/messages.ts';
import type { PoolMessage } from '../../src/actors/serving/pool-messages.ts';
import type { PoolSpec } from '../../src/actors/serving/pool-spec.ts';
import type { SessionView } from '../../src/actors/serving/session-messages.ts';
import { type BookMemory, bookMemory } from '../../src/actors/serving/task-book.ts';
import { checkBudgets } from './budget-checkers.ts';
import type { CheckerName } from './checkers.ts';
import { Client, changedSessions, keptSessions, type Submission } from './client.ts';
import { ControlRole } from './control-role.ts';
import type { GenerationRecord } from './decode-wire.ts';
import { EngineProcess } from './engine-process.ts';
import { EngineRole } from './engine-role.ts';
import { Faults } from './faults.ts';
import { FrontRole } from './front-role.ts';
import { drawPlan, faultKinds, type Plan } from './plan.ts';
import { QueueModel } from './queue-model.ts';
import type { Reading } from './reading.ts';
import { checkEnd, checkRest, slotsOf } from './rest-checkers.ts';
import { type ObservedLink, SimCrew, type SimThread } from './sim-thread.ts';
import { checkTasks } from './task-checkers.ts';
import type { Trace } from './trace.ts';
import type { Universe } from './universe.ts';
import type { Witness } from './witness.ts';

export interface Finding {
	readonly checker: CheckerName;
	/** Virtual ms. */
	readonly at: number;
	readonly words: string;
}

export interface RunResult {
	readonly plan: Plan;
	readonly hash: string;
	readonly events: number;
	readonly faults: number;
	readonly tasks: number;
	readonly tokens: number;
	/** Generations that went on behind tokens of another. */
	readonly moves: number;
	readonly findings: readonly Finding[];
}

const findingsMax = 20;
/** Virtual time in which everything must have ended: engines that failed often wait for a minute. */
const quietWithinMs = 130_000;
/** A run that goes in circles is ended. */
const eventsMax = 200_000;
/** Timers of the control thread that outlive the last task. */
const settleMs = 3_000;
/** Every ask between fronts has had its answer, or its time is over. */
const answerMs = 12_000;

export interface RunOptions {
	/** Instead of those that the seed chooses. */
	readonly everyFault?: boolean;
}

export function simulate(seed: number, trace: Trace, { everyFault = false }: RunOptions = {}): RunResult {
	const plan = drawPlan(seed);
	return new Simulation(seed, everyFault ? { ...plan, faults: faultKinds } : plan, trace).run();
}

class Simulation implements Universe {
	readonly plan: Plan;
	readonly world: SimWorld;
	readonly random: SeededRandom;
	readonly outside: SimHost;
	readonly processes = new Map<string, EngineProcess>();
	readonly generations: GenerationRecord[] = [];
	calm = false;
	pools: readonly PoolSpec[];
	readonly #trace: Trace;
	readonly #crew: SimCrew;
	readonly #faults: Faults;
	readonly #findings: Finding[] = [];
	readonly #submissions: Submission[] = [];
	readonly #readings: Reading[] = [];
	/** By pool id; of the control thread that lives. */
	#queues = new Map<string, QueueModel>();
	readonly #granted = new Set<string>();
	readonly #settled = new Set<string>();
	/** Links on which a front has said that all its tasks have reported. */
	readonly #frontsReported = new Set<ObservedLink>();
	/** The epoch that a task has reported to, by front and actor. */
	readonly #reported = new Map<string, number>();
	/** Tokens, by session. */
	readonly #allowed = new Map<string, number>();
	/** What the book has of those, once all is quiet. */
	readonly #books = new Map<string, SessionView | null>();
	/** The control thread was lost before the fronts can have heard of budgets. */
	#lostEarly = false;
	readonly #taskBooks = new Map<string, BookMemory>();
	#processesMade = 0;

	constructor(seed: number, plan: Plan, trace: Trace) {
		this.plan = plan;
		this.pools = plan.pools;
		this.#trace = trace;
		this.world = new SimWorld(seed);
		this.random = new SeededRandom(seed ^ 0x5eed);
		this.outside = new SimHost(this.world);
		this.#crew = new SimCrew(this.world, this.random, this.outside, this.plan.link, (...told) => this.#onTell(...told));
		this.#faults = new Faults(this, this.#crew);
		this.world.onEvent = (event) => this.#onEvent(event);
		this.world.onBroken = (actor, words) => this.found('ledgerIsTheSumOfLeases', `${actor}: ${words}`);
	}

	run(): RunResult {
		const { plan } = this;
		this.did('plan', JSON.stringify(plan));
		try {
			this.#live();
		} catch (error) {
			// Outside any actor: thrown into the code that would be a library's.
			this.found('nothingIsLoggedAsABug', error instanceof Error ? (error.stack ?? error.message) : String(error));
		}
		const { hash, events } = this.#trace;
		const tokens = this.generations.reduce((sum, { made }) => sum + made.length, 0);
		const tasks = this.#evidence().witnesses.length;
		const moves = this.generations.filter(({ begun, from }) => begun && from > 0).length;
		return { plan, hash, events, faults: this.#faults.struck, tasks, tokens, moves, findings: this.#findings };
	}

	#live(): void {
		this.#startThreads();
		this.#makeClients();
		this.#makeBudgets();
		this.#allowTokens();
		this.#faults.begin();
		this.world.advance(this.plan.activeMs);
		this.did('fate', 'calm');
		this.calm = true;
		this.#faults.calmDown();
		const quiet = this.#comeToRest();
		const evidence = this.#evidence();
		checkTasks(evidence);
		if (!quiet) return;
		if (!this.#allForgotten) checkBudgets({ ...evidence, allowed: this.#allowed, books: this.#books });
		checkRest(evidence);
		this.#shutDown();
		checkEnd(evidence, this.world.timers);
	}

	// ── what its parts ask of it ─────────────────────────────────────────────────────────────────────────────────

	did(who: string, what: string): void {
		this.#trace.did(this.world.now, who, what);
	}

	found(checker: CheckerName, words: string): void {
		this.did('CHECKER', `${checker}: ${words}`);
		if (this.#findings.length < findingsMax) this.#findings.push({ checker, at: this.world.now, words });
	}

	bookOf(front: string): BookMemory {
		const book = this.#taskBooks.get(front) ?? bookMemory(1 << 20);
		this.#taskBooks.set(front, book);
		return book;
	}

	newProcess(spec: ReplicaSpec, onDeath: (why: string) => void): EngineProcess {
		this.#processesMade += 1;
		const process = new EngineProcess(this, spec, this.#processesMade, onDeath);
		this.processes.set(process.address, process);
		return process;
	}

	takeStartFailure(): boolean {
		return this.#faults.takeStartFailure();
	}

	lives(label: string): boolean {
		return [...this.#crew.threads.values()].some((thread) => thread.label === label);
	}

	witnessOf(taskId: string): Witness | null {
		for (const { role } of this.#crew.threads.values()) {
			if (!(role instanceof FrontRole)) continue;
			const found = role.registry.lookup(taskId);
			if (found.found === 'task') return role.witness(found.task);
		}
		return null;
	}

	onGenerate(thread: SimThread, { lease, input }: GenerateRequest): void {
		const taskId = input.kind === 'prompt' ? (input.text.split(' ')[0] ?? '') : '';
		const role = thread.role as FrontRole;
		const live = role.registry.liveTasks().find((task) => task.request.taskId === taskId);
		const reported = this.#reported.get(`${thread.label} /tasks/${live?.ordinal}`) ?? 0;
		if (lease.epoch < reported) this.found('epochsAreFenced', `${taskId} starts on ${leaseKey(lease)} and has reported to ${reported}`);
	}

	// ── the daemon ───────────────────────────────────────────────────────────────────────────────────────────────

	#startThreads(): void {
		const { fronts, engineThreads } = this.plan;
		for (const name of fronts)
			this.#crew.add(name, ['control', ...fronts.filter((other) => other < name)], (thread) => new FrontRole(this, thread));
		this.#crew.add('control', engineThreads, (thread) => {
			const { link, restartMs } = this.plan;
			if (thread.incarnation > 1 && this.world.now < 250 + 4 * link.lagMs + restartMs) this.#lostEarly = true;
			// As it is configured now, unless it is left out.
			const specs = [...new Map([...this.plan.pools, ...this.pools].map((spec) => [spec.poolId, spec])).values()];
			this.#queues = new Map(specs.map((spec) => [spec.poolId, new QueueModel(spec, (checker, words) => this.found(checker, words))]));
			return new ControlRole(this, thread);
		});
		for (const name of engineThreads) this.#crew.add(name, ['control'], (thread) => new EngineRole(this, thread));
		for (const name of [...fronts, 'control', ...engineThreads]) this.#crew.start(name);
	}

	#makeClients(): void {
		const around = {
			front: (name: string): FrontRole | undefined => this.#crew.threads.get(name)?.role as FrontRole | undefined,
			submissions: this.#submissions,
			readings: this.#readings,
		};
		const sent: Client['sent'][] = [];
		for (let number = 0; number < this.plan.clients; number += 1) sent.push(new Client(this, around, number, sent).sent);
	}

	/** Somebody says now and then what sessions may use. */
	#makeBudgets(): void {
		const { random, plan } = this;
		for (let often = random.below(8); often > 0; often -= 1) {
			const sessionId = changedSessions[random.below(changedSessions.length)] ?? '';
			const limit = (most: number): number | null => (random.below(3) === 0 ? null : Math.floor(random.next() * most));
			const budgets = { tokens: limit(400), timeMs: limit(8_000), cost: limit(2) };
			this.outside.setTimer(random.next() * plan.activeMs, () => {
				const role = this.#crew.threads.get('control')?.role;
				if (role instanceof ControlRole) role.setBudgets(sessionId, budgets);
			});
		}
	}

	/** Before any client comes. */
	#allowTokens(): void {
		const role = this.#crew.threads.get('control')?.role as ControlRole;
		for (const sessionId of keptSessions) {
			const tokens = 20 + this.random.below(300);
			this.#allowed.set(sessionId, tokens);
			role.setBudgets(sessionId, { tokens });
		}
	}

	/** Nobody may be left who knows of the budgets, or of the last that was used: those who come back are told after a while. */
	get #allForgotten(): boolean {
		const { fronts, faults } = this.plan;
		const lost = (name: string): boolean => (this.#crew.threads.get(name)?.incarnation ?? 2) > 1;
		const hearsLate = faults.includes('slow-link') || faults.includes('thread-stall');
		return this.#lostEarly || (lost('control') && (hearsLate ? fronts.some(lost) : fronts.every(lost)));
	}

	/** True once everything has ended and is back. */
	#comeToRest(): boolean {
		// Clients that came late still act for as long again.
		this.world.advance(this.plan.activeMs * 2);
		let left = this.#unfinished();
		for (let waited = 0; waited < quietWithinMs && left.length > 0 && this.#trace.events < eventsMax; waited += 1_000) {
			this.world.advance(1_000);
			left = this.#unfinished();
		}
		const role = this.#crew.threads.get('control')?.role;
		for (const sessionId of this.#allowed.keys()) {
			if (role instanceof ControlRole) role.look(sessionId, ({ session }) => this.#books.set(sessionId, session));
		}
		this.world.advance(answerMs);
		// What each pool looks at now and then sets a timer or two for a moment.
		const { length } = this.plan.pools;
		for (let look = 0; look < 5 && (this.#crew.threads.get('control')?.system.stats.timers ?? 0) > length + 1; look += 1)
			this.world.advance(150);
		for (const words of left) this.found('everyTaskEnds', `after all the calm ${words}`);
		return left.length === 0;
	}

	#unfinished(): string[] {
		const left: string[] = [];
		for (const front of this.plan.fronts) {
			const role = this.#crew.threads.get(front)?.role;
			if (!(role instanceof FrontRole)) {
				left.push(`${front} is away`);
				continue;
			}
			for (const task of role.registry.liveTasks()) left.push(`${task.request.taskId} of ${front} is ${task.state}`);
			if (!role.registry.controlReachable) left.push(`${front} has no control thread`);
			for (const { poolId, slotsFree, reloadingTo } of role.registry.pools) {
				if (reloadingTo !== null) left.push(`${poolId} is still being reloaded with ${reloadingTo}, says ${front}`);
				const slots = slotsOf(this.plan, poolId);
				if (slotsFree < slots) left.push(`${poolId} has ${slotsFree} of ${slots} slots free, says ${front}`);
			}
		}
		for (const reading of this.#readings) if (reading.end === null) left.push(`a reader of ${reading.taskId} is behind ${reading.cursor}`);
		return left;
	}

	#shutDown(): void {
		for (const thread of this.#crew.threads.values()) {
			thread.system.shutdown();
			for (const link of [...thread.links.values()]) link.lose();
			thread.role.close();
		}
		for (const process of [...this.processes.values()]) process.die('the daemon has ended');
		this.world.advance(settleMs);
	}

	#evidence() {
		const roles = this.#crew.all.map(({ role }) => role).filter((role): role is FrontRole => role instanceof FrontRole);
		return {
			plan: this.plan,
			threads: this.#crew.threads,
			all: this.#crew.all,
			processes: this.processes,
			witnesses: roles.flatMap((role) => [...role.witnesses.values()]),
			generations: this.generations,
			submissions: this.#submissions,
			readings: this.#readings,
			fronts: new Set([...this.#crew.threads.values()].map(({ label }) => label)),
			found: (checker: CheckerName, words: string): void => this.found(checker, words),
		};
	}

	// ── what it overhears ────────────────────────────────────────────────────────────────────────────────────────

	#onEvent(event: SimEvent): void {
		const thread = this.#crew.all.find(({ host }) => host.index === event.host);
		this.#trace.handled(thread?.label ?? '', event);
		if (thread === undefined) return;
		const { kind, actor, content } = event;
		if (thread.name === 'control') {
			if (kind === 'message') this.#onDispatcher(content as DispatcherMessage);
			const queue = this.#queues.get(actor.slice(actor.lastIndexOf('/') + 1));
			if (queue !== undefined && kind === 'message') queue.handles(content as PoolMessage);
			else if (queue !== undefined) queue.ended((content as { readonly ref?: unknown }).ref);
			return;
		}
		if (kind !== 'message' || !actor.startsWith('/tasks/')) return;
		const { type, control } = content as { readonly type: string; readonly control?: { readonly epoch: number } };
		if (type === 'report' && control !== undefined) this.#reported.set(`${thread.label} ${actor}`, control.epoch);
	}

	/** Who has handed a task over does not have it any more, whatever comes of it. */
	#onDispatcher(message: DispatcherMessage): void {
		if (message.type === 'configure-pools') for (const spec of message.pools) this.#queues.get(spec.poolId)?.willBe(spec);
		if (message.type === 'displaced') this.#queues.get(message.not ?? message.poolId)?.displaced(message.replyTo);
	}

	#onTell(from: SimThread, link: ObservedLink, to: number, message: unknown, delivery: Delivery): void {
		const accepted = delivery === 'accepted';
		if (from.name === 'control') {
			const news = message as PlacementNews;
			if (news.type === 'granted' && accepted) this.#onGranted(from, leaseKey(news.lease), news.lease.poolId, news.lease.epoch);
			for (const queue of this.#queues.values()) queue.tells(link, to, news, accepted);
			return;
		}
		if (accepted && from.name.startsWith('front')) this.#onCommand(from, link, message as DispatcherCommand);
	}

	#onCommand(from: SimThread, link: ObservedLink, command: DispatcherCommand): void {
		if (command.type === 'front-reported') this.#frontsReported.add(link);
		if (command.type === 'report-lease' && this.#frontsReported.has(link)) {
			this.found('epochsAreFenced', `${from.label} reports ${leaseKey(command.lease)} after it said that all had reported`);
		}
		if (command.type !== 'settle') return;
		const key = `${command.lease.poolId} ${leaseKey(command.lease)}`;
		if (this.#settled.has(key)) this.found('leasesAreSettledOnce', `${from.label} settles ${key} again`);
		this.#settled.add(key);
	}

	#onGranted(from: SimThread, lease: string, poolId: string, epoch: number): void {
		const key = `${poolId} ${lease}`;
		if (this.#granted.has(key)) this.found('leasesAreSettledOnce', `${key} is granted again`);
		this.#granted.add(key);
		if (epoch !== from.incarnation) this.found('epochsAreFenced', `${from.label} grants ${key}`);
	}
}
