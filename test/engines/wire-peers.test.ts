/** The host's end of the wire over a real socket, against clients that break every rule, and backends that do. */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { leaseKey } from '../../src/actors/serving/engine-life.ts';
import { ScriptedBackend } from '../../src/engines/scripted/scripted-backend.ts';
import { HostConnection } from '../../src/engines/wire/host-connection.ts';
import { HostDecodePort } from '../../src/engines/wire/host-decode-port.ts';
import { readFailure } from '../../src/engines/wire/host-payloads.ts';
import { fromHost, type GenerationSink, type HostBackend, hostProtocolVersion, toHost } from '../../src/engines/wire/host-protocol.ts';
import { begin, count, generate, generateRequest, type RequestOptions, raw, tokenize } from './decode-world.ts';
import { innerHost, innerScriptedHost, scriptedSettings, welcomed } from './host-world.ts';
import { eventually, frame, hello, parts, RawClient, turn } from './raw-wire.ts';

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
	const made = new HostDecodePort((words) => assert.fail(words));
	closers.push(() => made.close());
	return made;
}

function start(stream: number, options: RequestOptions = {}): Buffer {
	const { lease, ...rest } = generateRequest(options);
	return frame(toHost.start, stream, JSON.stringify({ ...rest, leaseKey: leaseKey(lease) }));
}

/** Long enough to outlive any test, at a pace that lets others run. */
const endless = { decodeTokensPerS: 500, tokens: 1_000_000, ctx: 10_000_000 };

describe('an engine host', () => {
	it('cuts whoever does not show the secret first, in time, and says nothing to them', async () => {
		const made = await host({}, { helloMs: 200 });
		const attempts: readonly (readonly Uint8Array[])[] = [
			[],
			[frame(toHost.ping, 1)],
			[start(1)],
			[hello({ ...made.address, secret: Buffer.alloc(32, 1) })],
			[hello(made.address, hostProtocolVersion + 1)],
			[hello(made.address).subarray(0, 20)],
			[Buffer.from('GET / HTTP/1.1\r\n\r\n')],
			[frame(toHost.hello, 0, 'short')],
			[frame(toHost.hello, 0, Buffer.concat([made.address.secret, Buffer.alloc(40)]))],
			[Buffer.alloc(100_000)],
		];
		for (const attempt of attempts) {
			const client = await RawClient.open(made.address);
			client.send(...attempt);
			await client.closed;
			assert.deepEqual(client.frames, []);
		}
		assert.equal(made.server.peers, 0);
		assert.ok(made.trouble.length >= attempts.length);
		assert.ok(made.trouble.every((line) => !line.includes(made.address.secret.toString('hex'))));
		assert.equal((await welcomed(made.address)).modelName, 'scripted:test');
	});

	it('welcomes a slow hello, byte by byte, and what comes with it', async () => {
		const made = await host();
		const client = await RawClient.open(made.address);
		client.socket.setNoDelay(true);
		const bytes = Buffer.concat([hello(made.address), frame(toHost.ping, 7)]);
		for (const byte of bytes) {
			client.send(Buffer.of(byte));
			await turn();
		}
		await client.hasFrames(2);
		assert.deepEqual(
			client.frames.map((each) => each.kind),
			[fromHost.welcome, fromHost.pong],
		);
		assert.deepEqual(made.trouble, []);
		client.socket.destroy();
	});

	it('cuts a connection that breaks the protocol, cancels its streams, and serves the others', async () => {
		const made = await host(endless);
		const steady = begin(port(), made.replica, { maxTokens: 1_000_000 });
		await steady.hasPieces(1);
		const bad: readonly Uint8Array[] = [
			frame(99, 1),
			frame(toHost.hello, 0, Buffer.concat([made.address.secret, Buffer.from([hostProtocolVersion, 0, 0, 0])])),
			frame(fromHost.pieces, 1),
			frame(toHost.start, 2, 'not json'),
			frame(toHost.start, 2, JSON.stringify({ leaseKey: '1.1' })),
			start(1),
			frame(toHost.count, 1, '{"kind":"what"}'),
			frame(toHost.audit, 1, '[1]'),
			Buffer.from([255, 255, 255, 255, 1, 1, 1, 1, 1]),
			Buffer.from([1, 0, 0, 0, 1]),
		];
		for (const bytes of bad) {
			const client = await RawClient.welcomed(made.address);
			client.send(start(1, { maxTokens: 1_000_000 }));
			await client.hasFrames(3);
			assert.equal(made.server.busyLeases().length, 2);
			client.send(bytes);
			await client.closed;
			await eventually(() => made.server.busyLeases().length === 1 && made.server.peers === 1, 'its stream is cancelled');
		}
		assert.equal(made.trouble.length, bad.length);
		const pieces = steady.pieces.length;
		await steady.hasPieces(pieces + 5);
		steady.generation?.cancel();
		assert.equal((await steady.hasEnded()).type, 'decode-cancelled');
	});

	it('survives anything after a good hello, and leaks nothing of it', async () => {
		const made = await host({ ...endless, slots: 1_000 });
		const chunk = fc.oneof(
			{ weight: 1, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 80 }) },
			{
				weight: 2,
				arbitrary: fc
					.tuple(fc.constantFrom(...Object.values(toHost)), fc.nat(3), fc.oneof(fc.json(), fc.string()))
					.map(([kind, stream, payload]) => frame(kind, stream, payload)),
			},
			{ weight: 3, arbitrary: fc.nat(3).map((stream) => start(stream, { maxTokens: 1_000_000 })) },
			{ weight: 3, arbitrary: fc.nat(3).map((stream) => frame(toHost.cancel, stream)) },
			{ weight: 1, arbitrary: fc.nat(3).map((stream) => frame(toHost.ping, stream)) },
		);
		await fc.assert(
			fc.asyncProperty(
				fc.array(chunk, { maxLength: 8 }),
				fc.array(fc.nat(), { maxLength: 8 }),
				fc.boolean(),
				async (chunks, cuts, abrupt) => {
					const client = await RawClient.open(made.address);
					client.send(...parts(Buffer.concat([hello(made.address), ...chunks]), cuts));
					if (abrupt) client.socket.destroy();
					else client.socket.end();
					await client.closed;
					await eventually(() => made.server.peers === 0 && made.server.busyLeases().length === 0, 'nothing is left of it');
				},
			),
			{ numRuns: 120 },
		);
		assert.equal((await generate(port(), made.replica, { maxTokens: 3 })).tokens, 3);
	});

	it('ends each stream once, in its own order, wherever its cancel falls', async () => {
		const made = await host({ slots: 64, prefillTokensPerS: 20_000, decodeTokensPerS: 2_000, tokens: 12 });
		const decode = port();
		await fc.assert(
			fc.asyncProperty(
				fc.array(fc.tuple(fc.integer({ min: 0, max: 14 }), fc.integer({ min: 1, max: 3 })), { minLength: 1, maxLength: 8 }),
				async (cancels) => {
					const tasks = cancels.map(([pieces, times]) => {
						const task = begin(decode, made.replica, { prompt: 'word '.repeat(30) });
						const cancel = (): void => {
							for (let time = 0; time < times; time += 1) task.generation?.cancel();
						};
						// Before it is sent, before its start, at a piece, or behind its end.
						if (pieces === 0) cancel();
						else if (pieces === 1) void task.hasStarted().then(cancel);
						else void task.hasPieces(pieces - 1).then(cancel);
						return task;
					});
					for (const [index, task] of tasks.entries()) {
						const end = await task.hasEnded();
						assert.ok(end.type === 'decode-cancelled' || (end.type === 'decode-ended' && (cancels[index]?.[0] ?? 0) > 1), end.type);
						assert.equal(task.usage.tokensOut, task.tokens);
					}
					// An answer that comes behind all ends and all cancels.
					await tokenize(decode, made.replica, 'x');
					for (const task of tasks) assert.deepEqual(task.afterEnd, []);
					assert.deepEqual([decode.inFlight, decode.connections, made.server.busyLeases().length], [0, 1, 0]);
				},
			),
			{ numRuns: 25 },
		);
	});

	it('cuts a reader that does not read, at its bound, and nobody else notices', async () => {
		const unsentBytesMax = 1024 * 1024;
		const made = await host({ tokens: 3_000_000, ctx: 4_000_000, slots: 4 }, { unsentBytesMax });
		const client = await RawClient.welcomed(made.address);
		client.socket.pause();
		client.send(start(1, { maxTokens: 3_000_000 }));
		const other = await generate(port(), made.replica, { maxTokens: 1_000 });
		assert.equal(other.tokens, 1_000);
		await eventually(() => made.server.peers === 1, 'it is cut');
		const [words] = made.trouble.filter((line) => /bytes unread/.test(line));
		// One step of the engine, or one answer, may come on top.
		const unread = Number(/(\d+) bytes unread/.exec(words ?? '')?.[1]);
		assert.ok(unread > unsentBytesMax && unread < unsentBytesMax * 1.5, words);
		assert.equal(made.server.busyLeases().length, 0);
		client.socket.destroy();
	});

	it('cuts a client that asks and asks and does not read the answers', async () => {
		const made = await host({}, { unsentBytesMax: 256 * 1024 });
		const client = await RawClient.welcomed(made.address);
		client.socket.pause();
		const questions = Buffer.concat(
			Array.from({ length: 50 }, (_, stream) => frame(toHost.tokenize, stream, 'a b c d e f g h '.repeat(200))),
		);
		for (let round = 0; round < 20 && !client.socket.destroyed; round += 1) client.send(questions);
		await eventually(() => made.server.peers === 0, 'it is cut');
		assert.match(made.trouble.join(), /bytes unread/);
		client.socket.destroy();
	});

	it('ends the streams of a connection that goes, however it goes, and an audit shows them until then', async () => {
		const made = await host(endless);
		const control = new HostConnection(made.address, { onClosed() {}, onBug: (words) => assert.fail(words) });
		closers.push(() => control.close('done'));
		const audit = (): Promise<readonly string[]> => new Promise((resolve) => control.audit([], resolve));
		for (const leave of ['destroy', 'end'] as const) {
			const client = await RawClient.welcomed(made.address);
			client.send(start(1, { maxTokens: 1_000_000 }), start(2, { maxTokens: 1_000_000 }));
			await client.ping(3);
			assert.equal((await audit()).length, 2);
			client.socket[leave]();
			await eventually(() => made.server.peers === 1, `it is gone after ${leave}`);
			assert.deepEqual(await audit(), []);
		}
	});

	it('shows the leases of a lost connection as busy until its backend is done with them', async () => {
		const made = await host({
			...endless,
			tokens: 30,
			faults: [{ kind: 'ignore-cancel', afterTokens: 0, nth: null, promptContains: null, selfTest: false }],
		});
		const leaving = new HostDecodePort((words) => assert.fail(words));
		const task = begin(leaving, made.replica);
		await task.hasPieces(1);
		leaving.close();
		assert.deepEqual([task.failure?.code, task.afterEnd.length], ['WORKER_RESET', 0]);
		await welcomed(made.address);
		assert.equal(made.server.busyLeases().length, 1);
		await eventually(() => made.server.peers === 0, 'the generation has ended by itself');
		assert.equal(made.server.busyLeases().length, 0);
	});

	it('ends what runs on a revoked lease, and begins nothing on it later', async () => {
		const made = await host(endless);
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

	it('that is closed in mid-stream cuts everybody, and each stream fails once', async () => {
		const made = await host(endless);
		const decodes = [port(), port()];
		const tasks = decodes.flatMap((decode) => [begin(decode, made.replica, { maxTokens: 1_000_000 }), begin(decode, made.replica)]);
		await Promise.all(tasks.map((task) => task.hasPieces(1)));
		await made.server.close();
		for (const task of tasks) {
			const end = await task.hasEnded();
			assert.ok(end.type === 'decode-failed' && end.slot === 'unknown' && end.began === 'maybe');
			assert.deepEqual(task.afterEnd, []);
		}
		for (const decode of decodes) assert.deepEqual([decode.inFlight, decode.connections], [0, 0]);
		assert.deepEqual([made.server.peers, made.server.busyLeases().length], [0, 0]);
	});
});

/** A backend that has a bug where it is told to have one. */
class BrokenBackend implements HostBackend {
	readonly facts: HostBackend['facts'] = new ScriptedBackend(scriptedSettings(), () => undefined).facts;
	readonly #bug: (sink: GenerationSink) => void;

	constructor(bug: (sink: GenerationSink) => void) {
		this.#bug = bug;
	}

	start(request: Parameters<HostBackend['start']>[0], sink: GenerationSink): ReturnType<HostBackend['start']> {
		if (request.seed === 0) this.#bug(sink);
		else sink.ended('stop', { tokensIn: 1, tokensCached: 0, tokensOut: 0, prefillMs: 0, decodeMs: 0 });
		return { cancel() {} };
	}

	count(): Promise<number> {
		return Promise.resolve(-1);
	}

	tokenize(): Promise<readonly { readonly id: number; readonly text: string }[]> {
		return Promise.reject(new Error('text has 9 bytes; none are tokenized'));
	}

	close(): Promise<void> {
		return Promise.resolve();
	}
}

describe('an engine host whose backend has a bug', () => {
	const usage = { tokensIn: 1, tokensCached: 0, tokensOut: 0, prefillMs: 0, decodeMs: 0 };
	const bugs: Readonly<Record<string, (sink: GenerationSink) => void>> = {
		'throws at its start': () => {
			throw new TypeError('secret prompt');
		},
		'throws after its start': (sink) => {
			sink.started(1, 0);
			throw new TypeError('secret prompt');
		},
		'starts with a number below zero': (sink) => sink.started(-1, 0),
		'makes more text than a piece holds': (sink) => sink.piece('x'.repeat(70_000), 1, -1, Number.NaN),
		'ends with numbers below zero': (sink) => sink.ended('stop', { ...usage, tokensOut: -1 }),
		'acknowledges a cancel with numbers that are none': (sink) => sink.cancelled({ ...usage, tokensIn: 0.5 + Number.MAX_SAFE_INTEGER }),
		'gives vectors of different lengths': (sink) => sink.embedded([Float32Array.of(1, 2), Float32Array.of(1)], usage),
		'gives vectors of no length': (sink) => sink.embedded([new Float32Array(0)], usage),
	};
	for (const [what, bug] of Object.entries(bugs)) {
		it(`that ${what} fails that request once, and the connection serves on`, async () => {
			const made = await innerHost(new BrokenBackend(bug));
			closers.push(() => made.close());
			const decode = port();
			const task = await generate(decode, made.replica, { seed: 0 });
			assert.deepEqual([task.failure?.code, task.pieces.length], ['INTERNAL', 0]);
			assert.equal((await generate(decode, made.replica)).end?.type, 'decode-ended');
			assert.deepEqual([task.afterEnd.length, decode.inFlight, decode.connections, made.server.busyLeases().length], [0, 0, 1, 0]);
			assert.match(made.trouble.join(), /bug/);
			assert.doesNotMatch(made.trouble.join(), /secret prompt/);
		});
	}

	it('that answers a question with what no frame can hold refuses it, and the connection serves on', async () => {
		const made = await innerHost(new BrokenBackend(() => undefined));
		closers.push(() => made.close());
		const decode = port();
		const counted = await count(decode, made.replica, raw('x'));
		assert.ok(counted.type === 'count-failed' && counted.failure.code === 'INTERNAL');
		const tokens = await tokenize(decode, made.replica, 'x');
		assert.ok(tokens.type === 'tokenize-failed' && tokens.failure.message === 'text has 9 bytes; none are tokenized');
		assert.equal((await generate(decode, made.replica)).end?.type, 'decode-ended');
		assert.deepEqual([decode.inFlight, decode.connections], [0, 1]);
	});

	it('that says more after its end, or ends twice, is heard once', async () => {
		const made = await innerHost(
			new BrokenBackend((sink) => {
				sink.started(1, 0);
				sink.ended('stop', usage);
				sink.piece('more', 1, -1, Number.NaN);
				sink.started(1, 0);
				sink.ended('length', usage);
				sink.cancelled(usage);
			}),
		);
		closers.push(() => made.close());
		const client = await RawClient.welcomed(made.address);
		client.send(start(1, { seed: 0 }));
		await client.ping(2);
		assert.deepEqual(
			client.frames.map((each) => each.kind),
			[fromHost.welcome, fromHost.started, fromHost.ended, fromHost.pong],
		);
	});

	it('that has more to say than a frame holds says so instead', async () => {
		const vector = new Float32Array(1024 * 1024);
		const made = await innerHost(
			new BrokenBackend((sink) =>
				sink.embedded(
					Array.from({ length: 17 }, () => vector),
					usage,
				),
			),
		);
		closers.push(() => made.close());
		const client = await RawClient.welcomed(made.address);
		client.send(start(1, { seed: 0 }));
		await client.hasFrames(2);
		const [, said] = client.frames;
		assert.equal(said?.kind, fromHost.failed);
		const what = readFailure(said.payload, 0, said.payload.length);
		assert.deepEqual([what.code, /longer than \d+ bytes/.test(what.message)], ['INVALID_PARAMS', true]);
	});
});
