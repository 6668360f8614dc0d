/** Both ends of a connection to an engine host, over a real socket, against peers that break every rule. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { leaseKey } from '../../src/actors/serving/engine-life.ts';
import type { ReplicaFacts } from '../../src/actors/serving/messages.ts';
import { formatAddress, type HostAddress } from '../../src/engines/wire/host-address.ts';
import { HostConnection } from '../../src/engines/wire/host-connection.ts';
import { HostDecodePort } from '../../src/engines/wire/host-decode-port.ts';
import { FrameOutbox, FrameReader } from '../../src/engines/wire/host-frames.ts';
import { fromHost, hostProtocolVersion, toHost } from '../../src/engines/wire/host-protocol.ts';
import { begin, count, generate, generateRequest, raw, tokenize } from './decode-world.ts';
import { innerScriptedHost, privateAddress, scriptedFault, welcomed } from './host-world.ts';

/** The event loop goes round once. */
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
const closers: (() => unknown)[] = [];
afterEach(async () => {
	for (const close of closers.splice(0).reverse()) await close();
});

async function host(...args: Parameters<typeof innerScriptedHost>): ReturnType<typeof innerScriptedHost> {
	const made = await innerScriptedHost(...args);
	closers.push(() => made.close());
	return made;
}

function port(): HostDecodePort {
	const made = new HostDecodePort((words) => assert.fail(words), { answerMs: 500 });
	closers.push(() => made.close());
	return made;
}

function frame(kind: number, stream: number, payload: Uint8Array | string = ''): Buffer {
	const outbox = new FrameOutbox();
	outbox.begin(kind, stream);
	outbox.bytes(Buffer.from(payload as string));
	outbox.end();
	let bytes = Buffer.alloc(0);
	outbox.drain((all) => {
		bytes = Buffer.from(all);
		return false;
	});
	return bytes;
}

function hello({ secret }: HostAddress): Buffer {
	const version = Buffer.alloc(4);
	version.writeUInt32LE(hostProtocolVersion);
	return frame(toHost.hello, 0, Buffer.concat([secret, version]));
}

/** Resolves when it is closed, however. */
function gone(socket: Socket): Promise<void> {
	return new Promise((resolve) => {
		if (socket.closed) resolve();
		else socket.once('close', () => resolve());
	});
}

/** A raw connection; resolves with what came when the host has closed it. */
async function closedBy(address: HostAddress, bytes: readonly Uint8Array[]): Promise<Buffer> {
	const socket = connect(address.socketPath);
	const parts: Buffer[] = [];
	socket.on('data', (part: Buffer) => parts.push(part));
	socket.on('error', () => undefined);
	await once(socket, 'connect');
	for (const each of bytes) socket.write(each);
	await gone(socket);
	return Buffer.concat(parts);
}

describe('an engine host', () => {
	it('cuts whoever does not show the secret first, in time, and says nothing to them', async () => {
		const made = await host({}, { helloMs: 200 });
		const wrongSecret = hello({ ...made.address, secret: Buffer.alloc(32, 1) });
		const attempts: readonly (readonly Uint8Array[])[] = [
			[],
			[frame(toHost.ping, 1)],
			[wrongSecret],
			[hello(made.address).subarray(0, 20)],
			[Buffer.from('GET / HTTP/1.1\r\n\r\n')],
			[frame(toHost.hello, 0, 'short')],
			[Buffer.alloc(100_000)],
		];
		for (const attempt of attempts) assert.equal((await closedBy(made.address, attempt)).length, 0);
		assert.equal(made.server.peers, 0);
		assert.ok(made.trouble.length >= attempts.length);
		assert.ok(made.trouble.every((line) => !line.includes(made.address.secret.toString('hex'))));
		assert.equal((await welcomed(made.address)).modelName, 'scripted:test');
	});

	it('cuts a connection that breaks the protocol, cancels its streams, and serves the others', async () => {
		const made = await host({ decodeTokensPerS: 200, tokens: 100_000, ctx: 1_000_000 });
		const good = port();
		const steady = begin(good, made.replica, { maxTokens: 100_000 });
		await steady.hasPieces(1);
		const request = JSON.stringify({ leaseKey: '1.1' });
		const bad: readonly Uint8Array[] = [
			frame(99, 1),
			frame(toHost.start, 1, 'not json'),
			frame(toHost.start, 1, request),
			frame(toHost.count, 1, '{"kind":"what"}'),
			Buffer.from([255, 255, 255, 255, 1, 1, 1, 1, 1]),
			Buffer.from([1, 0, 0, 0, 1]),
		];
		for (const bytes of bad) {
			const answer = await closedBy(made.address, [hello(made.address), bytes]);
			assert.ok(answer.length > 0);
		}
		assert.equal(made.server.peers, 1);
		const pieces = steady.pieces.length;
		await steady.hasPieces(pieces + 5);
		steady.generation?.cancel();
		assert.equal((await steady.hasEnded()).type, 'decode-cancelled');
	});

	it('survives any bytes after a good hello', async () => {
		const made = await host();
		await fc.assert(
			fc.asyncProperty(
				fc.array(
					fc.oneof(
						fc.uint8Array({ minLength: 1, maxLength: 80 }),
						fc
							.tuple(fc.constantFrom(...Object.values(toHost)), fc.nat(5), fc.oneof(fc.json(), fc.string()))
							.map(([kind, stream, payload]) => frame(kind, stream, payload)),
					),
					{ maxLength: 6 },
				),
				async (chunks) => {
					const socket = connect(made.address.socketPath);
					socket.on('error', () => undefined);
					socket.resume();
					await once(socket, 'connect');
					socket.write(hello(made.address));
					for (const chunk of chunks) socket.write(chunk);
					socket.end();
					await gone(socket);
				},
			),
			{ numRuns: 100 },
		);
		assert.equal((await generate(port(), made.replica, { maxTokens: 3 })).tokens, 3);
	});

	it('cuts a reader that does not read, at its bound, and nobody else notices', async () => {
		const made = await host({ tokens: 3_000_000, ctx: 4_000_000, slots: 4 }, { unsentBytesMax: 1024 * 1024 });
		const socket = connect(made.address.socketPath);
		socket.on('error', () => undefined);
		await once(socket, 'connect');
		socket.pause();
		socket.write(hello(made.address));
		const { lease: _lease, ...rest } = generateRequest({ maxTokens: 3_000_000 });
		socket.write(frame(toHost.start, 1, JSON.stringify({ ...rest, leaseKey: '9.9' })));
		const other = await generate(port(), made.replica, { maxTokens: 1_000 });
		assert.equal(other.tokens, 1_000);
		while (made.server.peers > 1) await turn();
		assert.ok(made.trouble.some((line) => /bytes unread/.test(line)));
		socket.destroy();
	});

	it('ends the streams of a connection that goes, and an audit shows them until then', async () => {
		const made = await host({ decodeTokensPerS: 100, tokens: 10_000, ctx: 100_000 });
		const leaving = new HostDecodePort((words) => assert.fail(words));
		const task = begin(leaving, made.replica, { maxTokens: 10_000 });
		await task.hasPieces(1);
		assert.equal(made.server.busyLeases().length, 1);
		leaving.close();
		assert.deepEqual([task.failure?.code, task.afterEnd.length], ['WORKER_RESET', 0]);
		while (made.server.busyLeases().length > 0) await turn();
	});

	it('ends what runs on a revoked lease, and begins nothing on it later', async () => {
		const made = await host({ decodeTokensPerS: 100, tokens: 10_000, ctx: 100_000 });
		const front = port();
		const { lease } = generateRequest();
		const task = begin(front, made.replica, { lease, maxTokens: 10_000 });
		const other = begin(front, made.replica, { maxTokens: 10_000 });
		await task.hasPieces(1);
		await other.hasPieces(1);
		const control = new HostConnection(made.address, { onClosed() {}, onBug: (words) => assert.fail(words) });
		closers.push(() => control.close('done'));
		const audit = (revoked: readonly string[]): Promise<readonly string[]> => new Promise((resolve) => control.audit(revoked, resolve));
		assert.equal((await audit([leaseKey(lease)])).length, 1);
		assert.equal((await task.hasEnded()).type, 'decode-cancelled');
		const late = begin(front, made.replica, { lease });
		await late.hasEnded();
		assert.equal(late.failure?.code, 'WORKER_RESET');
		assert.equal((await audit([])).length, 1);
		other.generation?.cancel();
		await other.hasEnded();
	});
});

/** A host that says what a test wants it to say. */
async function falseHost(speak: (socket: Socket) => void): Promise<ReplicaFacts> {
	const { address, remove } = privateAddress();
	const sockets = new Set<Socket>();
	const server: Server = createServer((socket) => {
		sockets.add(socket);
		socket.on('error', () => undefined);
		speak(socket);
	});
	await new Promise<void>((resolve) => server.listen(address.socketPath, resolve));
	closers.push(async () => {
		for (const socket of sockets) socket.destroy();
		await new Promise((resolve) => server.close(resolve));
		remove();
	});
	const real = await host();
	return { ...real.replica, address: formatAddress(address) };
}

/** Answers hello with a welcome, then each start by `answer`. */
function welcoming(answer: (socket: Socket, stream: number) => void): (socket: Socket) => void {
	return (socket) => {
		const reader = new FrameReader((kind, stream) => {
			if (kind === toHost.hello) {
				const facts = {
					engineVersion: 'x',
					modelName: 'x',
					modelDigest: null,
					slots: 1,
					ctx: 10,
					workloads: ['completion'],
					samplerProfileVersion: 'x',
					chatTemplate: null,
					device: 'x',
					features: [],
				};
				socket.write(frame(fromHost.welcome, 0, JSON.stringify(facts)));
			} else answer(socket, stream);
		});
		socket.on('data', (bytes: Buffer) => reader.push(bytes));
	};
}

describe('a connection to an engine host', () => {
	it('fails each of its streams once when the host breaks the protocol, and the next gets a new connection', async () => {
		const lies: readonly ((stream: number) => Uint8Array)[] = [
			() => frame(200, 1),
			(stream) => frame(fromHost.pieces, stream, Buffer.from([9, 0, 0, 0, 5, 0, 1, 0])),
			(stream) => frame(fromHost.ended, stream, Buffer.from([7])),
			(stream) => frame(fromHost.failed, stream, '{}'),
			(stream) => frame(fromHost.ended, stream + 17, Buffer.alloc(29)),
			() => Buffer.from([255, 255, 255, 255]),
			(stream) => frame(fromHost.pong, stream),
		];
		let next = 0;
		const replica = await falseHost(welcoming((socket, stream) => socket.write(lies[next++ % lies.length]?.(stream) ?? Buffer.alloc(0))));
		const decode = port();
		for (const _lie of lies) {
			const task = await generate(decode, replica);
			assert.deepEqual([task.failure?.code, task.pieces.length, task.afterEnd.length], ['WORKER_RESET', 0, 0]);
		}
		assert.deepEqual([decode.inFlight, decode.connections], [0, 0]);
	});

	it('says that a request never began when no host was there, or none that welcomed', async () => {
		const decode = port();
		const { address, remove } = privateAddress();
		closers.push(remove);
		const nobody: ReplicaFacts = { ...(await host()).replica, address: formatAddress(address) };
		const lost = await generate(decode, nobody);
		assert.ok(lost.end?.type === 'decode-failed' && lost.end.began === 'no' && lost.end.slot === 'unknown');
		const mute = await falseHost((socket) => void setTimeout(() => socket.destroy(), 20));
		const unheard = await generate(decode, mute);
		assert.ok(unheard.end?.type === 'decode-failed' && unheard.end.began === 'no');
		const begun = await generate(decode, await falseHost(welcoming((socket) => socket.destroy())));
		assert.ok(begun.end?.type === 'decode-failed' && begun.end.began === 'maybe');
	});

	it('answers questions in time when the host does not, once, and takes the late answer quietly', async () => {
		const late: { socket: Socket; stream: number }[] = [];
		const replica = await falseHost(welcoming((socket, stream) => void late.push({ socket, stream })));
		const decode = port();
		const answer = await count(decode, replica, raw('x'));
		assert.ok(answer.type === 'count-failed');
		const words = await tokenize(decode, replica, 'x');
		assert.ok(words.type === 'tokenize-failed');
		for (const { socket, stream } of late) socket.write(frame(fromHost.counted, stream, Buffer.from([1, 0, 0, 0])));
		while (decode.inFlight > 0) await turn();
		assert.equal(decode.connections, 1);
	});

	it('closes with words that name no secret', async () => {
		const made = await host();
		const why = await new Promise<string>((resolve) => {
			const wrong: HostAddress = { ...made.address, secret: Buffer.alloc(32, 3) };
			new HostConnection(wrong, { onClosed: resolve, onBug: assert.fail });
		});
		assert.ok(!why.includes(made.address.secret.toString('hex')));
	});
});

describe('a scripted engine', () => {
	it('has each fault where and when it is asked to', async () => {
		const made = await host({
			decodeTokensPerS: 500,
			tokens: 40,
			faults: [
				scriptedFault('stall', { promptContains: 'stall', afterTokens: 3 }),
				scriptedFault('error', { promptContains: 'error', afterTokens: 5 }),
				scriptedFault('ignore-cancel', { promptContains: 'ignore' }),
				scriptedFault('flood', { promptContains: 'flood', afterTokens: 2 }),
				scriptedFault('error', { nth: 6, afterTokens: 0 }),
			],
		});
		const decode = port();
		const stalled = begin(decode, made.replica, { prompt: 'stall here' });
		await stalled.hasPieces(3);
		const failed = await generate(decode, made.replica, { prompt: 'an error' });
		assert.deepEqual([failed.tokens, failed.failure?.code], [5, 'WORKER_RESET']);
		const ignoring = begin(decode, made.replica, { prompt: 'ignore me', maxTokens: 20 });
		await ignoring.hasPieces(1);
		ignoring.generation?.cancel();
		assert.equal((await ignoring.hasEnded()).type, 'decode-ended');
		assert.equal(ignoring.tokens, 20);
		const flood = await generate(decode, made.replica, { prompt: 'flood', maxTokens: 40 });
		assert.equal(flood.tokens, 40);
		assert.equal((await generate(decode, made.replica, { prompt: 'fine', maxTokens: 4 })).tokens, 4);
		const sixth = await generate(decode, made.replica, { prompt: 'the sixth', maxTokens: 4 });
		assert.deepEqual([sixth.tokens, sixth.failure?.code], [0, 'WORKER_RESET']);
		assert.equal(stalled.tokens, 3);
		stalled.generation?.cancel();
		assert.equal((await stalled.hasEnded()).type, 'decode-cancelled');
	});
});
