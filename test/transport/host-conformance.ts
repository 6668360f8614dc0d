/**
 * What every server library must do behind the `HttpHost` port: bodies, bounds, aborts, backpressure, and exceptions that must
 * not reach it. A suite for each is one call of `hostConformance`.
 */
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import {
	type BodyReceiver,
	type BugReport,
	type HttpHost,
	type HttpHostOptions,
	type HttpRequest,
	ListenError,
	type ResponseSink,
} from '../../src/transport/http/http-host.ts';
import { dechunked, deferred, RawClient } from './raw-client.ts';

type Handle = (request: HttpRequest, sink: ResponseSink) => BodyReceiver | null;

const filler = Buffer.from(':\n\n');

interface Served {
	readonly host: HttpHost;
	readonly port: number;
	readonly bugs: string[];
	client(): Promise<RawClient>;
}

function echo(_request: HttpRequest, sink: ResponseSink): BodyReceiver {
	return {
		onBody: (body) => sink.respond(200, [], Buffer.from(body)),
		onBodyRefused: (why) => sink.respond(why === 'too-large' ? 413 : 503, [], why),
	};
}

function post(body: string | Buffer, headers = ''): Buffer {
	const bytes = Buffer.from(body as string);
	return Buffer.concat([Buffer.from(`POST /x HTTP/1.1\r\nHost: a\r\n${headers}Content-Length: ${bytes.length}\r\n\r\n`), bytes]);
}

const get = 'GET /x HTTP/1.1\r\nHost: a\r\n\r\n';

export function hostConformance(name: string, make: (options: HttpHostOptions, report: BugReport) => HttpHost): void {
	const open: { host: HttpHost; clients: RawClient[] }[] = [];

	async function serve(handle: Handle, options: Partial<HttpHostOptions> = {}): Promise<Served> {
		const bugs: string[] = [];
		const host = make(
			{
				hostname: '127.0.0.1',
				port: 0,
				bodyBytesMax: 100_000,
				inflightBodyBytesMax: 1_000_000,
				wsMessageBytesMax: 10_000,
				connectionsMax: 1_000,
				...options,
			},
			(where, error) => bugs.push(`${where}: ${String(error)}`),
		);
		const clients: RawClient[] = [];
		open.push({ host, clients });
		const { port } = await host.listen({ onRequest: handle, onUpgrade: () => null });
		return {
			host,
			port,
			bugs,
			async client() {
				const client = await RawClient.connect(port);
				clients.push(client);
				return client;
			},
		};
	}

	afterEach(() => {
		for (const { host, clients } of open.splice(0)) {
			for (const client of clients) client.end();
			host.close();
		}
	});

	describe(name, () => {
		it('copies a request whole: method, path, query, headers, their number', async () => {
			let seen: HttpRequest | null = null;
			const { client } = await serve((request, sink) => {
				seen = request;
				setImmediate(() => sink.respond(200, [], 'late'));
				return null;
			});
			const c = await client();
			await c.exchange('GET /a%20b?c=d&e HTTP/1.1\r\nHost: h\r\nX-Two: 1\r\nx-two: 2\r\n\r\n');
			const request = seen as HttpRequest | null;
			assert.ok(request !== null);
			assert.equal(request.method, 'GET');
			assert.equal(request.path, '/a%20b');
			assert.equal(request.query, 'c=d&e');
			assert.equal(request.header('host'), 'h');
			assert.equal(request.header('x-two'), '1, 2');
			assert.equal(request.header('absent'), undefined);
			assert.equal(request.headerCount, 3);
		});

		it('hands over a body that comes in one piece, in many, and in chunks', async () => {
			const { client } = await serve(echo);
			const c = await client();
			const body = 'b'.repeat(60_000);
			assert.ok((await c.exchange(post(body))).endsWith(body));
			assert.ok((await c.exchange(post(''))).includes('Content-Length: 0'));
			await c.send('POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
			assert.match(await c.exchange('2\r\nde\r\n0\r\n\r\n'), /\r\n\r\nabcde$/);
		});

		it('refuses a body over the limit, announced or not, and serves the connection on', async () => {
			const { client } = await serve(echo);
			const c = await client();
			assert.match(await c.exchange(post('b'.repeat(100_001))), /^HTTP\/1\.1 413/);
			assert.match(await c.exchange(post('fits')), /fits$/);
			await c.send('POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
			const chunk = `${(50_000).toString(16)}\r\n${'c'.repeat(50_000)}\r\n`;
			await c.send(chunk + chunk);
			assert.match(await c.exchange(`${chunk}0\r\n\r\n`), /^HTTP\/1\.1 413/);
			assert.match(await c.exchange(post('fits again')), /fits again$/);
		});

		it('bounds the bodies in flight together, and gives their room back when a sender leaves', async () => {
			const { client } = await serve(echo, { inflightBodyBytesMax: 60_000 });
			const other = await client();
			// what was sent before is read no later than the second of these
			const settled = async (): Promise<void> => {
				await other.exchange(post('1'));
				await other.exchange(post('2'));
			};
			const slow = await client();
			await slow.send(`POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n${'s'.repeat(50_000)}`);
			await settled();
			const partial = `POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 40001\r\n\r\n${'p'.repeat(40_000)}`;
			const crowded = await client();
			assert.match((await crowded.exchange(partial)).slice(-100), /no-room$/);
			slow.end();
			await settled();
			const alone = await client();
			await alone.send(partial);
			await settled();
			assert.match((await alone.exchange('q')).slice(0, 100), /^HTTP\/1\.1 200/);
		});

		it('closes a connection above the limit as it comes, and takes the next once another has gone', async () => {
			const { client, port } = await serve(echo, { connectionsMax: 2 });
			const [first, second] = [await client(), await client()];
			await first.exchange(post('one'));
			await second.exchange(post('two'));
			const third = await RawClient.connect(port);
			await third.untilClosed();
			assert.equal(third.received, '');
			assert.match(await second.exchange(post('two again')), /two again$/);
			first.end();
			for (;;) {
				// The server hears in its own time that one has gone.
				const next = await RawClient.connect(port);
				await next.send(post('three')).catch(() => undefined);
				const answer = await next.until((received) => received.endsWith('three'), false).catch(() => '');
				next.end();
				if (answer !== '') break;
				await second.exchange(post('turn'));
			}
		});

		it('keeps an exception of a handler, a body receiver or an aborted callback away from the library', async () => {
			const { client, bugs } = await serve((request, sink) => {
				if (request.path === '/handler') throw new Error('handler');
				if (request.path === '/aborted') {
					sink.onAborted = () => {
						throw new Error('aborted');
					};
					sink.start(200, [], filler);
					sink.write(Buffer.from('begun'));
					return null;
				}
				if (request.path === '/x') return echo(request, sink);
				return {
					onBody: () => {
						throw new Error('body');
					},
					onBodyRefused: () => undefined,
				};
			});
			for (const path of ['/handler', '/body']) {
				const c = await client();
				await c.send(`POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx`);
				await c.untilClosed();
			}
			const leaver = await client();
			await leaver.send('GET /aborted HTTP/1.1\r\nHost: a\r\n\r\n');
			await leaver.until((received) => received.includes('begun'));
			leaver.end();
			const c = await client();
			assert.match(await c.exchange(post('alive')), /alive$/);
			for (let round = 0; round < 200 && bugs.length < 3; round++) await c.exchange(post('alive'));
			assert.deepEqual(bugs.map((bug) => bug.replace(/.*Error: /, '')).sort(), ['aborted', 'body', 'handler']);
		});

		it('tells a streaming response once that its reader has left, and takes no call of it amiss', async () => {
			let sink: ResponseSink | null = null;
			const gone = deferred<void>();
			let aborts = 0;
			const { client } = await serve((_request, s) => {
				sink = s;
				s.onAborted = () => {
					aborts += 1;
					gone.resolve();
				};
				s.start(200, [['X-Test', 'yes']], filler);
				s.write(Buffer.from('first'));
				return null;
			});
			const c = await client();
			await c.send(get);
			assert.match(await c.until((received) => received.includes('first')), /x-test: yes/i);
			c.end();
			await gone.promise;
			const late = sink as ResponseSink | null;
			assert.ok(late?.closed);
			assert.equal(late.write(Buffer.from('late')), false);
			late.end();
			late.respond(200, [], '');
			late.abort();
			late.corked(() => late.write(Buffer.from('late')));
			assert.equal(aborts, 1);
		});

		it('cuts a connection on abort, from anywhere', async () => {
			const { client, bugs } = await serve((request, sink) => {
				if (request.path === '/now') sink.abort();
				else {
					sink.start(200, [], filler);
					sink.corked(() => {
						sink.write(Buffer.from('begun'));
						if (request.path === '/cork') sink.abort();
					});
				}
				return null;
			});
			for (const path of ['/now', '/cork']) {
				const c = await client();
				await c.send(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
				await c.untilClosed();
			}
			assert.deepEqual(bugs, []);
		});

		it('answers HEAD without a body and leaves the connection usable', async () => {
			const { client } = await serve((_request, sink) => {
				sink.respond(200, [], 'eleven byte');
				return null;
			});
			const c = await client();
			await c.send('HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n');
			const head = await c.until((received) => received.endsWith('\r\n\r\n'));
			assert.match(head, /content-length: 11/i);
			assert.match(await c.exchange(get), /eleven byte$/);
		});

		it('says in words why it cannot listen', async () => {
			const squatter = createServer();
			const port = await new Promise<number>((resolve) => {
				squatter.listen(0, '127.0.0.1', () => {
					const address = squatter.address();
					resolve(typeof address === 'object' && address !== null ? address.port : 0);
				});
			});
			await assert.rejects(serve(echo, { port }), (error: unknown) => {
				assert.ok(error instanceof ListenError);
				assert.equal(error.code, 'EADDRINUSE');
				assert.match(error.message, new RegExp(`127\\.0\\.0\\.1:${port} is in use`));
				return true;
			});
			squatter.close();
			await assert.rejects(serve(echo, { hostname: '203.0.113.7' }), { name: 'ListenError', code: 'EADDRNOTAVAIL' });
		});

		it('lets no second daemon listen on its port', async () => {
			const { port } = await serve(echo);
			await assert.rejects(serve(echo, { port }), { name: 'ListenError', code: 'EADDRINUSE' });
		});

		it('takes no new connection after stopListening, and ends each connection with its next answer', async () => {
			const { host, port, client } = await serve(echo);
			const c = await client();
			await c.exchange(post('one'));
			host.stopListening();
			host.stopListening();
			await assert.rejects(RawClient.connect(port));
			await c.send(post('two'));
			assert.match(await c.untilClosed(), /two$/);
		});

		it('ends a stream that began before stopListening as whole as any other', async () => {
			const started = deferred<ResponseSink>();
			const { host, client } = await serve((_request, sink) => {
				sink.start(200, [], filler);
				sink.write(Buffer.from('begin.'));
				started.resolve(sink);
				return null;
			});
			const c = await client();
			await c.send(get);
			const sink = await started.promise;
			await c.until((received) => received.includes('begin.'));
			host.stopListening();
			sink.corked(() => {
				sink.write(Buffer.from('the end'));
				sink.end();
			});
			assert.match(await c.until((received) => received.endsWith('0\r\n\r\n')), /begin\.\r\n7\r\nthe end\r\n0\r\n\r\n$/);
		});

		it('closes at any time, twice, also from inside a callback', async () => {
			for (const place of ['handler', 'cork', 'body', 'aborted'] as const) {
				const { host, client, bugs } = await serve((_request, sink) => {
					if (place === 'aborted') sink.onAborted = () => host.close();
					if (place === 'handler') host.close();
					if (place === 'body') return { onBody: () => host.close(), onBodyRefused: () => undefined };
					sink.start(200, [], filler);
					sink.corked(() => {
						sink.write(Buffer.from('begun'));
						if (place === 'cork') host.close();
					});
					if (place === 'aborted') setImmediate(() => sink.abort());
					return null;
				});
				const c = await client();
				await c.send(post('x'));
				await c.untilClosed();
				host.close();
				assert.deepEqual(bugs, [], place);
			}
		});
	});

	describe(`a reader that stalls, over ${name}`, () => {
		it('is told of by a refused write, costs no more than was handed over, and gets the rest when it reads on', async () => {
			const started = deferred<ResponseSink>();
			const { client } = await serve((_request, sink) => {
				sink.start(200, [], filler);
				sink.write(Buffer.from('begin.'));
				started.resolve(sink);
				return null;
			});
			const c = await client();
			await c.send(get);
			const sink = await started.promise;
			await c.until((received) => received.includes('begin.'));
			c.stopReading();
			const chunk = Buffer.alloc(64 * 1024, 'x');
			let sent = 0;
			while (sink.write(chunk)) sent += 1;
			sent += 1;
			assert.ok(sent * chunk.length < 64 * 1024 * 1024, 'the socket takes no end of bytes');
			assert.ok(sink.bufferedBytes <= 4 * chunk.length);
			const writable = deferred<void>();
			sink.onWritable = () => writable.resolve();
			c.readOn();
			await writable.promise;
			assert.equal(sink.write(Buffer.from('the end')), true);
			sink.end();
			const answer = await c.until((received) => received.endsWith('0\r\n\r\n'));
			const body = dechunked(answer).replaceAll(':\n\n', '');
			assert.equal(body.length, 'begin.'.length + sent * chunk.length + 'the end'.length);
		});
	});
}
