/**
 * An actor system: one thread's actors, their scheduler, and the ids under which other threads know them. Everything here
 * runs on the thread that made it. Knows no threads, no HTTP, no LLM words.
 */
import { addressOf, EndedAddress } from './address.ts';
import type { Setup, SpawnOptions, StopReason } from './behavior.ts';
import { Cell } from './cell.ts';
import { Edge, type EdgeOptions, type EdgeRef } from './edge.ts';
import { Exports } from './exports.ts';
import { type ForeignCarrier, ForeignRef, ForeignTable } from './foreign.ts';
import type { Host } from './host.ts';
import type { Relative } from './local-ref.ts';
import type { ActorRef, Delivery } from './ref.ts';
import { Scheduler } from './scheduler.ts';
import type { SystemCore } from './system-core.ts';
import { errorFields, type LogLevel } from './telemetry.ts';

export interface SystemOptions {
	/** First part of every path, `/control/pools`; none by default. */
	readonly name?: string;
	/** Messages of one actor before others have their turn. Default 32. */
	readonly activationMax?: number;
	/** Messages of one turn before the host sees to its I/O. Default 8 192. */
	readonly turnMessagesMax?: number;
	/** Milliseconds of one turn before the host sees to its I/O. Default 4. */
	readonly turnMs?: number;
}

/** For leak checks and metrics. At rest, with all edges closed, those of this moment are zero. */
export interface SystemStats {
	/** Of this moment. */
	readonly actors: number;
	readonly timers: number;
	/** Reply slots that wait for an answer. */
	readonly asks: number;
	readonly edges: number;
	/** Ids under which other threads know local refs. */
	readonly exports: number;
	/** Refs of other threads that are watched here. */
	readonly foreignWatched: number;
	/** Since the start: messages and signals handled, messages accepted and never read, bugs in behaviours. */
	readonly messages: number;
	readonly deadLetters: number;
	readonly failures: number;
}

/** Hears of a message that was accepted and will never be read. */
export type DeadLetterHook = (path: string, message: unknown) => void;

const deadLetterLogMs = 1_000;

/** Stands for any local ref that is gone: told, it answers `closed`; watched, it has ended. */
const endedRef = new EndedAddress({ kind: 'stopped' });

export class ActorSystem {
	readonly host: Host;
	readonly #core: SystemCore;
	readonly #basePath: string;
	readonly #exports = new Exports();
	readonly #foreign = new ForeignTable();
	readonly #roots = new Map<string, Relative>();
	readonly #deadLetterHooks = new Set<DeadLetterHook>();
	#deadLetters = 0;
	#deadLettersLogged = 0;
	#deadLettersLoggedAt = Number.NEGATIVE_INFINITY;

	constructor(host: Host, options: SystemOptions = {}) {
		this.host = host;
		this.#basePath = options.name === undefined || options.name === '' ? '' : `/${options.name}`;
		this.#core = {
			host,
			trace: host.trace === undefined ? undefined : (actor, kind, content) => host.trace?.(actor, kind, content),
			check: host.check === undefined ? undefined : (actor, invariant) => host.check?.(actor, invariant),
			scheduler: new Scheduler(host, {
				activationMax: options.activationMax ?? 32,
				turnMessagesMax: options.turnMessagesMax ?? 8_192,
				turnMs: options.turnMs ?? 4,
			}),
			actors: 0,
			timers: 0,
			asks: 0,
			edges: 0,
			failures: 0,
			deadLetters: (path, messages, about) => this.#countDeadLetters(path, messages, 'warn', about),
			rootEnded: (name) => this.#roots.delete(name),
		};
	}

	/** Starts an actor that has no parent. */
	spawn<M>(name: string, setup: Setup<M>, options: SpawnOptions = {}): ActorRef<M> {
		if (this.#roots.has(name)) throw new Error(`there is an actor ${this.#basePath}/${name} already`);
		const cell = new Cell(this.#core, null, this.#basePath, name, setup, options);
		this.#roots.set(name, cell);
		return cell.ref;
	}

	/** Stops an actor that was spawned here, its children first, after its current turn. */
	stop(ref: ActorRef<never>): void {
		this.#root(ref)?.requestStop();
	}

	/** Asks an actor that was spawned here to finish its work and end; stops it after `shutdownMs` of its supervision. */
	drain(ref: ActorRef<never>): void {
		this.#root(ref)?.requestDrain();
	}

	#root(ref: ActorRef<never>): Relative | null {
		for (const cell of this.#roots.values()) if (cell.ref === ref) return cell;
		return null;
	}

	/** A ref whose messages call `onMessage` in the system's turn. Close it when done. */
	edge<M>(onMessage: (message: M) => void, options: EdgeOptions = {}): EdgeRef<M> {
		return new Edge(this.#core, onMessage, options);
	}

	/**
	 * Runs after each turn, when all actors are idle or the turn's budget is spent: what they made leaves here, once. What a
	 * hook tells is handled after the host's I/O. Returns the unsubscribe.
	 */
	onTurnEnd(hook: () => void): () => void {
		return this.#core.scheduler.onTurnEnd(hook);
	}

	/**
	 * Stops every actor, children first, and returns when all have ended; called inside a turn, they end in that turn. Edges
	 * stay: their owners close them.
	 */
	shutdown(): void {
		for (const cell of this.#roots.values()) cell.requestStop();
		this.#core.scheduler.runToEnd();
	}

	get stats(): SystemStats {
		const core = this.#core;
		return {
			actors: core.actors,
			timers: core.timers,
			asks: core.asks,
			edges: core.edges,
			exports: this.#exports.size,
			foreignWatched: this.#foreign.watched,
			messages: core.scheduler.messages,
			deadLetters: this.#deadLetters,
			failures: core.failures,
		};
	}

	/** Hears of every dead letter: for tests and diagnosis. Returns the unsubscribe. */
	onDeadLetter(hook: DeadLetterHook): () => void {
		this.#deadLetterHooks.add(hook);
		return () => {
			this.#deadLetterHooks.delete(hook);
		};
	}

	/** Messages that wait, by actor path: only actors that have any. */
	mailboxDepths(): ReadonlyMap<string, number> {
		const depths = new Map<string, number>();
		const look = (cell: Relative): void => {
			if (cell.inboxLength > 0) depths.set(cell.path, cell.inboxLength);
			for (const child of cell.children) look(child);
		};
		for (const cell of this.#roots.values()) look(cell);
		return depths;
	}

	/** Messages that wait, of all actors; of those of one kind the most. */
	mailboxDepthsByKind(): ReadonlyMap<string, number> {
		const depths = new Map<string, number>();
		const look = (cell: Relative): void => {
			depths.set(cell.kindPath, Math.max(depths.get(cell.kindPath) ?? 0, cell.inboxLength));
			for (const child of cell.children) look(child);
		};
		for (const cell of this.#roots.values()) look(cell);
		return depths;
	}

	// --- for links ------------------------------------------------------------------------------------------------

	/** The id under which others may name a local ref; the same while it lives. */
	exportId(ref: ActorRef<never>): number {
		if (ref instanceof ForeignRef) throw new Error('a ref of a third thread cannot cross: its messages would take a detour');
		return this.#exports.idOf(addressOf(ref));
	}

	/** The local ref of an exported id: one that has ended when the id is not known any more. */
	exported<M>(id: number): ActorRef<M> {
		return this.#exports.find(id) ?? endedRef;
	}

	/**
	 * A message from elsewhere for an exported ref. `closed`: it is counted as a dead letter, for its sender does not hear.
	 * That is ordinary between threads, where an end takes time to be known, and logged as such.
	 */
	deliver(id: number, message: unknown): Delivery {
		const address = this.#exports.find(id);
		const delivery = address === undefined ? 'closed' : (address as ActorRef<unknown>).tell(message);
		if (delivery === 'closed') this.#countDeadLetters(`${this.#basePath}/exported-${id}`, [message], 'debug');
		return delivery;
	}

	/** Tells once when an exported ref has ended, at once when it is not known any more. Returns the unwatch. */
	watchExported(id: number, onTerminated: (reason: StopReason) => void): () => void {
		const address = this.#exports.find(id);
		if (address === undefined) {
			onTerminated({ kind: 'stopped' });
			return () => {};
		}
		const watcher = { watchedEnded: (_address: unknown, reason: StopReason): void => this.#guard(() => onTerminated(reason)) };
		address.addWatcher(watcher);
		return () => address.removeWatcher(watcher);
	}

	/** A ref to an actor behind `carrier`. Equal (carrier, id) give the same object while anybody holds it. */
	foreign<M>(carrier: ForeignCarrier, id: number): ActorRef<M> {
		return this.#foreign.ref<M>(carrier, id);
	}

	/** Whether a ref lives behind this carrier, and under which id; null if not. */
	foreignId(carrier: ForeignCarrier, ref: ActorRef<never>): number | null {
		return this.#foreign.idBehind(carrier, ref);
	}

	foreignTerminated(carrier: ForeignCarrier, id: number, reason: StopReason): void {
		this.#foreign.terminated(carrier, id, reason);
	}

	/** The carrier is gone: its refs answer `closed`, their watchers are told `lost`. */
	foreignLost(carrier: ForeignCarrier): void {
		this.#foreign.carrierLost(carrier);
	}

	#countDeadLetters(path: string, messages: readonly unknown[], level: LogLevel, about: Readonly<Record<string, string>> = {}): void {
		this.#deadLetters += messages.length;
		this.host.telemetry.count('dead_letters_total', {}, messages.length);
		for (const hook of this.#deadLetterHooks) for (const message of messages) this.#guard(() => hook(path, message));
		const now = this.host.now();
		if (now - this.#deadLettersLoggedAt < deadLetterLogMs) return;
		const count = this.#deadLetters - this.#deadLettersLogged;
		this.#deadLettersLogged = this.#deadLetters;
		this.#deadLettersLoggedAt = now;
		this.host.telemetry.log(level, 'dead-letters', { ...about, actor: path, count, total: this.#deadLetters });
	}

	/** Code of others, called in the middle of an actor's end: a bug in it must not stop that. */
	#guard(call: () => void): void {
		try {
			call();
		} catch (error) {
			this.host.telemetry.log('error', 'hook-failed', errorFields(error));
		}
	}
}
