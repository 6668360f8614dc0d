/**
 * The life of an engine that is not ours but that we start, from an engine thread: a port, its process, a look at it until it is up; from
 * then on it is spoken to and watched like one that somebody else runs. When either ends, the other is ended.
 *
 *   starting ── it answers ──→ up ── one token ──→ ready
 *   any      ── its process ends, it is unwell, it is too late, stop ──→ ending ── nothing of it runs ──→ ended
 */
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ActorRef } from '../../actors/kernel/ref.ts';
import type { EngineDriver, EngineLife, LifeNews, ModelChange } from '../../actors/serving/engine-life.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { ReplicaSpec } from '../../actors/serving/messages.ts';
import { filledIn, type MacroValues, modelWord } from '../../command-words.ts';
import { type ChildExit, describeExit } from '../child-process.ts';
import type { Device } from '../devices.ts';
import { deviceEnv, replicaNumber } from '../embedded/device-env.ts';
import { readGgufHeader } from '../embedded/gguf-header.ts';
import { adapterOf, type UpstreamAdapters, UpstreamProblem } from '../upstream/adapter.ts';
import { upstreamClient } from '../upstream/upstream-client.ts';
import type { UpstreamSettings } from '../upstream/upstream-settings.ts';
import type { CacheFolders } from './cache-folders.ts';
import { freePorts } from './free-ports.ts';
import { ManagedProcess } from './managed-process.ts';
import type { ManagedSettings } from './managed-settings.ts';

export interface ManagedDriverOptions {
	readonly adapters: UpstreamAdapters;
	/** What looks after an engine once it is up. */
	readonly upstream: EngineDriver;
	/** The reaper's entry file. */
	readonly reaper: URL;
	/** What engines inherit. */
	readonly childEnv: Readonly<Record<string, string>>;
	/** As far as they are known. */
	devices(): readonly Device[];
	/** Where private folders are made. */
	readonly runtimeDir: string;
	readonly caches: CacheFolders;
	/** One line that an engine wrote. It may quote a client. */
	onLine(spec: ReplicaSpec, source: 'stdout' | 'stderr', line: string): void;
}

const host = '127.0.0.1';
const lookFirstMs = 100;
const lookMaxMs = 2_000;
const lastWordsMax = 300;

export class ManagedDriver implements EngineDriver {
	readonly #options: ManagedDriverOptions;

	constructor(options: ManagedDriverOptions) {
		this.#options = options;
	}

	start(spec: ReplicaSpec, replica: ActorRef<LifeNews>): EngineLife {
		return new ManagedLife(spec, spec.settings as ManagedSettings, replica, this.#options);
	}

	emptyCaches({ settings, replicaId }: ReplicaSpec): string | null {
		const { cacheDir } = settings as ManagedSettings;
		return cacheDir === null ? null : this.#options.caches.empty(cacheDir, replicaId);
	}

	/** It is started again with the other model in its command. */
	withModel(settings: unknown, model: string, answer: (change: ModelChange) => void): void {
		answer(changeOf(settings as ManagedSettings, model));
	}
}

function changeOf(managed: ManagedSettings, model: string): ModelChange {
	// Asked for by name, it is one of several that the engine has.
	const change = managed.model === null ? { modelWord: modelWord(model) } : { modelWord: modelWord(model), model };
	if (managed.modelWord === null)
		return { ok: false, failure: failure('INVALID_PARAMS', 'the command of this engine names no model that could be changed') };
	const problem = model.startsWith('file:') ? fileProblem(modelWord(model), managed) : null;
	return problem === null ? { ok: true, settings: { ...managed, ...change } } : { ok: false, failure: problem };
}

/** Of a file or folder that an engine is to load: what is wrong with it whatever the engine's version can do. */
function fileProblem(path: string, { engine }: ManagedSettings): Failure | null {
	try {
		const file = openSync(path, 'r');
		try {
			if (engine === 'llamacpp') readGgufHeader(file);
		} finally {
			closeSync(file);
		}
		return null;
	} catch (error) {
		const words = error instanceof Error ? error.message : String(error);
		return words.startsWith('ENOENT')
			? failure('NOT_FOUND', `model file not found: ${path}`)
			: failure('INVALID_PARAMS', `model file ${path}: ${words}`);
	}
}

class ManagedLife implements EngineLife {
	readonly #spec: ReplicaSpec;
	readonly #settings: ManagedSettings;
	readonly #replica: ActorRef<LifeNews>;
	readonly #options: ManagedDriverOptions;
	#folder: string | null = null;
	#process: ManagedProcess | null = null;
	/** From when on it answers. */
	#watch: EngineLife | null = null;
	#timers: NodeJS.Timeout[] = [];
	#ready = false;
	/** Why we end it. */
	#cause: Failure | null = null;
	#ended = false;
	#lastWords = '';
	/** Why it did not answer, last. */
	#unwell = 'it did not answer yet';

	constructor(spec: ReplicaSpec, settings: ManagedSettings, replica: ActorRef<LifeNews>, options: ManagedDriverOptions) {
		this.#spec = spec;
		this.#settings = settings;
		this.#replica = replica;
		this.#options = options;
		void this.#begin();
	}

	audit(revoked: readonly string[]): void {
		this.#watch?.audit(revoked);
	}

	stop(): void {
		this.#stop(failure('WORKER_RESET', 'the engine was stopped'));
	}

	async #begin(): Promise<void> {
		try {
			const [port = 0, second = 0, third = 0] = await freePorts(host, 3);
			if (this.#cause !== null) return this.#end(this.#cause);
			this.#launch(port, [second, third]);
			void this.#look(`http://${host}:${port}`);
		} catch (error) {
			const words = error instanceof Error ? error.message : String(error);
			this.#end(failure('POOL_UNREADY', `the engine could not be started: ${words}`));
		}
	}

	#launch(port: number, [port_2, port_3]: readonly [number, number]): void {
		const { command, env, devices, stopMs, readyMs, cacheDir } = this.#settings;
		this.#folder = mkdtempSync(join(this.#options.runtimeDir, 'orchd-'));
		chmodSync(this.#folder, 0o700);
		const { replicaId } = this.#spec;
		const cache = cacheDir === null ? null : this.#options.caches.make(cacheDir, replicaId);
		const values = this.#values({ port, port_2, port_3, runtime_dir: this.#folder, cache_dir: cache });
		const share = { devices: this.#options.devices(), replica: replicaNumber(replicaId) };
		const own = Object.entries(env).map(([name, value]) => [name, ...filledIn([value], values)] as const);
		this.#process = new ManagedProcess({
			reaper: this.#options.reaper,
			command: filledIn(command, values),
			env: { ...deviceEnv(this.#options.childEnv, devices, share), ...(Object.fromEntries(own) as Readonly<Record<string, string>>) },
			runtimeDir: this.#options.runtimeDir,
			folder: this.#folder,
			graceMs: stopMs,
			onLine: (source, line) => {
				if (line.trim() !== '') this.#lastWords = line.trim();
				this.#options.onLine(this.#spec, source, line);
			},
			onExit: (exit) => this.#end(this.#cause ?? this.#exited(exit)),
		});
		const late = setTimeout(() => {
			const words = `the engine was not ready within ${readyMs / 1000} s: ${this.#unwell}`;
			if (!this.#ready) this.#stop(failure('POOL_UNREADY', words));
		}, readyMs);
		this.#timers.push(late.unref());
	}

	#values(made: Pick<MacroValues, 'port' | 'port_2' | 'port_3' | 'runtime_dir' | 'cache_dir'>): MacroValues {
		const { replicaId, poolId } = this.#spec;
		const { modelWord: model, devices, ctx, slots, maxTokensOut } = this.#settings;
		return {
			...made,
			host,
			model,
			devices: devices?.join(',') ?? null,
			device_count: devices?.length ?? null,
			ctx,
			slots,
			total_ctx: ctx === null ? null : ctx * slots,
			max_tokens_out: maxTokensOut,
			pool_id: poolId,
			replica: replicaNumber(replicaId),
			replica_id: replicaId,
		};
	}

	/** Until it answers as the engine that it is. While it loads, nobody or not yet the right one does. */
	async #look(url: string): Promise<void> {
		const { engine, key, connectMs, model, options = {} } = this.#settings;
		const adapter = adapterOf(this.#options.adapters, engine);
		const client = upstreamClient({ engine, url, key, connectMs });
		for (let waitMs = lookFirstMs; this.#cause === null && !this.#ended; waitMs = Math.min(lookMaxMs, waitMs * 2)) {
			try {
				await adapter.look(client, model, options);
				return this.#meet(url);
			} catch (error) {
				if (!(error instanceof UpstreamProblem)) throw error;
				this.#unwell = error.failure.message;
			}
			await new Promise<void>((resolve) => {
				this.#timers.push(setTimeout(resolve, waitMs).unref());
			});
		}
	}

	#meet(url: string): void {
		if (this.#cause !== null || this.#ended) return;
		const { engine, key, connectMs, model, slots, ctx, defaultCtx, options = {} } = this.#settings;
		const settings: UpstreamSettings = { kind: 'upstream', engine, urls: [url], key, model, slots, ctx, defaultCtx, connectMs, options };
		this.#watch = this.#options.upstream.start(
			{ ...this.#spec, settings },
			{
				tell: (news) => {
					this.#onNews(news);
					return 'accepted';
				},
			},
		);
	}

	#onNews(news: LifeNews): void {
		if (this.#ended || this.#cause !== null) return;
		if (news.type === 'life-ready') {
			this.#ready = true;
			const { devices } = this.#settings;
			const device = devices === null ? 'devices of its own choice' : devices.length === 0 ? 'CPU' : `device ${devices.join(', ')}`;
			this.#replica.tell({ ...news, facts: { ...news.facts, device } });
		} else if (news.type === 'life-ended') this.#stop(news.failure);
		else this.#replica.tell(news);
	}

	#exited(exit: ChildExit): Failure {
		// Once it serves, what it says may quote a client.
		const said = this.#ready || this.#lastWords === '' ? '' : `; its last words: ${this.#lastWords.slice(0, lastWordsMax)}`;
		return failure(this.#ready ? 'WORKER_RESET' : 'POOL_UNREADY', `the engine process ${describeExit(exit)}${said}`);
	}

	#stop(why: Failure): void {
		if (this.#ended || this.#cause !== null) return;
		this.#cause = why;
		this.#watch?.stop();
		this.#process?.stop();
	}

	/** Nothing of it runs. */
	#end(why: Failure): void {
		if (this.#ended) return;
		this.#ended = true;
		for (const timer of this.#timers) clearTimeout(timer);
		this.#watch?.stop();
		if (this.#folder !== null) rmSync(this.#folder, { recursive: true, force: true });
		this.#replica.tell({ type: 'life-ended', failure: { ...why, engine: this.#spec.engine, poolId: this.#spec.poolId } });
	}
}
