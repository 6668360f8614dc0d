/**
 * The port through which actors report what happened. Implemented by `transport/telemetry`, and by a recorder in
 * tests. Calls must be cheap and never throw; nothing is recorded per token.
 */

export type Labels = Readonly<Record<string, string>>;
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface Telemetry {
	/** Adds to a counter. */
	count(metric: string, labels: Labels, by?: number): void;
	/** Sets a gauge. */
	gauge(metric: string, labels: Labels, value: number): void;
	/** Records a sample in a histogram, in the unit of its name. */
	observe(metric: string, labels: Labels, value: number): void;
	/** A series that may get samples later: it is shown from now on, a counter, gauge or histogram at 0. */
	expect(metric: string, labels: Labels): void;
	/** Whether lines of that level are written: those that are not need not be made. Default: they are. */
	logs?(level: LogLevel): boolean;
	/** One structured line. `fields` holds no prompt, output or key. */
	log(level: LogLevel, event: string, fields: Readonly<Record<string, unknown>>): void;
}

export const silentTelemetry: Telemetry = {
	count() {},
	gauge() {},
	observe() {},
	expect() {},
	log() {},
};

/** An error as the fields of a log line. */
export function errorFields(error: unknown): { readonly message: string; readonly stack?: string | undefined } {
	return error instanceof Error ? { message: error.message, stack: error.stack } : { message: String(error) };
}
