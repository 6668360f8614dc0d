/**
 * An engine process of a simulation: slots, generations that decode on them, connections from fronts, and a life that its
 * Replica looks after. What is written to it, on whatever connection, it reads in the order of writing, as a process with
 * Unix sockets does; what it says goes out on each connection in order. It notes every use of a slot that no lease allows.
 */

import { SimHost } from '../../src/actors/kernel/sim-host.ts';
import type { GenerateRequest, GenerationUsage } from '../../src/actors/serving/decode.ts';
import { leaseKey } from '../../src/actors/serving/engine-life.ts';
import { failure } from '../../src/actors/serving/failure.ts';
import type { Lease, ReplicaSpec } from '../../src/actors/serving/messages.ts';
import { hashText } from '../../src/engines/scripted/scripted-text.ts';
import { pieceRecords } from '../serving/piece-records.ts';
import type { DecodeConnection, DecodeStream } from './decode-wire.ts';
import type { PoolSettings } from './plan.ts';
import type { Universe } from './universe.ts';

/** What an engine made of one request. */
interface Run {
	readonly stream: DecodeStream;
	readonly request: GenerateRequest;
	readonly total: number;
	fate: 'ends' | 'errs' | 'stalls' | 'babbles' | 'sleeps';
	readonly deaf: boolean;
	/** Behind each piece: some tasks have long logs. */
	readonly padding: string;
	made: number;
	tokens: number;
}

/** One that does not hear a cancel hears it within this time, or ends before. */
const deafMs = 6_000;

/** No more than the bytes of any prompt. */
const promptTokens = 3;

export class EngineProcess {
	readonly address: string;
	readonly spec: ReplicaSpec;
	readonly slots: number;
	/** That it takes for as long as it is there. */
	readonly memory: number;
	/** Its thread is gone: nobody counts it any more. */
	orphan = false;
	readonly host: SimHost;
	readonly running = new Map<string, Run>();
	alive = true;
	/** When the last that it said gets to its engine thread. */
	toldAt = 0;
	readonly #universe: Universe;
	readonly #connections = new Set<DecodeConnection>();
	readonly #onDeath: (why: string) => void;
	readonly #revoked = new Set<string>();
	#readsAt = 0;

	/** `onDeath`: told once, in the turn of its death. */
	constructor(universe: Universe, spec: ReplicaSpec, number: number, onDeath: (why: string) => void) {
		this.#universe = universe;
		this.spec = spec;
		this.address = `engine-process-${number}`;
		this.slots = (spec.settings as PoolSettings).slots;
		this.memory = (spec.settings as PoolSettings).memory;
		this.host = new SimHost(universe.world);
		this.#onDeath = onDeath;
	}

	/** Something is written to it. */
	receive(read: () => void): void {
		const now = this.host.now();
		this.#readsAt = Math.max(now + this.#universe.random.next() * this.#universe.plan.engine.lagMs, this.#readsAt);
		this.host.setTimer(this.#readsAt - now, read);
	}

	/** A front opens a connection. */
	accept(connection: DecodeConnection): void {
		this.#connections.add(connection);
		this.receive(() => connection.say(() => connection.welcome()));
	}

	/** The front is gone: what it asked for is cancelled. */
	disconnected(connection: DecodeConnection): void {
		this.#connections.delete(connection);
		for (const run of [...this.running.values()]) if (run.stream.connection === connection) this.cancel(run.stream);
	}

	start(stream: DecodeStream): void {
		const { request } = stream;
		const { lease } = request;
		if (this.#revoked.has(leaseKey(lease))) {
			this.#universe.did(this.address, `refuses ${stream.taskId}: lease ${leaseKey(lease)} was revoked`);
			return stream.say({ type: 'decode-failed', failure: failure('WORKER_RESET', 'revoked'), slot: 'free', began: 'maybe' });
		}
		this.#checkSlots(lease);
		const { random, plan } = this.#universe;
		const { errorPercent, stallPercent, nonsensePercent, deafPercent, prefillMs, tokensMax } = plan.engine;
		const calm = this.#universe.calm;
		const drawn = random.below(100);
		const fate =
			calm || drawn >= errorPercent + stallPercent + nonsensePercent
				? 'ends'
				: drawn < errorPercent
					? 'errs'
					: drawn < errorPercent + stallPercent
						? 'stalls'
						: 'babbles';
		const pieces = 1 + (hashText(stream.taskId) % tokensMax);
		// A piece has two tokens on average.
		const most = overruns(stream.taskId) ? request.maxTokens : Math.max(1, request.maxTokens >> 1);
		const total = Math.min(most, pieces);
		const deaf = !calm && random.below(100) < deafPercent;
		const padding = ' '.repeat(hashText(`${stream.taskId} padding`) % 5 === 0 ? 1_200 : 1);
		const made = this.#piecesSaid(stream);
		stream.record.from = made;
		const run: Run = { stream, request, total, fate, deaf, padding, made, tokens: 0 };
		this.running.set(leaseKey(lease), run);
		this.#universe.did(
			this.address,
			`starts ${stream.taskId} on lease ${leaseKey(lease)}: ${total} pieces, ${fate}${run.deaf ? ', deaf' : ''}`,
		);
		stream.say({ type: 'decode-started', tokensIn: promptTokens, tokensCached: 0 });
		this.host.setTimer(random.next() * prefillMs, () => this.#step(run));
	}

	/** How many pieces another engine has made of it. Whatever is not exactly that is a bug of whoever sent it. */
	#piecesSaid({ taskId, request }: DecodeStream): number {
		const ids = request.resume?.ids ?? [];
		let pieces = 0;
		for (let at = 0; at < ids.length; pieces += 1) {
			for (const id of idsOf(pieces)) {
				if (ids[at] !== id) this.#universe.found('tokensAreThoseMade', `${taskId} goes on behind ${ids.join()}`);
				at += 1;
			}
		}
		return pieces;
	}

	cancel(stream: DecodeStream): void {
		const key = leaseKey(stream.request.lease);
		const run = this.running.get(key);
		if (run?.stream !== stream) return;
		if (!run.deaf) return this.#obey(run, 'cancelled');
		if (run.fate === 'sleeps') return;
		const lateMs = this.#universe.random.next() * deafMs;
		this.#universe.did(this.address, `ignores the cancel of ${stream.taskId} for ${lateMs.toFixed(1)} ms`);
		run.fate = 'sleeps';
		this.host.setTimer(lateMs, () => this.#obey(run, 'cancelled at last'));
	}

	#obey(run: Run, why: string): void {
		const key = leaseKey(run.request.lease);
		if (this.running.get(key) !== run) return;
		this.#over(key, why);
		run.stream.say({ type: 'decode-cancelled', usage: usageOf(run) });
	}

	/** Nobody holds these leases any more. */
	revoke(leaseKeys: readonly string[]): void {
		for (const key of leaseKeys) {
			this.#revoked.add(key);
			const run = this.running.get(key);
			if (run !== undefined) this.cancel(run.stream);
		}
	}

	/** What it is busy with. */
	busy(): string[] {
		return [...this.running.keys()];
	}

	/** Its thread is gone: it ends once it sees that, which a stopped process does not. */
	orphaned(withinMs: number): void {
		this.orphan = true;
		this.host.setTimer(this.#universe.random.next() * withinMs, () => this.die('its engine thread is gone'));
	}

	/** It is gone at once. What it had written can still be read; then its connections end. */
	die(why: string): void {
		if (!this.alive) return;
		this.alive = false;
		this.#universe.did(this.address, `dies: ${why}`);
		this.#universe.processes.delete(this.address);
		this.host.kill();
		this.running.clear();
		for (const connection of this.#connections) connection.say(() => connection.end());
		this.#onDeath(why);
	}

	/** Faults are over: what stalled goes on. */
	calmDown(): void {
		this.host.resume();
		for (const run of [...this.running.values()]) if (run.fate === 'stalls') this.#end(run);
	}

	#step(run: Run): void {
		const key = leaseKey(run.request.lease);
		if (this.running.get(key) !== run) return;
		const { random, plan, calm } = this.#universe;
		if (run.fate === 'sleeps') return;
		if (run.made >= run.total / 2 && run.fate === 'stalls') return calm ? this.#end(run) : undefined;
		if (run.made >= run.total / 2 && run.fate === 'errs') {
			this.#over(key, 'an error');
			run.stream.say({ type: 'decode-failed', failure: failure('WORKER_RESET', 'simulated error'), slot: 'free', began: 'maybe' });
			return;
		}
		if (run.made >= run.total / 2 && run.fate === 'babbles') {
			this.#over(key, 'nonsense');
			run.stream.say({ type: 'pieces', bytes: Buffer.from([9, 0, 1, 0, 65]), start: 0, end: 5, count: 1 });
			run.stream.say({ type: 'decode-ended', finishReason: 'stop', usage: usageOf(run) });
			return;
		}
		if (run.made >= run.total) return this.#end(run);
		const count = Math.min(run.total - run.made, 1 + random.below(4));
		const pieces = Array.from({ length: count }, (_, index) => {
			const i = run.made + index;
			const piece = { text: `${run.stream.taskId}.${i}${run.padding}`, n: 1 + (i % 3) };
			return run.request.tellIds ? { ...piece, ids: idsOf(i) } : piece;
		});
		run.made += count;
		for (const piece of pieces) {
			run.tokens += piece.n;
			run.stream.record.made.push(piece);
		}
		run.stream.say(pieceRecords(pieces));
		this.host.setTimer(random.next() * plan.engine.gapMs, () => this.#step(run));
	}

	#end(run: Run): void {
		this.#over(leaseKey(run.request.lease), 'done');
		const finishReason = run.total === run.request.maxTokens ? 'length' : 'stop';
		run.stream.say({ type: 'decode-ended', finishReason, usage: usageOf(run) });
	}

	#over(key: string, why: string): void {
		const run = this.running.get(key);
		if (run === undefined) return;
		this.running.delete(key);
		this.#universe.did(this.address, `frees lease ${key} of ${run.stream.taskId}: ${why}`);
	}

	/** What no engine may ever see. */
	#checkSlots(lease: Lease): void {
		const key = leaseKey(lease);
		const wrong = (words: string): void =>
			this.#universe.found('slotsAreNotDoubleBooked', `${this.address} (${lease.replicaId}): ${words}`);
		if (lease.replicaId !== this.spec.replicaId) wrong(`lease ${key} is of ${lease.replicaId}`);
		if (this.running.has(key)) wrong(`lease ${key} is used twice`);
		if (this.running.size >= this.slots)
			wrong(`lease ${key} came on top of ${this.running.size} of ${this.slots} slots: ${this.busy().join()}`);
		const exclusive = lease.exclusive || [...this.running.values()].some((run) => run.request.lease.exclusive);
		if (exclusive && this.running.size > 0) wrong(`lease ${key} and ${this.busy().join()}: one is exclusive`);
	}
}

/** Its engine does not keep to what it may make. */
export function overruns(taskId: string): boolean {
	return hashText(`${taskId} most`) % 8 === 0;
}

/** Of the tokens of a piece: the same of every engine. */
function idsOf(piece: number): number[] {
	return Array.from({ length: 1 + (piece % 3) }, (_, index) => piece * 4 + index);
}

function usageOf(run: Run): GenerationUsage {
	return { tokensIn: promptTokens, tokensCached: 0, tokensOut: run.tokens, prefillMs: 3, decodeMs: 10 };
}
