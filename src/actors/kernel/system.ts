/**
 * An actor system: one thread's actors, their scheduler, and the ids under which other threads know them. Everything here
 * runs on the thread that made it. Knows no threads, no HTTP, no LLM words.
 */
import { addressOf } from './address.ts';
import type { Setup, SpawnOptions, StopReason } from './behavior.ts';
import { Cell, type Relative } from './cell.ts';
import { Edge, type EdgeRef } from './edge.ts';
import { type ForeignCarrier, ForeignRef, ForeignTable } from './foreign.ts';
import type { Host } from './host.ts';
import type { ActorRef, Delivery } from './ref.ts';
import { Scheduler } from './scheduler.ts';
import { Exports, type SystemCore } from './system-core.ts';

export interface SystemOptions {
	/** First part of every path; '' by default. */
	readonly name?: string;
	/** Messages of one actor before others have their turn. Default 64. */
	readonly activationMax?: number;
	/** Messages of one turn before the host sees to its I/O. Default 8 192. */
	readonly turnMessagesMax?: number;
	/** Milliseconds of one turn before the host sees to its I/O. Default 4. */
	readonly turnMs?: number;
}

/** For leak checks and metrics: all but the last three are of this moment. */
export interface SystemStats {
	readonly actors: number;
	readonly timers: number;
	readonly asks: number;
	readonly edges: number;
	readonly exports: number;
	readonly messages: number;
	readonly deadLetters: number;
	readonly failures: number;
}

const deadLetterLogMs = 1_000;

const endedRef: ActorRef<unknown> = { tell: () => 'closed' };

export class ActorSystem {
	readonly host: Host;
	readonly #core: SystemCore;
	readonly #foreign = new ForeignTable();
	readonly #roots = new Map<string, Relative>();
	#deadLetters = 0;
	#deadLettersLoggedAt = Number.NEGATIVE_INFINITY;

	constructor(host: Host, options: SystemOptions = {}) {
		this.host = host;
		this.#core = {
			host,
			scheduler: new Scheduler(host, {
				activationMax: options.activationMax ?? 64,
				turnMessagesMax: options.turnMessagesMax ?? 8_192,
				turnMs: options.turnMs ?? 4,
			}),
			exports: new Exports(),
			actors: 0,
			timers: 0,
			asks: 0,
			edges: 0,
			failures: 0,
			deadLetter: (path, count) => this.#deadLetter(path, count),
			rootEnded: (name) => this.#roots.delete(name),
		};
	}

	/** Starts an actor that has no parent. */
	spawn<M>(name: string, setup: Setup<M>, options: SpawnOptions = {}): ActorRef<M> {
		if (this.#roots.has(name)) throw new Error(`there is an actor /${name} already`);
		const cell = new Cell(this.#core, null, name, setup, options);
		this.#roots.set(name, cell);
		return cell.self;
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
		for (const cell of this.#roots.values()) if (cell.self === ref) return cell;
		return null;
	}

	/** A ref whose messages call `onMessage` in the system's turn. Close it when done. */
	edge<M>(onMessage: (message: M) => void): EdgeRef<M> {
		return new Edge(this.#core, onMessage);
	}

	/** Runs after each turn: what actors made leaves here, once. Returns the unsubscribe. */
	onTurnEnd(hook: () => void): () => void {
		return this.#core.scheduler.onTurnEnd(hook);
	}

	/** Stops every actor, now, and runs what that takes. Not to be called from inside an actor. */
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
			exports: core.exports.size,
			messages: core.scheduler.messages,
			deadLetters: this.#deadLetters,
			failures: core.failures,
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

	// --- for links ------------------------------------------------------------------------------------------------

	/** The id under which others may name a local ref; the same while it lives. */
	exportId(ref: ActorRef<never>): number {
		if (ref instanceof ForeignRef) throw new Error('a ref of a third thread cannot cross: its messages would take a detour');
		return this.#core.exports.idOf(addressOf(ref));
	}

	/** The local ref of an exported id: one that answers `closed` when it has ended. */
	exported<M>(id: number): ActorRef<M> {
		return (this.#core.exports.find(id) as ActorRef<M> | undefined) ?? endedRef;
	}

	/** A message from elsewhere for an exported ref. */
	deliver(id: number, message: unknown): Delivery {
		const address = this.#core.exports.find(id);
		if (address === undefined) return 'closed';
		return (address as ActorRef<unknown>).tell(message);
	}

	/** Tells once when an exported ref has ended, at once when it is not known any more. Returns the unwatch. */
	watchExported(id: number, onTerminated: (reason: StopReason) => void): () => void {
		const address = this.#core.exports.find(id);
		if (address === undefined) {
			onTerminated({ kind: 'stopped' });
			return () => {};
		}
		const watcher = { watchedEnded: (_address: unknown, reason: StopReason): void => onTerminated(reason) };
		address.addWatcher(watcher);
		return () => address.removeWatcher(watcher);
	}

	/** A ref to an actor behind `carrier`. Equal (carrier, id) give the same object while it is watched. */
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

	#deadLetter(path: string, count: number): void {
		this.#deadLetters += count;
		this.host.telemetry.count('dead_letters_total', {}, count);
		const now = this.host.now();
		if (now - this.#deadLettersLoggedAt < deadLetterLogMs) return;
		this.#deadLettersLoggedAt = now;
		this.host.telemetry.log('warn', 'dead-letters', { actor: path, count, total: this.#deadLetters });
	}
}
