/** How every bench says what it measured: a table for people on stdout, the same as JSON in a file when asked for. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname } from 'node:path';

export interface Column<Row> {
	readonly title: string;
	readonly cell: (row: Row) => string;
}

/** Quantiles of a sample by nearest rank; NaN of an empty one. */
export function quantiles(values: Float64Array | readonly number[], at: readonly number[]): number[] {
	const sorted = Float64Array.from(values).sort();
	return at.map((q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN);
}

export function median(values: readonly number[]): number {
	return quantiles(values, [0.5])[0] ?? Number.NaN;
}

/** `–` for what was not measured. */
export function figure(value: number, digits = 0): string {
	if (Number.isNaN(value)) return '–';
	return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** Median, least and most. */
export function spread(values: readonly number[], digits = 0): string {
	return `${figure(median(values), digits)} (${figure(Math.min(...values), digits)}–${figure(Math.max(...values), digits)})`;
}

export function table<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
	const lines = [`| ${columns.map((column) => column.title).join(' | ')} |`, `|${'---|'.repeat(columns.length)}`];
	for (const row of rows) lines.push(`| ${columns.map((column) => column.cell(row)).join(' | ')} |`);
	return lines.join('\n');
}

export function machine(): string {
	return `${cpus().length} × ${cpus()[0]?.model ?? 'CPU'}, Node ${process.version}`;
}

export function report(bench: string, text: string, json: string | undefined, data: unknown): void {
	process.stdout.write(`${text}\n`);
	if (json === undefined) return;
	mkdirSync(dirname(json), { recursive: true });
	writeFileSync(json, `${JSON.stringify({ bench, machine: machine(), at: new Date().toISOString(), data }, null, 1)}\n`);
}
