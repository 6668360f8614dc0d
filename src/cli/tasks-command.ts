/**
 * `tasks`, `explain` and `cancel`: what the daemon is doing, why, and how to make it stop doing it.
 */
import type { TaskPage } from '../client/index.ts';
import { type DaemonClient, getJson, getTask, isObject, type JsonObject, number, objects, text, told } from './daemon-client.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import { table } from './table.ts';
import type { Terminal } from './terminal.ts';

export interface ListOptions {
	readonly state: string | null;
	readonly pool: string | null;
	readonly limit: number;
	readonly json: boolean;
}

export const heading: readonly string[] = ['TASK', 'STATE', 'MODEL', 'POOL', 'PRIORITY', 'IN', 'OUT', 'STARTS'];

/** The newest of them. */
export function listed(client: DaemonClient, { limit, state, pool }: ListOptions): Promise<TaskPage> {
	return told(client.api.tasks({ limit, ...(state === null ? {} : { state }), ...(pool === null ? {} : { poolId: pool }) }));
}

export async function list(client: DaemonClient, options: ListOptions, terminal: Terminal): Promise<ExitCode> {
	const { tasks, next_cursor: nextCursor } = await listed(client, options);
	if (options.json) {
		for (const task of tasks) terminal.out(`${JSON.stringify(task)}\n`);
		return exitCodes.ok;
	}
	if (tasks.length === 0) {
		terminal.say(options.state === null ? 'no tasks' : `no tasks in state ${options.state}`);
		return exitCodes.ok;
	}
	terminal.out(table([heading, ...tasks.map(row)]));
	if (nextCursor !== null) terminal.note(`only the newest ${tasks.length}; --limit shows more`);
	return exitCodes.ok;
}

export async function cancel(client: DaemonClient, taskIds: readonly string[], terminal: Terminal): Promise<ExitCode> {
	let code: ExitCode = exitCodes.ok;
	for (const taskId of taskIds) {
		await told(client.api.task(taskId).cancel());
		const task = await getTask(client, taskId);
		if (task === null) {
			terminal.say(`${taskId}: the daemon knows no such task`);
			code = exitCodes.failure;
		} else {
			terminal.out(`${taskId} ${text(task['state'])}\n`);
		}
	}
	return code;
}

export async function explain(client: DaemonClient, taskId: string, json: boolean, terminal: Terminal): Promise<ExitCode> {
	const body = await getJson(client, `/v2/tasks/${encodeURIComponent(taskId)}/explain`);
	if (json) {
		terminal.out(`${JSON.stringify(body)}\n`);
		return exitCodes.ok;
	}
	terminal.out(`${text(body['human'])}\n`);
	for (const pool of objects(body['pools'])) {
		const mark = pool['chosen'] === true ? '*' : ' ';
		terminal.out(`${mark} ${text(pool['pool_id'])} (${text(pool['engine'])}, ${text(pool['state'])}): ${text(pool['reason'])}\n`);
	}
	const { decision } = body;
	if (isObject(decision)) {
		const stages = objects(decision['stages']).map((stage) => `${text(stage['stage'])} ${number(stage['us']) ?? 0}`);
		terminal.out(`decided in ${number(decision['total_us']) ?? 0} µs (${stages.join(', ')})\n`);
	}
	return exitCodes.ok;
}

export function row(task: JsonObject): string[] {
	return [
		text(task['task_id']),
		text(task['state']),
		text(task['model_ref']),
		text(task['pool_id']) || '-',
		text(task['priority']),
		String(number(task['tokens_in']) ?? '-'),
		String(number(task['tokens_out']) ?? '-'),
		startsOf(task),
	];
}

/** Of one that waits: how many are before it, and how long that will take. */
function startsOf(task: JsonObject): string {
	const place = number(task['queue_position']);
	if (text(task['state']) !== 'queued' || place === null) return '-';
	const startMs = number(task['predicted_start_ms']);
	return `${place === 0 ? 'next' : `after ${place}`}${startMs === null ? '' : `, in ${(startMs / 1000).toFixed(1)} s`}`;
}
