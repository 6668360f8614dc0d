/** Payload readers fed with what a broken or foreign peer may send: a valid value or a protocol error, nothing else, at once. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { engineKinds, failureCodes } from '../../src/actors/serving/failure.ts';
import { ScriptedBackend } from '../../src/engines/scripted/scripted-backend.ts';
import { FrameOutbox, FrameReader, ProtocolError } from '../../src/engines/wire/host-frames.ts';
import {
	checkPieces,
	readEnd,
	readFacts,
	readFailure,
	readInput,
	readLeaseKeys,
	readRequest,
	readTokens,
	readU32,
	readUsage,
	readVectors,
} from '../../src/engines/wire/host-payloads.ts';
import { finishReasons } from '../../src/engines/wire/host-protocol.ts';
import { hostRequest, raw, user } from './embedded-world.ts';
import { scriptedSettings } from './host-world.ts';

type Read = (bytes: Buffer, start: number, end: number) => unknown;

/** A reader, payloads that it must take, and what must hold of whatever it takes. */
interface Reading {
	readonly read: Read;
	readonly valid: readonly Buffer[];
	holds(value: never): void;
}

const usage = { tokensIn: 5, tokensCached: 2, tokensOut: 3, prefillMs: 1.5, decodeMs: 2.5 };

/** The payload that an outbox makes. */
function payload(pack: (outbox: FrameOutbox) => void): Buffer {
	const outbox = new FrameOutbox();
	outbox.begin(1, 1);
	pack(outbox);
	outbox.end();
	let bytes = Buffer.alloc(0);
	const reader = new FrameReader((_kind, _stream, whole, start, end) => {
		bytes = Buffer.from(whole.subarray(start, end));
	});
	outbox.drain((packed) => {
		reader.push(packed);
		return true;
	});
	return bytes;
}

function json(value: unknown): Buffer {
	return Buffer.from(JSON.stringify(value));
}

function isUsage(value: typeof usage): void {
	for (const count of [value.tokensIn, value.tokensCached, value.tokensOut]) assert.ok(Number.isInteger(count) && count >= 0);
	for (const ms of [value.prefillMs, value.decodeMs]) assert.ok(Number.isFinite(ms) && ms >= 0);
}

function isText(value: unknown): void {
	assert.equal(typeof value, 'string');
}

function isCount(value: unknown): void {
	assert.ok(Number.isInteger(value) && (value as number) >= 0, String(value));
}

function isInput(input: ReturnType<typeof readInput>): void {
	if (input.kind === 'prompt') isText(input.text);
	else if (input.kind === 'inputs') input.inputs.forEach(isText);
	else {
		assert.equal(input.kind, 'messages');
		for (const message of input.messages) [message.role, message.content].forEach(isText);
	}
}

const pieces = payload((outbox) => {
	outbox.u32(5);
	outbox.piece('one', 1, -1, Number.NaN);
	outbox.piece('日本', 2, 7, -0.25);
	outbox.piece('x', 1, 7, -0.25, null, '{"t":"x","id":7,"logprob":-0.25}');
	outbox.piece('y', 2, 7, -0.25, [6, 7], '{"t":"y","id":7,"logprob":-0.25}');
	outbox.piece('', 255, -1, Number.NaN);
});

const readings: Readonly<Record<string, Reading>> = {
	'a number': { read: readU32, valid: [payload((outbox) => outbox.u32(7))], holds: isCount },
	'a usage': { read: readUsage, valid: [payload((outbox) => outbox.usage(usage))], holds: isUsage },
	'an end': {
		read: readEnd,
		valid: [0, 1, 2, 16, 40].map((finish) =>
			payload((outbox) => {
				outbox.u8(finish);
				outbox.usage(usage);
			}),
		),
		holds(news: Extract<ReturnType<typeof readEnd>, { type: 'decode-ended' }>) {
			assert.ok(finishReasons.includes(news.finishReason));
			if (news.stoppedBy !== undefined) isCount(news.stoppedBy);
			isUsage(news.usage);
		},
	},
	vectors: {
		read: readVectors,
		valid: [0, 1, 3].map((count) =>
			payload((outbox) => {
				outbox.u32(count);
				outbox.u32(count === 0 ? 0 : 4);
				for (let index = 0; index < count; index += 1) outbox.bytes(new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer));
				outbox.usage(usage);
			}),
		),
		holds(news: Extract<ReturnType<typeof readVectors>, { type: 'embedded' }>) {
			assert.ok(news.vectors.every((vector) => vector.length > 0 && vector.length === news.vectors[0]?.length));
			isUsage(news.usage);
		},
	},
	pieces: {
		read(bytes, start, end) {
			const count = readU32(bytes, start, end);
			checkPieces(bytes, start + 4, end, count);
			return { bytes, at: start + 4, end, count };
		},
		valid: [pieces],
		holds({ bytes, at: first, end, count }: { bytes: Buffer; at: number; end: number; count: number }) {
			let at = first;
			assert.ok(count > 0);
			for (let index = 0; index < count; index += 1) {
				assert.ok((bytes[at + 2] as number) > 0);
				const flags = bytes[at + 3] as number;
				const ids = (flags & 2) === 0 ? 0 : 4 * (bytes[at + 2] as number);
				const head = 4 + ((flags & 1) === 0 ? 0 : 8);
				const tops = (flags & 16) === 0 ? 0 : 2 + bytes.readUInt16LE(at + head);
				at += head + tops + ids + bytes.readUInt16LE(at);
			}
			assert.equal(at, end);
		},
	},
	'a failure': {
		read: readFailure,
		valid: [
			json({ code: 'INTERNAL', message: 'a bug', retriable: false }),
			json({
				code: 'REPLICA_EXHAUSTED',
				message: 'full',
				retriable: true,
				retryAfterMs: 1_000,
				engine: 'llamacpp',
				poolId: 'p',
				policyLabel: 'x',
			}),
		],
		holds(value: ReturnType<typeof readFailure>) {
			assert.ok(failureCodes.includes(value.code));
			isText(value.message);
			assert.equal(typeof value.retriable, 'boolean');
			if (value.retryAfterMs !== undefined) isCount(value.retryAfterMs);
			if (value.engine !== undefined) assert.ok(engineKinds.includes(value.engine));
			if (value.poolId !== undefined) isText(value.poolId);
			if (value.policyLabel !== undefined) isText(value.policyLabel);
		},
	},
	tokens: {
		read: readTokens,
		valid: [json([]), json([{ id: 4, text: 'four' }])],
		holds(tokens: ReturnType<typeof readTokens>) {
			for (const token of tokens) {
				assert.equal(typeof token.id, 'number');
				isText(token.text);
			}
		},
	},
	'lease keys': { read: readLeaseKeys, valid: [json([]), json(['1.1', '1.2'])], holds: (keys: readonly string[]) => keys.forEach(isText) },
	'the facts of a host': {
		read: readFacts,
		valid: [json(new ScriptedBackend(scriptedSettings(), () => {}).facts)],
		holds(facts: ReturnType<typeof readFacts>) {
			isCount(facts.slots);
			isCount(facts.ctx);
			[facts.engineVersion, facts.modelName, ...facts.features, ...facts.workloads].forEach(isText);
			if (facts.chatTemplate !== null) [facts.chatTemplate.baseBytes, facts.chatTemplate.perMessageBytes].forEach(isCount);
		},
	},
	'a request': {
		read: readRequest,
		valid: [json(hostRequest(raw('x'), { stop: ['a', 'b'] })), json(hostRequest(user('x')))],
		holds(request: ReturnType<typeof readRequest>) {
			isText(request.leaseKey);
			isInput(request.input);
			isCount(request.maxTokens);
			isCount(request.ctx);
			assert.equal(typeof request.seed, 'number');
			request.sampling.stop.forEach(isText);
		},
	},
	'a prompt': {
		read: readInput,
		valid: [json(raw('x')), json(user('x')), json({ kind: 'inputs', inputs: ['a', 'b'], query: null })],
		holds: isInput,
	},
};

const anyValue: fc.Arbitrary<unknown> = fc.jsonValue({ maxDepth: 2 });

/** What may become of bytes on a bad day. */
function mutated(valid: readonly Buffer[]): fc.Arbitrary<Buffer> {
	const byte = fc.nat({ max: 255 });
	return fc
		.tuple(fc.constantFrom(...valid), fc.array(fc.tuple(fc.constantFrom('set', 'cut', 'add', 'drop'), fc.nat(), byte), { maxLength: 4 }))
		.map(([bytes, changes]) => {
			let changed = Buffer.from(bytes);
			for (const [how, place, value] of changes) {
				const at = place % (changed.length + 1);
				if (how === 'set' && at < changed.length) changed[at] = value;
				if (how === 'cut') changed = changed.subarray(0, at);
				if (how === 'add') changed = Buffer.concat([changed.subarray(0, at), Buffer.of(value), changed.subarray(at)]);
				if (how === 'drop') changed = Buffer.concat([changed.subarray(0, at), changed.subarray(at + 1)]);
			}
			return changed;
		});
}

/** JSON of the right form with any one field, at any depth, replaced by anything. */
function misshapen(valid: readonly Buffer[]): fc.Arbitrary<Buffer> {
	return fc.tuple(fc.constantFrom(...valid), fc.nat(), anyValue, fc.boolean()).map(([bytes, place, value, absent]) => {
		const places: { readonly holder: Record<string, unknown>; readonly key: string }[] = [];
		const visit = (holder: Record<string, unknown>): void => {
			for (const [key, each] of Object.entries(holder)) {
				places.push({ holder, key });
				if (typeof each === 'object' && each !== null) visit(each as Record<string, unknown>);
			}
		};
		const whole = { root: JSON.parse(bytes.toString()) as unknown };
		visit(whole);
		const { holder, key } = places[place % places.length] as { holder: Record<string, unknown>; key: string };
		if (absent && holder !== whole) delete holder[key];
		else holder[key] = value;
		return json(whole.root);
	});
}

function isJson(bytes: Buffer): boolean {
	return bytes[0] === 0x5b || bytes[0] === 0x7b;
}

/** Reads out of the middle of other bytes: whoever reads on past the end, reads those. */
function readAmong(read: Read, bytes: Buffer, around: Buffer): { readonly value: unknown } | null {
	const all = Buffer.concat([around, bytes, around]);
	try {
		return { value: read(all, around.length, around.length + bytes.length) };
	} catch (error) {
		assert.ok(error instanceof ProtocolError, String(error));
		return null;
	}
}

const around = fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes));

for (const [what, { read, valid, holds }] of Object.entries(readings)) {
	describe(`payload: ${what}`, () => {
		it('is taken as it was packed', () => {
			for (const bytes of valid) {
				const taken = readAmong(read, bytes, Buffer.from('around'));
				assert.ok(taken !== null);
				holds(taken.value as never);
				if (isJson(bytes)) assert.deepEqual(taken.value, JSON.parse(bytes.toString()));
			}
		});

		it('of anything is a value of its kind or a protocol error', () => {
			const garbage = fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes));
			const candidates = [garbage, mutated(valid)];
			if (valid.every(isJson)) candidates.push(misshapen(valid), anyValue.map(json));
			fc.assert(
				fc.property(fc.oneof(...candidates), around, (bytes, others) => {
					const taken = readAmong(read, bytes, others);
					if (taken !== null) holds(taken.value as never);
				}),
				{ numRuns: 400 },
			);
		});
	});
}

describe('payloads that lie', () => {
	it('about a number of vectors or of pieces are refused at once, without memory for what they promise', () => {
		const lie = Buffer.alloc(60);
		lie.writeUInt32LE(0xffff_ffff, 0);
		assert.throws(() => readVectors(lie, 0, lie.length), ProtocolError);
		lie.writeUInt32LE(0xffff_ffff, 4);
		assert.throws(() => readVectors(lie, 0, lie.length), ProtocolError);
		assert.throws(() => checkPieces(lie, 8, lie.length, 0xffff_ffff), ProtocolError);
		assert.throws(() => checkPieces(lie, 8, 8, 0), ProtocolError);
	});

	it('nested a hundred thousand deep are no request, and break nothing', () => {
		for (const [open, close] of [
			['[', ']'],
			['{"a":', '}'],
		] as const) {
			const deep = Buffer.from(`${open.repeat(100_000)}1${close.repeat(100_000)}`);
			for (const read of [readRequest, readInput, readFailure, readFacts, readTokens, readLeaseKeys]) {
				assert.throws(() => read(deep, 0, deep.length), ProtocolError);
			}
		}
	});
});
