/** Small actors and a telemetry that remembers, for the tests of the kernel. */
import assert from 'node:assert/strict';
import type { Behavior, Setup, Signal } from '../../src/actors/kernel/behavior.ts';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import { SimHost } from '../../src/actors/kernel/sim-host.ts';
import type { SupervisionSpec } from '../../src/actors/kernel/supervision.ts';
import { ActorSystem, type SystemOptions } from '../../src/actors/kernel/system.ts';
import type { LogLevel, Telemetry } from '../../src/actors/kernel/telemetry.ts';

interface LogLine {
	readonly level: LogLevel;
	readonly event: string;
	readonly fields: Readonly<Record<string, unknown>>;
}

export class RememberedTelemetry implements Telemetry {
	readonly counts = new Map<string, number>();
	readonly lines: LogLine[] = [];

	count(metric: string, _labels: unknown, by = 1): void {
		this.counts.set(metric, (this.counts.get(metric) ?? 0) + by);
	}

	gauge(): void {}

	observe(): void {}

	expect(): void {}

	log(level: LogLevel, event: string, fields: Readonly<Record<string, unknown>>): void {
		this.lines.push({ level, event, fields });
	}

	/** The fields of every line of one event. */
	of(event: string): Readonly<Record<string, unknown>>[] {
		return this.lines.filter((line) => line.event === event).map((line) => line.fields);
	}
}

export interface Made {
	readonly host: SimHost;
	readonly system: ActorSystem;
	readonly telemetry: RememberedTelemetry;
}

export function make(options: SystemOptions = {}, seed = 1): Made {
	const telemetry = new RememberedTelemetry();
	const host = new SimHost(seed, telemetry);
	return { host, system: new ActorSystem(host, options), telemetry };
}

/** Two restarts in ten seconds, after 100 and 200 ms; half a second to drain. */
export const quick: SupervisionSpec = {
	onFailure: 'restart',
	intensity: { restarts: 2, withinMs: 10_000 },
	backoff: { firstMs: 100, maxMs: 1_000, jitter: 0 },
	shutdownMs: 500,
};

/** An actor that writes down what it gets; ends when asked to drain. */
export function recorder<M>(seen: M[], signals: Signal[] = []): Setup<M> {
	const behavior: Behavior<M> = {
		onMessage(_ctx, message) {
			seen.push(message);
			return 'same';
		},
		onSignal(_ctx, signal) {
			signals.push(signal);
			return signal.type === 'drain' ? 'stopped' : 'same';
		},
	};
	return () => behavior;
}

/** An actor that does nothing at all. */
export const idle: Setup<unknown> = () => ({ onMessage: () => 'same' });

/** An actor that watches and writes down the signals it gets. */
export function watcherOf(refs: readonly ActorRef<never>[], signals: Signal[]): Setup<never> {
	return (ctx) => {
		for (const ref of refs) ctx.watch(ref);
		return {
			onMessage: () => 'same',
			onSignal(_ctx, signal) {
				signals.push(signal);
				return 'same';
			},
		};
	};
}

/** Stops all and asserts that nothing is left: no actor, timer, reply slot, edge, exported id or watch, nor a host timer. */
export function assertAtRest({ host, system }: Pick<Made, 'host' | 'system'>): void {
	system.shutdown();
	const { actors, timers, asks, edges, exports, foreignWatched } = system.stats;
	assert.deepEqual(
		{ actors, timers, asks, edges, exports, foreignWatched, hostTimers: host.world.timers },
		{ actors: 0, timers: 0, asks: 0, edges: 0, exports: 0, foreignWatched: 0, hostTimers: 0 },
	);
}
