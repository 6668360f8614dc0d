/**
 * What one metric has counted on one thread, by its labels. A series is found by the identity of the object that names it, so that whoever
 * counts often keeps that object: then a count is two look-ups and an addition, without a text or an allocation. An object that is new is read
 * once, and labels that it leaves out are ''.
 */
import type { Labels } from '../../actors/kernel/telemetry.ts';
import type { MetricSpec } from './metric-names.ts';
import type { MetricSample } from './metrics-merge.ts';

type HistogramSpec = Extract<MetricSpec, { readonly type: 'histogram' }>;

abstract class Family<Series> {
	readonly spec: MetricSpec;
	readonly #byObject = new WeakMap<Labels, Series>();
	readonly #byValues = new Map<string, Series>();

	constructor(spec: MetricSpec) {
		this.spec = spec;
		// Without labels there is one series, known from the start.
		if (spec.labels.length === 0) this.of({});
	}

	protected abstract make(labels: Labels): Series;
	protected abstract samplesOf(series: Series): MetricSample[];

	/** Throws for a label that the table of metrics does not have. */
	of(labels: Labels): Series {
		return this.#byObject.get(labels) ?? this.#read(labels);
	}

	samples(): MetricSample[] {
		return [...this.#byValues.values()].flatMap((series) => this.samplesOf(series));
	}

	#read(labels: Labels): Series {
		const { name, labels: names } = this.spec;
		for (const label in labels) if (!names.includes(label)) throw new Error(`telemetry: ${name} has no label ${label}`);
		const values = names.map((label) => labels[label] ?? '');
		const key = JSON.stringify(values);
		let series = this.#byValues.get(key);
		if (series === undefined) {
			series = this.make(Object.fromEntries(names.map((label, index) => [label, values[index] as string])));
			this.#byValues.set(key, series);
		}
		this.#byObject.set(labels, series);
		return series;
	}
}

interface Value {
	readonly labels: Labels;
	value: number;
}

export class CounterFamily extends Family<Value> {
	readonly type = 'counter';

	/** Throws for what is no number from 0. */
	add(labels: Labels, by: number): void {
		if (!(by >= 0 && by < Number.POSITIVE_INFINITY)) throw new Error(`telemetry: ${this.spec.name} cannot grow by ${by}`);
		this.of(labels).value += by;
	}

	protected make(labels: Labels): Value {
		return { labels, value: 0 };
	}

	protected samplesOf({ labels, value }: Value): MetricSample[] {
		return [{ labels, value }];
	}
}

export class GaugeFamily extends Family<Value> {
	readonly type = 'gauge';

	/** Throws for what is no number. */
	set(labels: Labels, value: number): void {
		if (!Number.isFinite(value)) throw new Error(`telemetry: ${this.spec.name} cannot be ${value}`);
		this.of(labels).value = value;
	}

	protected make(labels: Labels): Value {
		return { labels, value: 0 };
	}

	protected samplesOf({ labels, value }: Value): MetricSample[] {
		return [{ labels, value }];
	}
}

interface Distribution {
	readonly labels: Labels;
	/** By bucket: samples above the bound before it and up to its own; behind the last, those above all. */
	readonly counts: Float64Array;
	sum: number;
	count: number;
}

export class HistogramFamily extends Family<Distribution> {
	readonly type = 'histogram';
	readonly #bounds: readonly number[];

	constructor(spec: HistogramSpec) {
		super(spec);
		this.#bounds = spec.buckets;
	}

	/** Throws for what is no number. */
	observe(labels: Labels, value: number): void {
		if (!Number.isFinite(value)) throw new Error(`telemetry: ${this.spec.name} cannot be ${value}`);
		const series = this.of(labels);
		const bounds = this.#bounds;
		let bucket = 0;
		while (bucket < bounds.length && value > (bounds[bucket] as number)) bucket += 1;
		series.counts[bucket] = (series.counts[bucket] as number) + 1;
		series.sum += value;
		series.count += 1;
	}

	protected make(labels: Labels): Distribution {
		return { labels, counts: new Float64Array((this.spec as HistogramSpec).buckets.length + 1), sum: 0, count: 0 };
	}

	/** As Prometheus has them: each bucket counts those below it too. */
	protected samplesOf({ labels, counts, sum, count }: Distribution): MetricSample[] {
		const { name } = this.spec;
		let below = 0;
		const buckets = this.#bounds.map((bound, index): MetricSample => {
			below += counts[index] as number;
			return { labels: { le: bound, ...labels }, value: below, metricName: `${name}_bucket` };
		});
		return [
			...buckets,
			{ labels: { le: '+Inf', ...labels }, value: count, metricName: `${name}_bucket` },
			{ labels, value: sum, metricName: `${name}_sum` },
			{ labels, value: count, metricName: `${name}_count` },
		];
	}
}

export type AnyFamily = CounterFamily | GaugeFamily | HistogramFamily;

export function familyOf(spec: MetricSpec): AnyFamily {
	switch (spec.type) {
		case 'counter':
			return new CounterFamily(spec);
		case 'gauge':
			return new GaugeFamily(spec);
		case 'histogram':
			return new HistogramFamily(spec);
	}
}
