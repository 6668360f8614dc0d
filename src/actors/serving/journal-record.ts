/**
 * A task as bytes on disk, from which a front makes it anew: one that is to run, with its whole request, and one that has ended, with its
 * outcome and its events. Times are milliseconds since 1970 there, for no other clock outlives a process. Pure.
 * ```
 *   ┌ u32 bytes of the head │ head, JSON │ u32 bytes of the body │ body, JSON │ events, as SSE frames │ vectors, f32 ┐
 * ```
 */
import type { HeldOfSession } from './session-messages.ts';
import type { TaskRecord } from './task-record.ts';
import type { TaskRequest } from './task-request.ts';
import { type TaskFacts, withoutTexts } from './task-snapshot.ts';

/** What the journal itself reads. */
export interface RecordHead {
	/** The front that it lives on. */
	readonly home: string;
	readonly admittedAt: number;
	/** Tells apart those of one front that were admitted in the same instant. */
	readonly ordinal: number;
	/** Null: it is to run. */
	readonly endedAt: number | null;
	/** Of an ended one. */
	readonly run: number;
	/** Of an ended one: its events are gone. */
	readonly forgotten?: true;
}

/** Between `Host.now` and the time of day. */
export interface WallClock {
	wallOf(at: number): number;
	hostOf(wall: number): number;
}

/** What an API keeps with its task stays in memory: its clients may delete it, and it must not come back. */
type KeptRequest = Omit<TaskRequest, 'note'>;

interface LiveBody {
	readonly request: KeptRequest;
	readonly keys: readonly string[];
	readonly watched: boolean;
	readonly held: HeldOfSession | null;
}

interface EndedBody {
	readonly request: KeptRequest;
	readonly keys: readonly string[];
	readonly facts: Omit<TaskFacts, 'vectors'>;
	readonly eventBytes: number;
	/** Numbers in each. */
	readonly vectors: readonly number[] | null;
}

export interface LiveTask {
	readonly request: TaskRequest;
	readonly admittedAt: number;
	readonly keys: readonly string[];
	readonly watched: boolean;
	readonly held: HeldOfSession | null;
}

export interface EndedTask {
	readonly request: TaskRequest;
	readonly admittedAt: number;
	readonly run: number;
	readonly keys: readonly string[];
	readonly facts: TaskFacts;
	readonly events: Buffer;
}

const sizeBytes = 4;
const sliceBytes = 1 << 20;
const floatBytes = 4;

export function liveRecord(task: TaskRecord, home: string, keys: readonly string[], clock: WallClock): Uint8Array {
	const { note: _gone, ...request } = task.request;
	const head = { home, admittedAt: clock.wallOf(task.admittedAt), ordinal: task.ordinal, endedAt: null, run: 1 } satisfies RecordHead;
	const body = { request, keys, watched: task.watched, held: heldAt(task.held, (at) => clock.wallOf(at)) } satisfies LiveBody;
	return put(head, body, []);
}

/** `events`: all of its log, with its end. `outcome`: what will be said of it. */
export function endedRecord(
	task: TaskRecord,
	outcome: TaskFacts,
	lastFrame: Uint8Array,
	home: string,
	keys: readonly string[],
	clock: WallClock,
): Uint8Array {
	const { note: _gone, ...request } = withoutTexts(task.request);
	const wall = (at: number | null): number | null => (at === null ? null : clock.wallOf(at));
	const { vectors, ...facts } = outcome;
	const endedAt = wall(facts.endedAt) ?? 0;
	const head = {
		home,
		admittedAt: clock.wallOf(task.admittedAt),
		ordinal: task.ordinal,
		endedAt,
		run: task.log.run ?? 1,
	} satisfies RecordHead;
	const events = [...framesOf(task), lastFrame];
	const body = {
		request,
		keys,
		facts: { ...facts, startedAt: wall(facts.startedAt), firstTokenAt: wall(facts.firstTokenAt), endedAt },
		eventBytes: events.reduce((sum, part) => sum + part.length, 0),
		vectors: vectors?.map(({ length }) => length) ?? null,
	} satisfies EndedBody;
	return put(head, body, [
		...events,
		...(vectors ?? []).map((vector) => new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength)),
	]);
}

export function headOf(record: Uint8Array): RecordHead {
	return jsonAt(bufferOf(record), 0).value as RecordHead;
}

export function readLive(record: Uint8Array, clock: WallClock): LiveTask {
	const bytes = bufferOf(record);
	const { value: head, end } = jsonAt(bytes, 0);
	const { request, keys, watched, held } = jsonAt(bytes, end).value as LiveBody;
	return {
		request,
		admittedAt: clock.hostOf((head as RecordHead).admittedAt),
		keys,
		watched,
		held: heldAt(held, (wall) => clock.hostOf(wall)),
	};
}

export function readEnded(record: Uint8Array, clock: WallClock): EndedTask {
	const bytes = bufferOf(record);
	const { value: head, end } = jsonAt(bytes, 0);
	const { admittedAt, run } = head as RecordHead;
	const { value, end: eventsAt } = jsonAt(bytes, end);
	const { request, keys, facts, eventBytes, vectors } = value as EndedBody;
	const host = (wall: number | null): number | null => (wall === null ? null : clock.hostOf(wall));
	const vectorsAt = eventsAt + eventBytes;
	return {
		request,
		admittedAt: clock.hostOf(admittedAt),
		run,
		keys,
		facts: {
			...facts,
			startedAt: host(facts.startedAt),
			firstTokenAt: host(facts.firstTokenAt),
			endedAt: host(facts.endedAt),
			vectors: vectors === null ? null : vectorsIn(bytes, vectorsAt, vectors),
		},
		events: bytes.subarray(eventsAt, vectorsAt),
	};
}

/** An ended one without its events: who it was, and the keys that it was known by. */
export function forgottenRecord(record: Uint8Array): Uint8Array {
	const bytes = bufferOf(record);
	const { value: head, end } = jsonAt(bytes, 0);
	const body = jsonAt(bytes, end).value as EndedBody;
	return put({ ...(head as RecordHead), forgotten: true }, { ...body, eventBytes: 0, vectors: null } satisfies EndedBody, []);
}

/** Of no control thread that there is: what it had reserved is reserved again by the one that comes. */
function heldAt(held: HeldOfSession | null, timeOf: (time: number) => number): HeldOfSession | null {
	return held === null ? null : { ...held, epoch: 0, record: { ...held.record, usedAt: timeOf(held.record.usedAt) } };
}

/** The frames of a log, each slice copied once, into the record. */
function framesOf({ log }: TaskRecord): Uint8Array[] {
	const parts: Uint8Array[] = [];
	for (let slice = log.slice(0, sliceBytes); slice !== null; slice = log.slice(slice.lastSeq, sliceBytes)) {
		parts.push(slice.bytes.subarray(slice.start, slice.end));
	}
	return parts;
}

/** In a buffer of its own: a view of a shared one would cross to another thread whole. */
function put(head: RecordHead, body: LiveBody | EndedBody, parts: readonly Uint8Array[]): Uint8Array {
	const headBytes = Buffer.from(JSON.stringify(head));
	const bodyBytes = Buffer.from(JSON.stringify(body));
	const rest = parts.reduce((sum, part) => sum + part.length, 0);
	const record = Buffer.allocUnsafeSlow(2 * sizeBytes + headBytes.length + bodyBytes.length + rest);
	let at = 0;
	for (const json of [headBytes, bodyBytes]) {
		at = record.writeUInt32LE(json.length, at);
		at += json.copy(record, at);
	}
	for (const part of parts) {
		record.set(part, at);
		at += part.length;
	}
	return new Uint8Array(record.buffer);
}

function jsonAt(bytes: Buffer, at: number): { readonly value: unknown; readonly end: number } {
	const from = at + sizeBytes;
	const end = from + bytes.readUInt32LE(at);
	return { value: JSON.parse(bytes.toString('utf8', from, end)) as unknown, end };
}

/** Copied: they lie anywhere. */
function vectorsIn(bytes: Buffer, from: number, lengths: readonly number[]): Float32Array[] {
	let at = from;
	return lengths.map((length) => {
		const vector = new Float32Array(length);
		bytes.copy(new Uint8Array(vector.buffer), 0, at, at + length * floatBytes);
		at += length * floatBytes;
		return vector;
	});
}

function bufferOf(record: Uint8Array): Buffer {
	return Buffer.from(record.buffer, record.byteOffset, record.byteLength);
}
