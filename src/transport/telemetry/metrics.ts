/**
 * The kernel's `Telemetry` port on a real thread: series of its own for our metrics, a registry for those of the process, and the log. One per
 * thread; `main` merges their snapshots for the scrape. A metric or label that is not in the table is a bug.
 */
import { collectDefaultMetrics, Registry } from 'prom-client';
import type { Labels, LogLevel, Telemetry } from '../../actors/kernel/telemetry.ts';
import type { Log } from './logs.ts';
import { metricSpecs } from './metric-names.ts';
import { type MetricJson, type MetricsSnapshot, snapshotOf } from './metrics-merge.ts';
import { type AnyFamily, familyOf } from './series.ts';

export interface TelemetryOptions {
	/** Name of the thread: `front-0`, `control`, … */
	readonly thread: string;
	readonly log: Log;
	/** Metrics of the whole process (CPU, memory, descriptors): on one thread of the process only, one that is never replaced. */
	readonly processDefaults?: boolean;
	/** Memory and collections of this thread's JavaScript heap, under its name. */
	readonly heapDefaults?: boolean;
	/** How often the lag of the event loop is looked at; default never: threads that heartbeat tell it themselves. */
	readonly lagMs?: number;
}

export interface ThreadTelemetry extends Telemetry {
	/** Counts and observations so far. */
	readonly counted: number;
	/** Plain data, for `main`. Changes nothing. */
	snapshot(): Promise<MetricsSnapshot>;
	close(): void;
}

export function threadTelemetry(options: TelemetryOptions): ThreadTelemetry {
	return new PromTelemetry(options);
}

class PromTelemetry implements ThreadTelemetry {
	counted = 0;
	/** What the library tells of the process, and of heaps. */
	readonly #registry = new Registry();
	readonly #families = new Map<string, AnyFamily>();
	readonly #log: Log;
	readonly #lagTimer: NodeJS.Timeout | null;

	constructor({ thread, log, processDefaults, heapDefaults, lagMs = 0 }: TelemetryOptions) {
		this.#log = log;
		for (const spec of metricSpecs) this.#families.set(spec.name, familyOf(spec));
		if (processDefaults === true) collectDefaults(this.#registry, processMetrics, {});
		if (heapDefaults === true) collectDefaults(this.#registry, heapMetrics, { thread });
		this.#lagTimer = lagMs > 0 ? this.#watchLag(thread, lagMs) : null;
	}

	count(metric: string, labels: Labels, by = 1): void {
		const family = this.#family(metric);
		if (family.type !== 'counter') throw new Error(`telemetry: ${metric} is a ${family.type}, not a counter`);
		this.counted += 1;
		family.add(labels, by);
	}

	gauge(metric: string, labels: Labels, value: number): void {
		const family = this.#family(metric);
		if (family.type !== 'gauge') throw new Error(`telemetry: ${metric} is a ${family.type}, not a gauge`);
		family.set(labels, value);
	}

	observe(metric: string, labels: Labels, value: number): void {
		const family = this.#family(metric);
		if (family.type !== 'histogram') throw new Error(`telemetry: ${metric} is a ${family.type}, not a histogram`);
		this.counted += 1;
		family.observe(labels, value);
	}

	expect(metric: string, labels: Labels): void {
		this.#family(metric).of(labels);
	}

	logs(level: LogLevel): boolean {
		return this.#log.writes?.(level) ?? true;
	}

	log(level: LogLevel, event: string, fields: Readonly<Record<string, unknown>>): void {
		this.#log(level, event, fields);
	}

	async snapshot(): Promise<MetricsSnapshot> {
		const own = [...this.#families.values()].map(jsonOf);
		return [...own, ...(await snapshotOf(this.#registry))];
	}

	close(): void {
		if (this.#lagTimer !== null) clearInterval(this.#lagTimer);
		this.#registry.clear();
	}

	#family(metric: string): AnyFamily {
		const family = this.#families.get(metric);
		if (family === undefined) throw new Error(`telemetry: there is no metric ${metric}; add it to metric-names.ts`);
		return family;
	}

	#watchLag(thread: string, lagMs: number): NodeJS.Timeout {
		let due = performance.now() + lagMs;
		const timer = setInterval(() => {
			const now = performance.now();
			this.gauge('event_loop_lag_ms', { thread }, Math.max(0, now - due));
			due = now + lagMs;
		}, lagMs);
		return timer.unref();
	}
}

const processMetrics = /^process_|^nodejs_version_info$/;
const heapMetrics = /^nodejs_(heap_size|external_memory|gc)_/;
/** Of the library's look at the event loop, which wakes the thread each time, and which nobody sees here. */
const loopLookMs = 60_000;

/**
 * Those of the library's own that `wanted` names. Not among them: the lag of the event loop, which starts anew with each scrape,
 * and counts of handles, which go through all open connections.
 */
function collectDefaults(registry: Registry, wanted: RegExp, labels: Labels): void {
	const before = new Set(registry.getMetricsAsArray().map(({ name }) => name));
	collectDefaultMetrics({ register: registry, labels, eventLoopMonitoringPrecision: loopLookMs });
	for (const { name } of registry.getMetricsAsArray()) if (!before.has(name) && !wanted.test(name)) registry.removeSingleMetric(name);
}

function jsonOf(family: AnyFamily): MetricJson {
	const { name, help, type } = family.spec;
	return { name, help, type, aggregator: family.spec.type === 'gauge' ? family.spec.merge : 'sum', values: family.samples() };
}
