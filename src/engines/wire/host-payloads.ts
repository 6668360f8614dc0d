/**
 * Payloads of frames, read and judged: numbers, JSON of known shape, vectors, piece records. Whatever is not as
 * `host-protocol.ts` says is a `ProtocolError`. Pure; on whichever side reads. `checkPieces` runs per token.
 */
import { type DecodeNews, type GenerationUsage, recordTextAt } from '../../actors/serving/decode.ts';
import { engineKinds, type Failure, failureCodes } from '../../actors/serving/failure.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';
import { ProtocolError, usageBytes } from './host-frames.ts';
import { finishByStop, finishReasons, type HostFacts, type HostRequest } from './host-protocol.ts';

type Fields = Readonly<Record<string, unknown>>;

export function readU32(bytes: Buffer, at: number, end: number): number {
	if (at + 4 > end) throw new ProtocolError('payload ends inside a number');
	return bytes.readUInt32LE(at);
}

export function readUsage(bytes: Buffer, at: number, end: number): GenerationUsage {
	if (at + usageBytes > end) throw new ProtocolError('payload ends inside the usage');
	return {
		tokensIn: bytes.readUInt32LE(at),
		tokensCached: bytes.readUInt32LE(at + 4),
		tokensOut: bytes.readUInt32LE(at + 8),
		prefillMs: milliseconds(bytes.readDoubleLE(at + 12)),
		decodeMs: milliseconds(bytes.readDoubleLE(at + 20)),
	};
}

export function readEnd(bytes: Buffer, start: number, end: number): DecodeNews {
	if (start >= end) throw new ProtocolError('payload ends before the finish reason');
	const finish = bytes[start] as number;
	if (finish >= finishByStop)
		return { type: 'decode-ended', finishReason: 'stop', stoppedBy: finish - finishByStop, usage: readUsage(bytes, start + 1, end) };
	const finishReason = finishReasons[finish];
	if (finishReason === undefined) throw new ProtocolError(`finish reason ${finish}; known are 0 to ${finishReasons.length - 1}`);
	return { type: 'decode-ended', finishReason, usage: readUsage(bytes, start + 1, end) };
}

export function readVectors(bytes: Buffer, start: number, end: number): DecodeNews {
	const count = readU32(bytes, start, end);
	const dims = readU32(bytes, start + 4, end);
	// Vectors of no length would cost nothing on the wire and an object each here.
	if (count > 0 && dims === 0) throw new ProtocolError('vectors without dimensions');
	if (start + 8 + count * dims * 4 + usageBytes > end) throw new ProtocolError('vectors are longer than their frame');
	const vectors: Float32Array[] = [];
	let at = start + 8;
	for (let index = 0; index < count; index += 1) {
		const vector = new Float32Array(dims);
		for (let dim = 0; dim < dims; dim += 1, at += 4) vector[dim] = bytes.readFloatLE(at);
		vectors.push(vector);
	}
	return { type: 'embedded', vectors, usage: readUsage(bytes, at, end) };
}

export function readFailure(bytes: Buffer, start: number, end: number): Failure {
	const json = readJson(bytes, start, end);
	if (!isFailure(json)) throw shapeless('a failure');
	return json;
}

export function readTokens(bytes: Buffer, start: number, end: number): readonly { readonly id: number; readonly text: string }[] {
	const json = readJson(bytes, start, end);
	if (!Array.isArray(json)) throw shapeless('a list of tokens');
	return json.map((token: unknown) => {
		if (!isFields(token) || typeof token['id'] !== 'number' || typeof token['text'] !== 'string') throw shapeless('a token');
		return { id: token['id'], text: token['text'] };
	});
}

export function readLeaseKeys(bytes: Buffer, start: number, end: number): readonly string[] {
	const json = readJson(bytes, start, end);
	if (!isTexts(json)) throw shapeless('a list of lease keys');
	return json;
}

export function readFacts(bytes: Buffer, start: number, end: number): HostFacts {
	const json = readJson(bytes, start, end);
	if (!isFacts(json)) throw shapeless('the facts of a host');
	return json;
}

export function readRequest(bytes: Buffer, start: number, end: number): HostRequest {
	const json = readJson(bytes, start, end);
	if (!isRequest(json)) throw shapeless('a request');
	return json;
}

export function readInput(bytes: Buffer, start: number, end: number): PromptInput {
	const json = readJson(bytes, start, end);
	if (!isInput(json)) throw shapeless('a prompt');
	return json;
}

/** Checks that `count` records, one at least, fill the range exactly, and that each has tokens. */
export function checkPieces(bytes: Buffer, start: number, end: number, count: number): void {
	if (count === 0) throw new ProtocolError('pieces without a record');
	let at = start;
	for (let index = 0; index < count; index += 1) {
		if (at + 4 > end) throw new ProtocolError('pieces end inside a record');
		if (bytes[at + 2] === 0) throw new ProtocolError('a piece without tokens');
		const textBytes = (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
		at += recordTextAt(bytes, at) + textBytes;
	}
	if (at !== end) throw new ProtocolError('pieces do not fill their frame');
}

function readJson(bytes: Buffer, start: number, end: number): unknown {
	try {
		return JSON.parse(bytes.toString('utf8', start, end));
	} catch {
		throw new ProtocolError('payload is not JSON');
	}
}

function shapeless(what: string): ProtocolError {
	return new ProtocolError(`payload is not ${what}`);
}

function isInput(json: unknown): json is PromptInput {
	if (!isFields(json)) return false;
	switch (json['kind']) {
		case 'prompt':
			return typeof json['text'] === 'string';
		case 'messages':
			return (
				Array.isArray(json['messages']) &&
				json['messages'].every(
					(message: unknown) => isFields(message) && typeof message['role'] === 'string' && typeof message['content'] === 'string',
				)
			);
		case 'inputs':
			return isTexts(json['inputs']);
		default:
			return false;
	}
}

function isFailure(json: unknown): json is Failure {
	return (
		isFields(json) &&
		typeof json['message'] === 'string' &&
		typeof json['retriable'] === 'boolean' &&
		failureCodes.some((code) => code === json['code']) &&
		(json['retryAfterMs'] === undefined || isCount(json['retryAfterMs'])) &&
		(json['engine'] === undefined || engineKinds.some((engine) => engine === json['engine'])) &&
		(json['poolId'] === undefined || typeof json['poolId'] === 'string') &&
		(json['policyLabel'] === undefined || typeof json['policyLabel'] === 'string')
	);
}

/** As far as somebody computes with it: the rest is words. */
function isFacts(json: unknown): json is HostFacts {
	return (
		isFields(json) &&
		typeof json['engineVersion'] === 'string' &&
		typeof json['modelName'] === 'string' &&
		isCount(json['slots']) &&
		isCount(json['ctx']) &&
		isTexts(json['workloads']) &&
		isTexts(json['features']) &&
		isTemplate(json['chatTemplate']) &&
		(json['modelDigest'] === null || typeof json['modelDigest'] === 'string')
	);
}

/** How many bytes a chat template adds, or that there is none. */
function isTemplate(json: unknown): boolean {
	return json === null || (isFields(json) && isCount(json['baseBytes']) && isCount(json['perMessageBytes']));
}

/** As far as a wrong value would be met as a bug; what is wrong with a value of the right type, the backend says. */
function isRequest(json: unknown): json is HostRequest {
	return (
		isFields(json) &&
		typeof json['leaseKey'] === 'string' &&
		typeof json['workload'] === 'string' &&
		isInput(json['input']) &&
		isCount(json['maxTokens']) &&
		isCount(json['ctx']) &&
		typeof json['seed'] === 'number' &&
		isFields(json['sampling']) &&
		isTexts(json['sampling']['stop']) &&
		isResume(json['resume'])
	);
}

function isResume(json: unknown): boolean {
	return json === null || (isFields(json) && Array.isArray(json['ids']) && json['ids'].every(isCount));
}

function isFields(json: unknown): json is Fields {
	return typeof json === 'object' && json !== null && !Array.isArray(json);
}

function isTexts(json: unknown): json is readonly string[] {
	return Array.isArray(json) && json.every((each) => typeof each === 'string');
}

function isCount(json: unknown): json is number {
	return typeof json === 'number' && Number.isInteger(json) && json >= 0;
}

function milliseconds(value: number): number {
	if (!(value >= 0 && value < Number.POSITIVE_INFINITY)) throw new ProtocolError('a usage without a time');
	return value;
}
