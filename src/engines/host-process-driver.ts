/**
 * The life of an engine host process of ours, from an engine thread: private folder and secret, start, readiness, watch, end.
 * The same for every engine that speaks the host frames; what differs is the entry file, its settings and environment. When
 * this thread dies, the pipe to the host's stdin closes and the host ends itself.
 */

import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ActorRef } from '../actors/kernel/ref.ts';
import type { DecodeNews } from '../actors/serving/decode.ts';
import type { EngineDriver, EngineLife, LifeNews, ModelChange } from '../actors/serving/engine-life.ts';
import { type Failure, failure } from '../actors/serving/failure.ts';
import type { MemoryTold } from '../actors/serving/memory-messages.ts';
import type { ReplicaFacts, ReplicaSpec } from '../actors/serving/messages.ts';
import { greedySampling } from '../actors/serving/task-request.ts';
import { type Child, describeExit, spawnChild } from './child-process.ts';
import { readLines } from './line-reader.ts';
import { memoryKills } from './memory-kills.ts';
import { formatAddress, type HostAddress } from './wire/host-address.ts';
import { hostLinePrefix } from './wire/host-boot.ts';
import { HostConnection } from './wire/host-connection.ts';
import { type HostBoot, type HostFacts, type HostRequest, type HostStatus, secretBytes, selfTestLease } from './wire/host-protocol.ts';

export interface HostProcessOptions {
	/** The host's entry file. */
	readonly entry: URL;
	/** What its boot line says of the pool. */
	settings(spec: ReplicaSpec): unknown;
	env(spec: ReplicaSpec): Readonly<Record<string, string>>;
	/** What its boot line would say with another model. */
	withModel?(settings: unknown, model: string): ModelChange;
	/** What an engine with these settings takes; null: nobody knows. Absent: nothing. */
	memoryBytes?(settings: unknown): number | null;
	/** Where private folders are made. */
	readonly runtimeDir: string;
	/** One line that the host wrote to its log. What native libraries write beside it may quote a client and is not told. */
	onLine(replicaId: string, line: string): void;
	/** Everything that it and its libraries wrote. */
	onOutput?(spec: ReplicaSpec, source: 'stdout' | 'stderr', line: string): void;
	/** From its start to readiness, ms. */
	readonly readyWithinMs?: number;
	/** For its first token, of those, ms. */
	readonly selfTestWithinMs?: number;
}

const readyDefaultMs = 600_000;
/** The first token may have to read the whole model from a slow disk. */
const selfTestDefaultMs = 120_000;
const pingEveryMs = 5_000;
/** A host that answers no ping for so long is stopped or stuck. */
const silentMs = 30_000;
const forceAfterMs = 3_000;
/** Node cuts longer socket paths off, silently. */
const socketPathBytesMax = 100;
/** A connection that closes is mostly a host that ends: its exit says more, if it comes within this time. */
const exitFollowsMs = 1_000;
/** What a process says last when it goes down by itself: worth telling, whoever wrote it. */
const lastWordsPattern =
	/^host: |\b(GGML_ASSERT|terminate called|what\(\)|out of memory|cannot open shared object|undefined symbol)|^\w*Error( \[\w+\])?:|\b(CUDA|ROCm|HIP|Vulkan) error/i;
const lastWordsMax = 300;

export class HostProcessDriver implements EngineDriver {
	readonly #options: HostProcessOptions;

	constructor(options: HostProcessOptions) {
		this.#options = options;
	}

	start(spec: ReplicaSpec, replica: ActorRef<LifeNews>): EngineLife {
		return new HostProcessLife(spec, replica, this.#options);
	}

	withModel(settings: unknown, model: string, answer: (change: ModelChange) => void): void {
		const unchangeable = failure('INVALID_PARAMS', 'the model of this engine cannot be changed');
		answer(this.#options.withModel?.(settings, model) ?? { ok: false, failure: unchangeable });
	}

	/** Bytes only: which devices there are, others know. */
	memory(settings: unknown, _model: string, told: (memory: MemoryTold) => void): void {
		told({ bytes: this.#options.memoryBytes?.(settings) ?? null, uses: [], devices: [] });
	}
}

class HostProcessLife implements EngineLife {
	readonly #spec: ReplicaSpec;
	readonly #replica: ActorRef<LifeNews>;
	readonly #options: HostProcessOptions;
	readonly #timers: NodeJS.Timeout[] = [];
	#lastWords = '';
	#ready = false;
	#folder: string | null = null;
	#child: Child | null = null;
	#control: HostConnection | null = null;
	/** Why we end it, or what it said was wrong. */
	#cause: Failure | null = null;
	#ended = false;

	constructor(spec: ReplicaSpec, replica: ActorRef<LifeNews>, options: HostProcessOptions) {
		this.#spec = spec;
		this.#replica = replica;
		this.#options = options;
		try {
			this.#launch();
		} catch (error) {
			this.#end(failure('POOL_UNREADY', `the engine could not be started: ${error instanceof Error ? error.message : String(error)}`));
		}
	}

	audit(revoked: readonly string[]): void {
		this.#control?.audit(revoked, (busyLeases) => this.#replica.tell({ type: 'life-audited', busyLeases }));
	}

	stop(): void {
		this.#cause ??= failure('WORKER_RESET', 'the engine was stopped');
		this.#child?.end(forceAfterMs);
	}

	#launch(): void {
		this.#folder = mkdtempSync(join(this.#options.runtimeDir, 'orchd-'));
		chmodSync(this.#folder, 0o700);
		const address: HostAddress = { socketPath: join(this.#folder, 'host.sock'), secret: randomBytes(secretBytes) };
		if (Buffer.byteLength(address.socketPath) > socketPathBytesMax) {
			throw new Error(`the socket path ${address.socketPath} is longer than ${socketPathBytesMax} bytes; set a shorter XDG_RUNTIME_DIR`);
		}
		const child = spawnChild({
			command: process.execPath,
			args: [fileURLToPath(this.#options.entry), this.#spec.replicaId],
			env: this.#options.env(this.#spec),
			stdio: { stdin: 'pipe', output: 'pipe', status: true },
		});
		this.#child = child;
		const killsBefore = memoryKills();
		child.onExit((exit) => {
			const outOfMemory = killsBefore !== null && (memoryKills() ?? 0) > killsBefore;
			this.#end(this.#cause ?? failure('WORKER_RESET', `the engine process ${describeExit(exit, outOfMemory)}${this.#lastWords}`));
		});
		const boot: HostBoot = {
			socketPath: address.socketPath,
			secret: address.secret.toString('hex'),
			replicaId: this.#spec.replicaId,
			settings: this.#options.settings(this.#spec),
		};
		child.stdin?.write(`${JSON.stringify(boot)}\n`);
		for (const source of ['stdout', 'stderr'] as const) {
			const output = child[source];
			if (output !== null) readLines(output, (line) => this.#onLine(source, line));
		}
		if (child.status !== null) createInterface({ input: child.status }).on('line', (line) => this.#onStatus(readStatus(line), address));
		const readyWithinMs = this.#options.readyWithinMs ?? readyDefaultMs;
		this.#after(readyWithinMs, () => {
			if (!this.#ready) this.#kill(failure('POOL_UNREADY', `the engine was not ready within ${readyWithinMs / 1000} s`));
		});
	}

	#onLine(source: 'stdout' | 'stderr', line: string): void {
		this.#options.onOutput?.(this.#spec, source, line);
		if (lastWordsPattern.test(line)) this.#lastWords = `; its last words: ${line.slice(0, lastWordsMax)}`;
		if (line.startsWith(hostLinePrefix)) this.#options.onLine(this.#spec.replicaId, line.slice(hostLinePrefix.length));
	}

	#onStatus(status: HostStatus | null, address: HostAddress): void {
		if (status === null) {
			this.#kill(failure('WORKER_RESET', 'the engine process does not speak our protocol'));
			return;
		}
		if (status.type === 'failed') this.#cause = status.failure;
		if (status.type === 'listening' && !this.#ended) this.#meet(address);
	}

	/** The control connection: facts, a first token, then pings. */
	#meet(address: HostAddress): void {
		const control = new HostConnection(address, {
			onWelcome: (facts) => this.#selfTest(control, facts, address),
			onClosed: (why) =>
				this.#after(exitFollowsMs, () => this.#kill(failure('WORKER_RESET', `the engine process closed its control connection: ${why}`))),
			onBug: (words) => this.#options.onLine(this.#spec.replicaId, words),
		});
		this.#control = control;
	}

	#selfTest(control: HostConnection, host: HostFacts, address: HostAddress): void {
		const replica = this.#replica;
		const facts: ReplicaFacts = {
			...host,
			replicaId: this.#spec.replicaId,
			poolId: this.#spec.poolId,
			engine: this.#spec.engine,
			address: formatAddress(address),
		};
		const withinMs = this.#options.selfTestWithinMs ?? selfTestDefaultMs;
		this.#after(withinMs, () => {
			if (!this.#ready)
				this.#kill(selfTestFailed(`no token came within ${withinMs / 1000} s; give it more cpu_threads or a smaller model`));
		});
		control.start(selfTestRequest(host), {
			tell: (news: DecodeNews) => {
				if (news.type === 'decode-ended' || news.type === 'embedded') {
					this.#ready = true;
					replica.tell({ type: 'life-ready', facts });
					this.#ping(control);
				}
				// Otherwise the connection was lost, which tells of itself.
				if (news.type === 'decode-failed' && news.slot === 'free') this.#kill(selfTestFailed(news.failure.message));
				return 'accepted';
			},
		});
	}

	#ping(control: HostConnection): void {
		let answeredAt = performance.now();
		const ping = setInterval(() => {
			if (performance.now() - answeredAt > silentMs) {
				clearInterval(ping);
				this.#kill(failure('WORKER_RESET', `the engine process did not answer for ${silentMs / 1000} s`));
				return;
			}
			control.ping(() => {
				answeredAt = performance.now();
			});
		}, pingEveryMs);
		this.#timers.push(ping.unref());
	}

	#kill(cause: Failure): void {
		if (this.#ended) return;
		this.#cause ??= cause;
		this.#child?.signal('SIGKILL');
	}

	#after(delayMs: number, act: () => void): void {
		this.#timers.push(setTimeout(act, delayMs).unref());
	}

	#end(why: Failure): void {
		if (this.#ended) return;
		this.#ended = true;
		for (const timer of this.#timers) clearInterval(timer);
		this.#control?.close('the engine process has ended');
		if (this.#folder !== null) rmSync(this.#folder, { recursive: true, force: true });
		this.#replica.tell({ type: 'life-ended', failure: { ...why, engine: this.#spec.engine, poolId: this.#spec.poolId } });
	}
}

function readStatus(line: string): HostStatus | null {
	try {
		return JSON.parse(line) as HostStatus;
	} catch (error) {
		if (error instanceof SyntaxError) return null;
		throw error;
	}
}

function selfTestFailed(why: string): Failure {
	return failure('POOL_UNREADY', `the engine has loaded its model, but failed its self-test of one token: ${why}`);
}

/** One greedy token: shows that weights, context and sampler work together. */
function selfTestRequest(facts: HostFacts): HostRequest {
	const completion = facts.workloads.includes('completion');
	return {
		leaseKey: selfTestLease,
		input: completion ? { kind: 'prompt', text: 'Hello', raw: true } : { kind: 'inputs', inputs: ['Hello'], query: null },
		workload: completion ? 'completion' : 'embedding',
		maxTokens: 1,
		maxTokensExplicit: false,
		ctx: facts.ctx,
		sampling: { ...greedySampling, topK: 1 },
		seed: 0,
		strict: false,
		kvHint: 'cold',
		tellIds: false,
		resume: null,
	};
}
