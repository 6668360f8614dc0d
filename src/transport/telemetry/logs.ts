/**
 * The log: one JSON line per event, to stderr. Only fields of the list get through, and only scalars, so that a prompt, an
 * output or a key cannot be logged by a slip; what was held back is named in `dropped`.
 */
import { type DestinationStream, type Logger, pino } from 'pino';
import type { LogLevel } from '../../actors/kernel/telemetry.ts';
import { LogOutput, stderrWriter } from './log-output.ts';

export interface Log {
	(level: LogLevel, event: string, fields: Readonly<Record<string, unknown>>): void;
	/** Whether lines of that level are written. Default: they are. */
	readonly writes?: (level: LogLevel) => boolean;
}

export interface LogOptions {
	readonly thread: string;
	readonly level: LogLevel;
	/** Default: the process's stderr. */
	readonly to?: DestinationStream;
}

const textMax = 1000;

/** Names of what may stand in a line beside `level`, `time`, `thread` and `event`. */
export const loggedFields: ReadonlySet<string> = new Set(
	[
		['correlation_id', 'task_id', 'session_id', 'engine', 'engine_version', 'pool_id', 'replica_id'],
		['queue_position', 'predicted_start_ms', 'tokens_in', 'tokens_out', 'tokens_cached', 'decode_time_ms'],
		['human', 'code', 'reason', 'finish_reason', 'outcome', 'state', 'phase', 'decision'],
		['message', 'stack', 'where', 'during', 'method', 'route', 'status', 'actor', 'name', 'count', 'total', 'restarts'],
		['from', 'to', 'front_id', 'worker', 'epoch', 'lease', 'slots', 'model', 'device', 'pid', 'exit_code', 'signal'],
		['address', 'port', 'version', 'ms', 'retry_in_ms', 'bytes', 'host', 'fingerprint'],
	].flat(),
);

export function threadLog({ thread, level, to = stderrOutput(thread) }: LogOptions): Log {
	const logger: Logger = pino(
		{
			level,
			base: { thread },
			timestamp: () => `,"time":"${new Date().toISOString()}"`,
			formatters: { level: (label) => ({ level: label }) },
		},
		to,
	);
	const write = (lineLevel: LogLevel, event: string, fields: Readonly<Record<string, unknown>>): void => {
		if (logger.isLevelEnabled(lineLevel)) logger[lineLevel]({ event, ...allowed(fields) });
	};
	return Object.assign(write, { writes: (lineLevel: LogLevel) => logger.isLevelEnabled(lineLevel) });
}

function stderrOutput(thread: string): LogOutput {
	return new LogOutput(stderrWriter(), (count) => {
		const time = new Date().toISOString();
		return `${JSON.stringify({ level: 'warn', time, thread, event: 'log-lines-lost', count })}\n`;
	});
}

function allowed(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
	const line: Record<string, unknown> = {};
	const dropped: string[] = [];
	for (const [given, value] of Object.entries(fields)) {
		if (value === undefined || value === null) continue;
		const name = snakeCase(given);
		if (!loggedFields.has(name) || !isScalar(value)) dropped.push(name);
		else line[name] = typeof value === 'string' && value.length > textMax ? `${value.slice(0, textMax)}…` : value;
	}
	if (dropped.length > 0) line['dropped'] = dropped.join(',').slice(0, textMax);
	return line;
}

/** Fields of code come as `retryInMs`, those of the API as `pool_id`: a line has one style. */
function snakeCase(name: string): string {
	let snake = snakeNames.get(name);
	if (snake !== undefined) return snake;
	snake = name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
	if (snakeNames.size < snakeNamesMax) snakeNames.set(name, snake);
	return snake;
}

/** Names are those of our code, so few; bounded all the same. */
const snakeNamesMax = 1_000;
const snakeNames = new Map<string, string>();

function isScalar(value: unknown): value is string | number | boolean {
	return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}
