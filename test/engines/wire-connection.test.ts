/** The asking end of the wire over a real socket, against hosts that break every rule: each stream ends once, nothing leaks. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import fc from 'fast-check';
import type { CountNews, TokenizeNews } from '../../src/actors/serving/decode.ts';
import { leaseKey } from '../../src/actors/serving/engine-life.ts';
import type { ReplicaFacts } from '../../src/actors/serving/messages.ts';
import { formatAddress, type HostAddress } from '../../src/engines/wire/host-address.ts';
import { HostConnection } from '../../src/engines/wire/host-connection.ts';
import { HostDecodePort } from '../../src/engines/wire/host-decode-port.ts';
import { FrameReader } from '../../src/engines/wire/host-frames.ts';
import { frameBytesMax, fromHost, toHost } from '../../src/engines/wire/host-protocol.ts';
import { begin, count, generate, generateRequest, raw, SeenTask, tokenize } from './decode-world.ts';
import { innerScriptedHost, privateAddress } from './host-world.ts';
import { eventually, type FalseHost, falseHost, frame, parts, piecesFrame, turn, welcomeFrame, welcoming } from './raw-wire.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
	for (const close of closers.splice(0).reverse()) await close();
});

async function liar(speak: (socket: Socket) => void): Promise<FalseHost> {
	const made = await falseHost(speak);
	closers.push(() => made.close());
	return made;
}

function port(onBug: (words: string) => void = assert.fail, answerMs = 5_000): HostDecodePort {
	const made = new HostDecodePort(onBug, { answerMs });
	closers.push(() => made.close());
	return made;
}

function assertNothingLeft(decode: HostDecodePort): void {
	assert.deepEqual([decode.inFlight, decode.connections], [0, 0]);
}

const usage = (tokensOut: number): Buffer => {
	const bytes = Buffer.alloc(28);
	bytes.writeUInt32LE(tokensOut, 8);
	return bytes;
};

const end = (stream: number, tokensOut = 0): Buffer => frame(fromHost.ended, stream, Buffer.concat([Buffer.of(0), usage(tokensOut)]));

describe('a connection to an engine host', () => {
	it('fails each of its streams once when the host breaks the protocol, and the next gets a new connection', async () => {
		const lies: readonly ((stream: number) => Uint8Array)[] = [
			() => frame(200, 1),
			(stream) => frame(fromHost.pieces, stream, Buffer.from([9, 0, 0, 0, 5, 0, 1, 0])),
			(stream) => frame(fromHost.pieces, stream, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0])),
			(stream) => frame(fromHost.pieces, stream, Buffer.alloc(4)),
			(stream) => frame(fromHost.pieces, stream),
			(stream) => frame(fromHost.ended, stream, Buffer.from([7])),
			(stream) => frame(fromHost.failed, stream, '{}'),
			(stream) => frame(fromHost.embedded, stream, Buffer.alloc(12, 255)),
			(stream) => end(stream + 17),
			(stream) => Buffer.concat([end(stream), piecesFrame(stream, ['late'])]),
			(stream) => frame(fromHost.welcome, stream, '{}'),
			(stream) => frame(toHost.start, stream),
			(stream) => frame(fromHost.pong, stream),
			() => Buffer.from([255, 255, 255, 255]),
			() => Buffer.from([4, 0, 0, 0, 1, 1, 1, 1]),
		];
		let next = 0;
		const { replica } = await liar(
			welcoming((socket, stream, kind) => {
				if (kind === toHost.start) socket.write(lies[next]?.(stream) ?? Buffer.alloc(0));
			}),
		);
		const decode = port();
		for (; next < lies.length; next += 1) {
			const question = count(decode, replica, raw('x'));
			const tasks = [begin(decode, replica), begin(decode, replica)];
			const ends = await Promise.all(tasks.map((task) => task.hasEnded()));
			assert.equal((await question).type, 'count-failed');
			assert.ok(ends.some((each) => each.type === 'decode-failed' && each.failure.code === 'WORKER_RESET' && each.began === 'maybe'));
			for (const task of tasks) assert.deepEqual([task.pieces.length, task.afterEnd.length], [0, 0]);
			assertNothingLeft(decode);
		}
	});

	it('says that a request never began when no host was there, or none that welcomed', async () => {
		const decode = port();
		const { address, remove } = privateAddress();
		closers.push(remove);
		const strangers: readonly ((socket: Socket) => void)[] = [
			(socket) => socket.destroy(),
			(socket) => socket.end(),
			(socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'),
			(socket) => socket.write(frame(fromHost.pong, 0)),
			(socket) => socket.write(frame(fromHost.welcome, 0, '{"slots":1}')),
			(socket) => socket.write(end(1)),
		];
		const nobody = { ...(await liar(() => undefined)).replica, address: formatAddress(address) };
		const replicas: ReplicaFacts[] = [nobody];
		for (const speak of strangers) replicas.push((await liar(speak)).replica);
		for (const replica of replicas) {
			const [lost, question, words] = await Promise.all([
				generate(decode, replica),
				count(decode, replica, raw('x')),
				tokenize(decode, replica, 'x'),
			]);
			assert.ok(lost.end?.type === 'decode-failed' && lost.end.began === 'no' && lost.end.slot === 'unknown');
			assert.deepEqual([lost.failure?.code, question.type, words.type], ['WORKER_RESET', 'count-failed', 'tokenize-failed']);
			assertNothingLeft(decode);
		}
		const begun = await generate(decode, (await liar(welcoming((socket) => socket.destroy()))).replica);
		assert.ok(begun.end?.type === 'decode-failed' && begun.end.began === 'maybe');
	});

	it('gives each stream its own pieces, in order and behind each other its end, however they are mixed and cut', async () => {
		const streams = 4;
		const text = fc.string({ unit: 'grapheme', maxLength: 8 });
		const spoken = fc.array(fc.tuple(fc.nat(streams - 1), fc.array(text, { minLength: 1, maxLength: 5 })), { maxLength: 40 });
		let speak: (socket: Socket) => void = () => undefined;
		const starts: number[] = [];
		const { replica } = await liar(
			welcoming((socket, stream, kind) => {
				if (kind !== toHost.start) return;
				starts.push(stream);
				if (starts.length === streams) speak(socket);
			}),
		);
		const decode = port();
		await fc.assert(
			fc.asyncProperty(
				spoken,
				fc.array(fc.nat(), { maxLength: 10 }),
				fc.array(fc.nat(streams - 1), { maxLength: 2 }),
				async (said, cuts, silent) => {
					starts.length = 0;
					speak = (socket) => {
						const bytes = said.map(([index, texts]) => piecesFrame(starts[index] as number, texts));
						const ends = starts.map((stream, index) => end(stream, expected(index).length));
						for (const part of parts(Buffer.concat([...bytes, ...ends]), cuts)) socket.write(part);
					};
					const expected = (index: number): string[] => said.filter(([stream]) => stream === index).flatMap(([, texts]) => texts);
					const tasks = Array.from({ length: streams }, () => begin(decode, replica));
					for (const index of silent) tasks[index]?.generation?.abandon();
					for (const [index, task] of tasks.entries()) {
						if (silent.includes(index)) continue;
						await task.hasEnded();
						assert.deepEqual(
							task.pieces.map((piece) => piece.text),
							expected(index),
						);
						assert.deepEqual([task.usage.tokensOut, task.afterEnd.length], [task.tokens, 0]);
					}
					await eventually(() => decode.inFlight === 0, 'abandoned streams end too');
					for (const index of silent) assert.equal(tasks[index]?.messages, 0);
					assert.equal(decode.connections, 1);
				},
			),
			{ numRuns: 80 },
		);
	});

	it('survives a host that says anything: every stream ends once, every question is answered once, nothing is left', async () => {
		let script: readonly Uint8Array[] = [];
		const { replica } = await liar((socket) => {
			welcoming(() => undefined)(socket);
			socket.on('data', () => {
				for (const bytes of script) socket.write(bytes);
				socket.end();
			});
		});
		const stream = fc.nat(5);
		const sayings = fc.oneof(
			{
				weight: 4,
				arbitrary: fc.tuple(stream, fc.array(fc.string({ maxLength: 5 }), { maxLength: 3 })).map(([id, texts]) => piecesFrame(id, texts)),
			},
			{ weight: 2, arbitrary: stream.map((id) => frame(fromHost.started, id, Buffer.alloc(8))) },
			{ weight: 2, arbitrary: stream.map((id) => end(id)) },
			{ weight: 1, arbitrary: stream.map((id) => frame(fromHost.cancelled, id, usage(0))) },
			{ weight: 1, arbitrary: stream.map((id) => frame(fromHost.counted, id, Buffer.alloc(4))) },
			{ weight: 1, arbitrary: stream.map((id) => frame(fromHost.failed, id, '{"code":"INTERNAL","message":"m","retriable":false}')) },
			{
				weight: 1,
				arbitrary: fc
					.tuple(
						fc.constantFrom(...Object.values(fromHost)),
						stream,
						fc.oneof(
							fc.uint8Array({ maxLength: 40 }),
							fc.json().map((json) => Buffer.from(json)),
						),
					)
					.map(([kind, id, payload]) => frame(kind, id, payload)),
			},
			{ weight: 1, arbitrary: fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)) },
		);
		const bugs: string[] = [];
		const decode = port((words) => bugs.push(words));
		await fc.assert(
			fc.asyncProperty(fc.array(sayings, { maxLength: 14 }), fc.array(fc.nat(), { maxLength: 6 }), async (said, cuts) => {
				script = parts(Buffer.concat(said), cuts);
				const answers: (CountNews | TokenizeNews)[] = [];
				const answer = { tell: (news: CountNews | TokenizeNews): 'accepted' => (answers.push(news), 'accepted') };
				const tasks = [begin(decode, replica), begin(decode, replica)];
				decode.count(replica, raw('x'), answer);
				decode.tokenize(replica, 'x', answer);
				const cancelled = begin(decode, replica);
				cancelled.generation?.cancel();
				for (const task of [...tasks, cancelled]) {
					await task.hasEnded();
				}
				await eventually(() => decode.connections === 0, 'the connection closes');
				assertNothingLeft(decode);
				assert.deepEqual(
					[...tasks, cancelled].flatMap((task) => task.afterEnd),
					[],
				);
				assert.equal(answers.length, 2);
				assert.deepEqual(bugs, []);
			}),
			{ numRuns: 250 },
		);
	});

	it('ends loudly the stream of a task that is full, quietly that of one that is gone, and no other', async () => {
		const made = await innerScriptedHost({ decodeTokensPerS: 500, tokens: 1_000_000, ctx: 10_000_000 });
		closers.push(() => made.close());
		const bugs: string[] = [];
		const decode = port((words) => bugs.push(words));
		const [full, closed, well] = [0, 1, 2].map(() => begin(decode, made.replica, { maxTokens: 1_000_000 }));
		assert.ok(full !== undefined && closed !== undefined && well !== undefined);
		await Promise.all([full, closed, well].map((task) => task.hasPieces(1)));
		full.answer = 'full';
		closed.answer = 'closed';
		await eventually(() => made.server.busyLeases().length === 1, 'both are cancelled');
		await eventually(() => decode.inFlight === 1, 'both have ended');
		assert.equal(bugs.length, 1);
		assert.match(bugs[0] ?? '', /full/);
		await well.hasPieces(well.pieces.length + 3);
		well.generation?.cancel();
		assert.equal((await well.hasEnded()).type, 'decode-cancelled');
	});

	it('answers questions in time when the host does not, once, and takes the late answer quietly', async () => {
		const late: { readonly socket: Socket; readonly stream: number; readonly kind: number }[] = [];
		const { replica } = await liar(welcoming((socket, stream, kind) => void late.push({ socket, stream, kind })));
		const decode = port(assert.fail, 100);
		const [counted, words] = await Promise.all([count(decode, replica, raw('x')), tokenize(decode, replica, 'x')]);
		assert.ok(counted.type === 'count-failed' && counted.failure.code === 'WORKER_RESET');
		assert.ok(words.type === 'tokenize-failed');
		const task = begin(decode, replica);
		await eventually(() => late.length === 3, 'the host has all of it');
		for (const { socket, stream, kind } of late) {
			if (kind === toHost.count) socket.write(frame(fromHost.counted, stream, Buffer.from([1, 0, 0, 0])));
			if (kind === toHost.tokenize) socket.write(frame(fromHost.failed, stream, '{"code":"INTERNAL","message":"m","retriable":false}'));
			if (kind === toHost.start) socket.write(end(stream));
		}
		assert.equal((await task.hasEnded()).type, 'decode-ended');
		assert.deepEqual([decode.inFlight, decode.connections], [0, 1]);
	});

	it('refuses questions at once while a host does not read, and fails what is longer than a frame', async () => {
		const { replica, address } = await liar((socket) => {
			welcoming(() => undefined)(socket);
			socket.once('data', () => socket.pause());
		});
		const decode = port();
		const long = 'x'.repeat(frameBytesMax + 1);
		const tooLong = await count(decode, replica, raw(long));
		assert.ok(tooLong.type === 'count-failed' && tooLong.failure.code === 'INVALID_PARAMS');
		const task = await generate(decode, replica, { prompt: long });
		assert.deepEqual([task.failure?.code, task.afterEnd.length], ['INVALID_PARAMS', 0]);

		const answers: CountNews[] = [];
		const connection = await new Promise<HostConnection>((resolve) => {
			const made: HostConnection = new HostConnection(
				address,
				{ onWelcome: () => resolve(made), onClosed() {}, onBug: assert.fail },
				{ unsentBytesMax: 1024 * 1024, answerMs: 60_000 },
			);
		});
		for (let question = 0; question < 40; question += 1) {
			connection.count(raw('x'.repeat(100_000)), (news) => void answers.push(news));
			await turn();
		}
		assert.ok(answers.length > 20, `${answers.length} refused`);
		assert.ok(answers.every((news) => news.type === 'count-failed' && /does not read/.test(news.failure.message)));
		connection.close('done');
		assert.equal(answers.length, 40);
		assert.equal(connection.inFlight, 0);
	});

	it('reads a flood to its end, while others are served', async () => {
		const made = await innerScriptedHost({ tokens: 400_000, ctx: 1_000_000 });
		closers.push(() => made.close());
		const decode = port();
		const flood = begin(decode, made.replica, { maxTokens: 400_000 });
		await flood.hasPieces(1);
		const other = await generate(port(), made.replica, { maxTokens: 10 });
		assert.equal(other.tokens, 10);
		await flood.hasEnded();
		assert.deepEqual([flood.tokens, flood.usage.tokensOut], [400_000, 400_000]);
		assert.equal(decode.inFlight, 0);
	});

	it('that is closed by whoever hears an answer or a piece still answers each once', async () => {
		const made = await innerScriptedHost({ decodeTokensPerS: 500, tokens: 1_000 });
		closers.push(() => made.close());
		for (const closesAt of ['question', 'audit', 'ping', 'pieces', 'end'] as const) {
			const connection = new HostConnection(made.address, { onClosed() {}, onBug: assert.fail });
			const closed = new Promise<void>((resolve) => {
				const close = (at: string): void => {
					if (at !== closesAt) return;
					connection.close(`at ${at}`);
					resolve();
				};
				const task = new SeenTask();
				const answers: string[] = [];
				connection.count(raw('x'), (news) => {
					answers.push(news.type);
					close('question');
				});
				connection.audit([], () => close('audit'));
				connection.ping(() => close('ping'));
				const { lease, ...request } = generateRequest({ maxTokens: 5 });
				connection.start(
					{ ...request, leaseKey: leaseKey(lease) },
					{
						tell(news) {
							task.tell(news);
							if (news.type === 'pieces') close('pieces');
							if (task.end !== null) close('end');
							return 'accepted';
						},
					},
				);
				closers.push(() => {
					assert.equal(answers.length, 1, closesAt);
					assert.ok(task.end !== null, closesAt);
					assert.deepEqual(task.afterEnd, [], closesAt);
					assert.equal(connection.inFlight, 0, closesAt);
				});
			});
			await closed;
		}
	});

	it('of a port that is closed in mid-stream fails each stream once, and nothing can be asked of it later', async () => {
		const made = await innerScriptedHost({ decodeTokensPerS: 500, tokens: 1_000_000, ctx: 10_000_000 });
		closers.push(() => made.close());
		const decode = port();
		const tasks = Array.from({ length: 5 }, () => begin(decode, made.replica, { maxTokens: 1_000_000 }));
		await Promise.all(tasks.map((task) => task.hasPieces(1)));
		const question = count(decode, made.replica, raw('x'));
		decode.close();
		decode.close();
		for (const task of tasks) assert.deepEqual([task.failure?.code, task.afterEnd.length], ['WORKER_RESET', 0]);
		assert.equal((await question).type, 'count-failed');
		const later = await generate(decode, made.replica);
		assert.ok(later.end?.type === 'decode-failed' && later.end.began === 'no');
		assertNothingLeft(decode);
		await eventually(() => made.server.busyLeases().length === 0 && made.server.peers === 0, 'the host is done with them');
	});

	it('closes with words that name no secret', async () => {
		const made = await innerScriptedHost();
		closers.push(() => made.close());
		const why = await new Promise<string>((resolve) => {
			const wrong: HostAddress = { ...made.address, secret: Buffer.alloc(32, 3) };
			new HostConnection(wrong, { onClosed: resolve, onBug: assert.fail });
		});
		for (const { secret } of [made.address, { secret: Buffer.alloc(32, 3) }]) assert.ok(!why.includes(secret.toString('hex')));
	});

	it('sends nothing but its hello before it is welcome, and all of it behind', async () => {
		const kinds: number[] = [];
		let welcome: () => unknown = () => undefined;
		const { replica } = await liar((socket) => {
			const reader = new FrameReader((kind) => kinds.push(kind));
			socket.on('data', (bytes: Buffer) => reader.push(bytes));
			welcome = () => socket.write(Buffer.concat([welcomeFrame(), end(1)]));
		});
		const decode = port();
		const task = begin(decode, replica);
		task.generation?.cancel();
		await eventually(() => kinds.length > 0, 'the hello is there');
		for (let each = 0; each < 20; each += 1) await turn();
		assert.deepEqual(kinds, [toHost.hello]);
		welcome();
		assert.equal((await task.hasEnded()).type, 'decode-ended');
		await eventually(() => kinds.length === 3, 'the rest is there');
		assert.deepEqual(kinds, [toHost.hello, toHost.start, toHost.cancel]);
	});
});
