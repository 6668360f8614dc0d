/** What a thread of a simulation reports: sums of counters, and the lines that say something is wrong. */
import type { Labels, LogLevel, Telemetry } from '../../src/actors/kernel/telemetry.ts';

export class SimTelemetry implements Telemetry {
	readonly totals = new Map<string, number>();
	/** Of level `error`. */
	readonly errors: string[] = [];

	count(metric: string, _labels: Labels, by = 1): void {
		this.totals.set(metric, (this.totals.get(metric) ?? 0) + by);
	}

	gauge(): void {}

	observe(): void {}

	expect(): void {}

	log(level: LogLevel, event: string, fields: Readonly<Record<string, unknown>>): void {
		if (level === 'error') this.errors.push(`${event} ${JSON.stringify(fields)}`);
	}

	total(metric: string): number {
		return this.totals.get(metric) ?? 0;
	}
}
