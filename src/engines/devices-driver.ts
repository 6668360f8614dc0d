/**
 * A driver whose engines use devices of this machine: none is started before the devices are known, a mask that names others is refused,
 * and while an engine is up what its devices do is measured and its pool hears of their free memory. Wraps the driver that does the rest.
 */
import type { ActorRef } from '../actors/kernel/ref.ts';
import type { Telemetry } from '../actors/kernel/telemetry.ts';
import type { EngineDriver, EngineLife, LifeNews, ModelChange } from '../actors/serving/engine-life.ts';
import { failure } from '../actors/serving/failure.ts';
import type { MemoryTold } from '../actors/serving/memory-messages.ts';
import type { ReplicaFacts, ReplicaSpec } from '../actors/serving/messages.ts';
import { type DevicesFound, deviceLabel, freeBytesOf, maskProblem, visible } from './devices.ts';
import type { DeviceWatch } from './devices-watch.ts';
import { lookAtRam, type MemoryBounds, machineMemory, usedBy } from './machine-memory.ts';

export interface DevicesDriverOptions {
	readonly driver: EngineDriver;
	readonly watch: DeviceWatch;
	readonly telemetry: Telemetry;
	/** Of what engines may take. */
	readonly bounds: MemoryBounds;
	/** What an engine with these settings may see; null: all there is. */
	maskOf(settings: unknown): readonly number[] | null;
}

/** A pool hears of its free memory again when it has changed by this much. */
const tellBytes = 64 * 2 ** 20;

export class DevicesDriver implements EngineDriver {
	readonly #options: DevicesDriverOptions;

	constructor(options: DevicesDriverOptions) {
		this.#options = options;
	}

	start(spec: ReplicaSpec, replica: ActorRef<LifeNews>): EngineLife {
		return new LifeWithDevices(spec, replica, this.#options);
	}

	withModel(settings: unknown, model: string, answer: (change: ModelChange) => void): void {
		const { driver } = this.#options;
		if (driver.withModel !== undefined) driver.withModel(settings, model, answer);
		else answer({ ok: false, failure: failure('INVALID_PARAMS', 'the model of this engine cannot be changed') });
	}

	/** Of a driver that does not know how much its engines take, all that it may see. */
	memory(...[settings, model, told, heard]: Parameters<NonNullable<EngineDriver['memory']>>): void {
		const { driver, watch, bounds, maskOf } = this.#options;
		const tell = ({ bytes }: Pick<MemoryTold, 'bytes'>): void =>
			void watch.now().then(({ devices }) => {
				told({ bytes, uses: usedBy(devices, maskOf(settings)), devices: machineMemory(devices, bounds, lookAtRam()) });
			});
		if (driver.memory === undefined) tell({ bytes: null });
		else driver.memory(settings, model, tell, heard);
	}

	emptyCaches(spec: ReplicaSpec): string | null {
		return this.#options.driver.emptyCaches?.(spec) ?? null;
	}
}

class LifeWithDevices implements EngineLife {
	readonly #spec: ReplicaSpec;
	readonly #replica: ActorRef<LifeNews>;
	readonly #options: DevicesDriverOptions;
	readonly #mask: readonly number[] | null;
	#life: EngineLife | null = null;
	/** Of the last look, by label. */
	#shown = new Map<string, Readonly<Record<string, string>>>();
	#unfollow: () => void = () => {};
	#toldBytes: number | null = null;
	#over = false;

	constructor(spec: ReplicaSpec, replica: ActorRef<LifeNews>, options: DevicesDriverOptions) {
		this.#spec = spec;
		this.#replica = replica;
		this.#options = options;
		this.#mask = options.maskOf(spec.settings);
		void options.watch.first().then(
			(found) => this.#begin(found),
			(error: unknown) => this.#end(`the devices cannot be looked at: ${String(error)}`),
		);
	}

	audit(revoked: readonly string[]): void {
		this.#life?.audit(revoked);
	}

	stop(): void {
		if (this.#life !== null) this.#life.stop();
		else this.#end('the engine was stopped');
	}

	#begin(found: DevicesFound): void {
		if (this.#over) return;
		const problem = maskProblem(this.#mask, found);
		if (problem !== null) return this.#end(`devices of ${this.#spec.poolId} ${problem}`);
		const heard: ActorRef<LifeNews> = {
			tell: (news) => {
				if (news.type === 'life-ended') this.#close();
				const answer = this.#replica.tell(news);
				if (news.type === 'life-ready') this.#follow(news.facts);
				return answer;
			},
		};
		this.#life = this.#options.driver.start(this.#spec, heard);
	}

	#follow(facts: ReplicaFacts): void {
		// Nothing to measure of one that has taken the CPU.
		if (this.#over || this.#mask?.length === 0 || facts.device.startsWith('CPU')) return;
		const show = (found: DevicesFound): void => this.#show(found, facts);
		this.#unfollow = this.#options.watch.follow(show);
		show(this.#options.watch.latest);
	}

	#show({ devices }: DevicesFound, { engineVersion }: ReplicaFacts): void {
		const { engine, poolId, replicaId } = this.#spec;
		for (const device of visible(devices, this.#mask)) {
			const label = deviceLabel(device, devices);
			const labels = { engine, engine_version: engineVersion, pool_id: poolId, replica_id: replicaId, device: label };
			this.#shown.set(label, labels);
			if (device.utilization !== null) this.#options.telemetry.gauge('gpu_utilization', labels, device.utilization);
			if (device.usedBytes !== null) this.#options.telemetry.gauge('vram_used_bytes', labels, device.usedBytes);
		}
		const freeBytes = freeBytesOf(devices, this.#mask);
		const told = this.#toldBytes;
		if (freeBytes === null ? told === null : told !== null && Math.abs(freeBytes - told) < tellBytes) return;
		this.#toldBytes = freeBytes;
		this.#replica.tell({ type: 'life-memory', vramFreeBytes: freeBytes });
	}

	/** Of one that does not run, its devices do nothing. */
	#close(): void {
		this.#over = true;
		this.#unfollow();
		for (const labels of this.#shown.values()) {
			for (const metric of ['gpu_utilization', 'vram_used_bytes']) this.#options.telemetry.gauge(metric, labels, 0);
		}
	}

	/** It was never started. */
	#end(why: string): void {
		if (this.#over) return;
		this.#over = true;
		const { engine, poolId } = this.#spec;
		this.#replica.tell({ type: 'life-ended', failure: failure('POOL_UNAVAILABLE', why, { engine, poolId, retriable: false }) });
	}
}
