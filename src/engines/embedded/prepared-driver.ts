/**
 * A driver whose engines load files of ours: none is started before its model is here and may be trusted, and each is told what the bytes
 * were when they were hashed last. Wraps the driver that does the rest; on an engine thread.
 *
 *   waiting ── its model is here ──→ as the driver within        waiting ── it does not come, stop ──→ ended
 */
import type { ActorRef } from '../../actors/kernel/ref.ts';
import type { EngineDriver, EngineLife, LifeNews, ModelChange } from '../../actors/serving/engine-life.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { ReplicaSpec } from '../../actors/serving/messages.ts';
import type { EmbeddedSettings } from './embedded-settings.ts';
import { changedModel } from './model-change.ts';
import { memoryOfFile } from './model-memory.ts';
import type { ModelSource } from './model-source.ts';

export interface PreparedDriverOptions {
	readonly driver: EngineDriver;
	readonly source: ModelSource;
}

export class PreparedDriver implements EngineDriver {
	readonly #options: PreparedDriverOptions;

	constructor(options: PreparedDriverOptions) {
		this.#options = options;
	}

	start(spec: ReplicaSpec, replica: ActorRef<LifeNews>): EngineLife {
		return new PreparedLife(spec, replica, this.#options);
	}

	/** Of a model that is here: it is fetched for that, where it may be. Of one that does not come nobody knows; why, its load will say. */
	memory(...[settings, model, told, heard]: Parameters<NonNullable<EngineDriver['memory']>>): void {
		const known = settings as EmbeddedSettings;
		const tell = (modelPath: string): void => told({ bytes: memoryOfFile({ ...known, modelPath }), uses: [], devices: [] });
		if (known.modelPath !== '') return tell(known.modelPath);
		void this.#options.source.prepare(model, null, heard, new AbortController().signal).then(
			(prepared) => tell(prepared.ok ? prepared.model.path : ''),
			() => tell(''),
		);
	}

	/** It is fetched and looked at before anything is stopped for it. */
	withModel(settings: unknown, model: string, answer: (change: ModelChange) => void): void {
		void changedModel(settings as EmbeddedSettings, model, this.#options.source).then(answer);
	}
}

class PreparedLife implements EngineLife {
	readonly #spec: ReplicaSpec;
	readonly #replica: ActorRef<LifeNews>;
	readonly #options: PreparedDriverOptions;
	readonly #stopped = new AbortController();
	#life: EngineLife | null = null;
	#fetched = false;
	#over = false;

	constructor(spec: ReplicaSpec, replica: ActorRef<LifeNews>, options: PreparedDriverOptions) {
		this.#spec = spec;
		this.#replica = replica;
		this.#options = options;
		void this.#prepare();
	}

	audit(revoked: readonly string[]): void {
		this.#life?.audit(revoked);
	}

	stop(): void {
		this.#stopped.abort();
		if (this.#life !== null) this.#life.stop();
		else this.#end(failure('WORKER_RESET', 'the engine was stopped'));
	}

	async #prepare(): Promise<void> {
		const settings = this.#spec.settings as EmbeddedSettings;
		const path = settings.modelPath === '' ? null : settings.modelPath;
		try {
			const prepared = await this.#options.source.prepare(
				this.#spec.model,
				path,
				(fetch) => {
					if (this.#over) return;
					this.#fetched = true;
					this.#replica.tell({ type: 'life-fetching', fetch });
				},
				this.#stopped.signal,
			);
			if (this.#over) return;
			if (!prepared.ok) return this.#end(prepared.failure);
			if (this.#fetched) this.#replica.tell({ type: 'life-fetching', fetch: null });
			const { path: modelPath, files: known, expectedDigest } = prepared.model;
			const spec = { ...this.#spec, settings: { ...settings, modelPath, known, expectedDigest } satisfies EmbeddedSettings };
			this.#life = this.#options.driver.start(spec, this.#replica);
		} catch (error) {
			this.#end(failure('POOL_UNREADY', `the model could not be asked for: ${error instanceof Error ? error.message : String(error)}`));
		}
	}

	#end(why: Failure): void {
		if (this.#over) return;
		this.#over = true;
		const { engine, poolId } = this.#spec;
		this.#replica.tell({ type: 'life-ended', failure: { ...why, engine, poolId } });
	}
}
