/**
 * The kernel's `Telemetry` port on a real thread: a registry of its own for metrics, and the log. One per thread; `main`
 * merges their snapshots for the scrape. A metric or label that is not in the table is a bug.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Labels, LogLevel, Telemetry } from '../../actors/kernel/telemetry.ts';
import type { Log } from './logs.ts';
import { type MetricSpec, metricSpecs } from './metric-names.ts';
import { type MetricsSnapshot, snapshotOf } from './metrics-merge.ts';

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

/** `shown`: the series of a histogram that are there, which may not be set to zero; `seen`: the label objects that named them. */
type Recorder =
	| { readonly type: 'counter'; readonly spec: MetricSpec; readonly metric: Counter }
	| { readonly type: 'gauge'; readonly spec: MetricSpec; readonly metric: Gauge }
	| {
			readonly type: 'histogram';
			readonly spec: MetricSpec;
			readonly metric: Histogram;
			readonly shown: Set<string>;
			readonly seen: WeakSet<Labels>;
	  };

export function threadTelemetry(options: TelemetryOptions): ThreadTelemetry {
	return new PromTelemetry(options);
}

class PromTelemetry implements ThreadTelemetry {
	counted = 0;
	readonly #registry = new Registry();
	readonly #recorders = new Map<string, Recorder>();
	readonly #log: Log;
	readonly #lagTimer: NodeJS.Timeout | null;

	constructor({ thread, log, processDefaults, heapDefaults, lagMs = 0 }: TelemetryOptions) {
		this.#log = log;
		for (const spec of metricSpecs) this.#recorders.set(spec.name, recorderOf(spec, this.#registry));
		if (processDefaults === true) collectDefaults(this.#registry, processMetrics, {});
		if (heapDefaults === true) collectDefaults(this.#registry, heapMetrics, { thread });
		this.#lagTimer = lagMs > 0 ? this.#watchLag(thread, lagMs) : null;
	}

	count(metric: string, labels: Labels, by = 1): void {
		const recorder = this.#recorder(metric, labels);
		if (recorder.type !== 'counter') throw new Error(`telemetry: ${metric} is a ${recorder.type}, not a counter`);
		this.counted += 1;
		recorder.metric.inc(complete(recorder.spec, labels), by);
	}

	gauge(metric: string, labels: Labels, value: number): void {
		const recorder = this.#recorder(metric, labels);
		if (recorder.type !== 'gauge') throw new Error(`telemetry: ${metric} is a ${recorder.type}, not a gauge`);
		recorder.metric.set(complete(recorder.spec, labels), value);
	}

	observe(metric: string, labels: Labels, value: number): void {
		const recorder = this.#recorder(metric, labels);
		if (recorder.type !== 'histogram') throw new Error(`telemetry: ${metric} is a ${recorder.type}, not a histogram`);
		this.counted += 1;
		// A task records its samples with one and the same object.
		if (!recorder.seen.has(labels)) {
			recorder.seen.add(labels);
			recorder.shown.add(keyOf(recorder.spec, labels));
		}
		recorder.metric.observe(complete(recorder.spec, labels), value);
	}

	expect(metric: string, labels: Labels): void {
		const recorder = this.#recorder(metric, labels);
		const series = ordered(recorder.spec, labels);
		switch (recorder.type) {
			case 'counter':
				return recorder.metric.inc(series, 0);
			case 'gauge':
				// One that is shown keeps its value.
				return recorder.metric.inc(series, 0);
			case 'histogram': {
				const key = keyOf(recorder.spec, labels);
				if (!recorder.shown.has(key)) recorder.metric.zero(series);
				recorder.shown.add(key);
				return;
			}
		}
	}

	log(level: LogLevel, event: string, fields: Readonly<Record<string, unknown>>): void {
		this.#log(level, event, fields);
	}

	snapshot(): Promise<MetricsSnapshot> {
		return snapshotOf(this.#registry);
	}

	close(): void {
		if (this.#lagTimer !== null) clearInterval(this.#lagTimer);
		this.#registry.clear();
	}

	#recorder(metric: string, labels: Labels): Recorder {
		const recorder = this.#recorders.get(metric);
		if (recorder === undefined) throw new Error(`telemetry: there is no metric ${metric}; add it to metric-names.ts`);
		for (const label in labels) {
			if (!recorder.spec.labels.includes(label)) throw new Error(`telemetry: ${metric} has no label ${label}`);
		}
		return recorder;
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
	const own = new Set(registry.getMetricsAsArray().map(({ name }) => name));
	collectDefaultMetrics({ register: registry, labels, eventLoopMonitoringPrecision: loopLookMs });
	for (const { name } of registry.getMetricsAsArray()) if (!own.has(name) && !wanted.test(name)) registry.removeSingleMetric(name);
}

function recorderOf(spec: MetricSpec, registry: Registry): Recorder {
	const base = { name: spec.name, help: spec.help, labelNames: [...spec.labels], registers: [registry] };
	switch (spec.type) {
		case 'counter':
			return { type: 'counter', spec, metric: new Counter(base) };
		case 'gauge':
			return { type: 'gauge', spec, metric: new Gauge({ ...base, aggregator: spec.merge }) };
		case 'histogram':
			return {
				type: 'histogram',
				spec,
				metric: new Histogram({ ...base, buckets: [...spec.buckets] }),
				shown: new Set(),
				seen: new WeakSet(),
			};
	}
}

/** Every label of the metric, '' where nothing is known, so that series are comparable. */
function complete(spec: MetricSpec, labels: Labels): Labels {
	let missing = false;
	for (const label of spec.labels) if (!(label in labels)) missing = true;
	return missing ? ordered(spec, labels) : labels;
}

function ordered(spec: MetricSpec, labels: Labels): Labels {
	return Object.fromEntries(spec.labels.map((label) => [label, labels[label] ?? '']));
}

function keyOf({ labels: names }: MetricSpec, labels: Labels): string {
	return JSON.stringify(names.map((name) => labels[name] ?? ''));
}
