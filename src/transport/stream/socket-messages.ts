/**
 * Messages of `/v2/ws`: from the text of a client to an operation, or to what is wrong with it; and the texts that go back. Pure.
 * One JSON object a message; unknown fields are refused by name.
 */
import type { LoggedEventName } from '../../actors/serving/event-log-view.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import { eventIdShape } from './resume-point.ts';

export type SocketOp =
	| { readonly op: 'submit'; readonly ref: string | null; readonly task: unknown; readonly credit: number | null }
	| { readonly op: 'watch'; readonly ref: string | null; readonly taskId: string; readonly after: string; readonly credit: number | null }
	| { readonly op: 'cancel'; readonly ref: string | null; readonly taskId: string }
	| { readonly op: 'credit'; readonly ref: string | null; readonly taskId: string; readonly n: number }
	| { readonly op: 'ping'; readonly ref: string | null };

export type ReadOp =
	| { readonly ok: true; readonly value: SocketOp }
	/** `ref` and `taskId` as far as they could be read, for the answer. */
	| { readonly ok: false; readonly failure: Failure; readonly ref: string | null; readonly taskId: string | null };

type Fields = Readonly<Record<string, unknown>>;

const refMax = 128;
const taskIdMax = 64;
const countMax = 1_000_000_000;
const fieldsOf: Readonly<Record<SocketOp['op'], readonly string[]>> = {
	submit: ['op', 'ref', 'task', 'credit'],
	watch: ['op', 'ref', 'task_id', 'after', 'credit'],
	cancel: ['op', 'ref', 'task_id'],
	credit: ['op', 'ref', 'task_id', 'n'],
	ping: ['op', 'ref'],
};
const ops = Object.keys(fieldsOf) as SocketOp['op'][];

/** `json`: the parsed message. */
export function readOp(json: unknown): ReadOp {
	if (typeof json !== 'object' || json === null || Array.isArray(json)) return wrong({}, 'the message is not a JSON object');
	const fields = json as Fields;
	const op = ops.find((each) => each === fields['op']);
	if (op === undefined) return wrong(fields, `op is ${shown(fields['op'])}; known are ${ops.join(', ')}`);
	const unknown = Object.keys(fields).find((name) => !fieldsOf[op].includes(name));
	if (unknown !== undefined) return wrong(fields, `${shown(unknown)} is no field of ${op}; it has ${fieldsOf[op].join(', ')}`);
	const { ref, task_id: taskId, after, n, credit, task } = fields;
	if (ref !== undefined && !isText(ref, refMax)) return wrong(fields, `ref must be a text of at most ${refMax} characters`);
	if (credit !== undefined && !isCount(credit))
		return wrong(fields, `credit is ${shown(credit)}; it must be a whole number from 0 to ${countMax}`);
	const own = ref ?? null;
	if (op === 'ping') return { ok: true, value: { op, ref: own } };
	if (op === 'submit') {
		if (task === undefined) return wrong(fields, 'task is missing; it is what POST /v2/tasks takes as its body');
		return { ok: true, value: { op, ref: own, task, credit: credit ?? null } };
	}
	if (!isText(taskId, taskIdMax)) return wrong(fields, `task_id is ${shown(taskId)}; it must be the id of a task`);
	switch (op) {
		case 'cancel':
			return { ok: true, value: { op, ref: own, taskId } };
		case 'credit':
			if (!isCount(n) || n === 0) return wrong(fields, `n is ${shown(n)}; it must be a whole number from 1 to ${countMax}`);
			return { ok: true, value: { op, ref: own, taskId, n } };
		case 'watch':
			if (after !== undefined && !isCount(after) && !isEventId(after))
				return wrong(fields, `after is ${shown(after)}; it must be the seq of an event`);
			return { ok: true, value: { op, ref: own, taskId, after: String(after ?? 0), credit: credit ?? null } };
	}
}

/** Everything but what is logged: accepted, rejected, metrics, pong. */
export function socketMessage(
	event: string,
	about: { readonly ref?: string | null; readonly taskId?: string | null },
	data?: unknown,
): string {
	return JSON.stringify({ ref: about.ref ?? undefined, task_id: about.taskId ?? undefined, event, data });
}

/** What stands around the number of each logged event of a task: with a run it is a text. */
export interface EventFrame {
	readonly head: string;
	readonly tail: string;
}

export function eventFrame(ref: string | null, taskId: string, run: number | null): EventFrame {
	const head =
		ref === null
			? `{"task_id":${JSON.stringify(taskId)},"seq":`
			: `{"ref":${JSON.stringify(ref)},"task_id":${JSON.stringify(taskId)},"seq":`;
	return run === null ? { head, tail: ',"event":"' } : { head: `${head}"${run}.`, tail: '","event":"' };
}

/** A logged event; `json` is the data of its log. */
export function eventMessage({ head, tail }: EventFrame, seq: number, name: LoggedEventName, json: string): string {
	return `${head}${seq}${tail}${name}","data":${json}}`;
}

function wrong(fields: Fields, message: string): ReadOp {
	const { ref, task_id: taskId } = fields;
	return {
		ok: false,
		failure: failure('INVALID_PARAMS', message),
		ref: isText(ref, refMax) ? ref : null,
		taskId: isText(taskId, taskIdMax) ? taskId : null,
	};
}

function isText(value: unknown, lengthMax: number): value is string {
	return typeof value === 'string' && value.length > 0 && value.length <= lengthMax;
}

function isCount(value: unknown): value is number {
	return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= countMax;
}

function isEventId(value: unknown): value is string {
	return typeof value === 'string' && eventIdShape.test(value);
}

/** What a client sent, short: it may be long and strange. */
function shown(value: unknown): string {
	if (value === undefined) return 'missing';
	const text =
		typeof value === 'object' ? (Array.isArray(value) ? 'a list' : value === null ? 'null' : 'an object') : JSON.stringify(value);
	return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
