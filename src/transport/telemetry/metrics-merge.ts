/**
 * Metrics of several threads as one: plain snapshots that cross threads, their merge, and the Prometheus text. Pure.
 */
import { AggregatorRegistry, type Registry } from 'prom-client';

export interface MetricSample {
	readonly labels: Readonly<Record<string, string | number>>;
	readonly value: number;
	/** Of histograms: `<name>_bucket`, `_sum`, `_count`. */
	readonly metricName?: string;
}

export interface MetricJson {
	readonly name: string;
	readonly help: string;
	readonly type: string;
	readonly aggregator: string;
	readonly values: readonly MetricSample[];
}

/** All metrics of one thread at one moment: plain data, survives structured clone. */
export type MetricsSnapshot = readonly MetricJson[];

export const prometheusType = 'text/plain; version=0.0.4; charset=utf-8';

export async function snapshotOf(registry: Registry): Promise<MetricsSnapshot> {
	const metrics = await registry.getMetricsAsJSON();
	return metrics.map(({ name, help, type, aggregator, values }) => ({
		name,
		help,
		// at run time a name, whatever the typings say
		type: String(type),
		// The library leaves some of the process out of sums; here one thread alone has them.
		aggregator: aggregator === 'omit' ? 'first' : aggregator,
		values: values.map((sample) => ({
			labels: labelsOf(sample.labels),
			value: sample.value,
			...('metricName' in sample && typeof sample.metricName === 'string' ? { metricName: sample.metricName } : {}),
		})),
	}));
}

function labelsOf(labels: Partial<Record<string, string | number>>): Record<string, string | number> {
	const own: Record<string, string | number> = {};
	for (const [name, value] of Object.entries(labels)) if (value !== undefined) own[name] = value;
	return own;
}

/** The text of a scrape. Equal series add up, or take the largest where the table of metrics says so. */
export async function renderMetrics(snapshots: readonly MetricsSnapshot[]): Promise<string> {
	const merged = AggregatorRegistry.aggregate([...snapshots]);
	return await merged.metrics();
}

/**
 * What remains of a thread that has ended: its counters and histograms, so that none falls; not its gauges, which told of a
 * state that is gone.
 */
export function retained(snapshot: MetricsSnapshot): MetricsSnapshot {
	return snapshot.filter(({ type }) => type === 'counter' || type === 'histogram');
}

/** Adds the remains of one more ended thread to those of the ones before, so that they do not pile up. */
export function addRetained(kept: MetricsSnapshot, ended: MetricsSnapshot): MetricsSnapshot {
	const byName = new Map(kept.map((metric) => [metric.name, metric]));
	for (const metric of retained(ended)) {
		const before = byName.get(metric.name);
		byName.set(metric.name, before === undefined ? metric : { ...metric, values: added(before.values, metric.values) });
	}
	return [...byName.values()];
}

function added(before: readonly MetricSample[], after: readonly MetricSample[]): readonly MetricSample[] {
	const sums = new Map<string, MetricSample>();
	for (const sample of [...before, ...after]) {
		const labels = Object.entries(sample.labels).sort(([a], [b]) => (a < b ? -1 : 1));
		const key = JSON.stringify([sample.metricName, labels]);
		const known = sums.get(key);
		sums.set(key, known === undefined ? sample : { ...sample, value: known.value + sample.value });
	}
	return [...sums.values()];
}
