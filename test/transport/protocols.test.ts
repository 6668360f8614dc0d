/**
 * The same daemon over every protocol that it speaks: HTTP/1.1 and HTTP/2, plain and with TLS, on both hosts. One table of requests,
 * whose answers must be the same in status, headers and body; event streams byte for byte; and certificates that change under
 * open streams.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { firstPair, secondPair } from '../fixtures/certificates.ts';
import { FakeTask, taskRequest } from './fake-task.ts';
import { startFront, type TestFront } from './test-front.ts';

interface Answer {
	readonly status: number;
	readonly headers: Readonly<Record<string, unknown>>;
	readonly body: string;
}

interface Ask {
	readonly method: string;
	readonly path: string;
	readonly headers?: Record<string, string>;
	readonly body?: string;
}

interface Way {
	readonly name: string;
	readonly host: 'uws' | 'node';
	readonly tls: boolean;
	readonly version: 1 | 2;
}

const ways: readonly Way[] = [
	{ name: 'HTTP/1.1 on uws', host: 'uws', tls: false, version: 1 },
	{ name: 'HTTP/1.1 on node', host: 'node', tls: false, version: 1 },
	{ name: 'HTTP/2 with prior knowledge', host: 'node', tls: false, version: 2 },
	{ name: 'HTTP/1.1 with TLS on uws', host: 'uws', tls: true, version: 1 },
	{ name: 'HTTP/1.1 with TLS on node', host: 'node', tls: true, version: 1 },
	{ name: 'HTTP/2 with TLS', host: 'node', tls: true, version: 2 },
];

const folder = mkdtempSync(join(tmpdir(), 'orchestratord-tls-'));
const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
after(() => rmSync(folder, { recursive: true }));

/** Both at once, as far as files can: over a name that nobody reads meanwhile. */
function install(pair: { readonly cert: string; readonly key: string }): void {
	for (const name of ['cert', 'key'] as const) {
		writeFileSync(`${files[name]}.new`, pair[name]);
		renameSync(`${files[name]}.new`, files[name]);
	}
}

const agents = new Map<TestFront, HttpAgent>();
after(() => {
	for (const agent of agents.values()) agent.destroy();
});

/** One connection for each front: the answers come over a connection that is used again and again. */
function agentFor(front: TestFront, tls: boolean): HttpAgent {
	const agent =
		agents.get(front) ?? (tls ? new HttpsAgent({ keepAlive: true, rejectUnauthorized: false }) : new HttpAgent({ keepAlive: true }));
	agents.set(front, agent);
	return agent;
}

function overHttp1(front: TestFront, tls: boolean, { method, path, headers, body }: Ask): Promise<Answer> {
	return new Promise((resolve, reject) => {
		const options = { host: '127.0.0.1', port: front.port, method, path, headers: headers ?? {}, agent: agentFor(front, tls) };
		const asked = tls ? httpsRequest(options) : httpRequest(options);
		asked.on('error', reject);
		asked.on('response', (answer) => {
			let text = '';
			answer.setEncoding('utf8').on('data', (part: string) => (text += part));
			answer.on('end', () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: text }));
		});
		asked.end(body);
	});
}

function overHttp2(session: ClientHttp2Session, { method, path, headers, body }: Ask): Promise<Answer> {
	return new Promise((resolve, reject) => {
		const stream = session.request({ ':method': method, ':path': path, ...headers }, { endStream: body === undefined });
		let text = '';
		let answered: Readonly<Record<string, unknown>> = {};
		stream.on('response', (fields) => {
			answered = fields;
		});
		stream.setEncoding('utf8').on('data', (part: string) => (text += part));
		stream.on('error', reject);
		stream.on('end', () => resolve({ status: Number(answered[':status']), headers: answered, body: text }));
		if (body !== undefined) stream.end(body);
	});
}

const windowBytes = 4 * 1024 * 1024;
const perHop = new Set(['connection', 'keep-alive', 'transfer-encoding', 'date', ':status', 'uwebsockets', 'content-length']);

function comparable({ status, headers, body }: Answer, port: number): unknown {
	const kept = Object.entries(headers).filter(([name]) => !perHop.has(name));
	return {
		status,
		headers: Object.fromEntries(kept.sort(([a], [b]) => a.localeCompare(b))),
		body: body.replaceAll(`:${port}`, ':PORT').replace(/"uptime_ms":\d+|has \d+ headers/, ''),
	};
}

const id = '01890a5d-ac96-774b-bcce-b302099a8057';
const json = { 'content-type': 'application/json' };
const same = { 'x-correlation-id': 'same' };
const table: readonly Ask[] = [
	{ method: 'GET', path: '/health' },
	{ method: 'GET', path: '/ready' },
	{ method: 'GET', path: '/v2/pools' },
	{ method: 'HEAD', path: '/v2/pools' },
	{ method: 'GET', path: '/openapi.json' },
	{ method: 'GET', path: '/metrics' },
	{ method: 'GET', path: '/v2/meta/capabilities' },
	{ method: 'GET', path: '/nowhere' },
	{ method: 'GET', path: '/v2/ws' },
	{ method: 'PUT', path: '/v2/tasks', body: '{}', headers: json },
	{ method: 'OPTIONS', path: '/v2/tasks' },
	{ method: 'POST', path: '/v2/tasks', body: '{"model_ref":', headers: json },
	{ method: 'POST', path: '/v2/tasks', body: JSON.stringify({ model_ref: 'default', prompt: 'x', zebra: 1 }), headers: json },
	{
		method: 'POST',
		path: '/v2/tasks',
		body: JSON.stringify({ model_ref: 'default', prompt: 'hi', task_id: id.replace('57', '99') }),
		headers: json,
	},
	{ method: 'POST', path: '/v2/tasks', body: 'x'.repeat(1_000_001), headers: json },
	{ method: 'POST', path: '/v2/tokenize', body: JSON.stringify({ model_ref: 'default', text: 'é'.repeat(100_000) }), headers: json },
	{ method: 'GET', path: `/v2/tasks/${id}/events` },
	{ method: 'GET', path: `/v2/tasks/${id}/events`, headers: { 'last-event-id': '100' } },
	{ method: 'GET', path: `/v2/tasks/${id}/events`, headers: { 'last-event-id': '999999' } },
	{ method: 'HEAD', path: `/v2/tasks/${id}/events` },
	{ method: 'DELETE', path: `/v2/tasks/${id}` },
	{ method: 'GET', path: '/health', headers: { origin: 'https://evil.example' } },
	{ method: 'GET', path: '/health', headers: Object.fromEntries(Array.from({ length: 60 }, (_, n) => [`x-${n}`, 'y'])) },
];

/** Long enough that it is written in several slices. */
function finishedTask(): FakeTask {
	const task = new FakeTask(taskRequest({ taskId: id }));
	task.start();
	for (let n = 0; n < 1_100; n++) task.tokens(`token ${n} é`);
	task.end('stop');
	return task;
}

describe('every protocol', () => {
	const fronts = new Map<string, TestFront>();
	before(async () => {
		install(firstPair);
		for (const { name, host, tls, version } of ways) {
			const front = await startFront({ secure: tls }, undefined, host, null, undefined, { http2: version === 2, tls: tls ? files : null });
			front.tasks.tasks.set(id, finishedTask());
			fronts.set(name, front);
		}
	});
	after(() => {
		for (const front of fronts.values()) front.close();
	});

	const opened = (way: Way): { readonly front: TestFront; ask(ask: Ask): Promise<Answer>; close(): void } => {
		const front = fronts.get(way.name);
		assert.ok(front);
		if (way.version === 1) return { front, ask: (ask) => overHttp1(front, way.tls, ask), close: () => undefined };
		// A window that never fills: a reader that is behind gets its tokens merged, over any protocol.
		const settings = { initialWindowSize: windowBytes };
		const session = connectHttp2(`http${way.tls ? 's' : ''}://127.0.0.1:${front.port}`, { rejectUnauthorized: false, settings });
		session.once('connect', () => session.setLocalWindowSize(windowBytes));
		return { front, ask: (ask) => overHttp2(session, ask), close: () => session.close() };
	};

	it('answers every request alike, in status, headers and body', async () => {
		const answers = new Map<string, unknown[]>();
		for (const way of ways) {
			const { front, ask, close } = opened(way);
			const seen: unknown[] = [];
			for (const each of table) {
				const answer = await ask({ ...each, headers: { ...same, ...each.headers } });
				seen.push(comparable(answer, front.port));
			}
			close();
			answers.set(way.name, seen);
		}
		const [first, ...others] = ways;
		for (const { name } of others) {
			for (const [index, ask] of table.entries()) {
				const what = `${ask.method} ${ask.path.slice(0, 60)} over ${name}`;
				assert.deepEqual(answers.get(name)?.[index], answers.get(first?.name ?? '')?.[index], what);
			}
		}
	});

	it('is spoken on one port: HTTP/1.1, HTTP/2 with prior knowledge, an offer of h2c that is not taken, and one byte at a time', async () => {
		const front = fronts.get('HTTP/2 with prior knowledge');
		assert.ok(front);
		assert.equal((await overHttp1(front, false, { method: 'GET', path: '/health' })).status, 200);
		const offer = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQAAP__' };
		assert.equal((await overHttp1(front, false, { method: 'GET', path: '/health', headers: offer })).status, 200);
		const slow = await front.raw();
		for (const byte of 'PUT /health HTTP/1.1\r\nHost: localhost:') await slow.send(byte);
		assert.match(await slow.exchange(`${front.port}\r\nContent-Length: 0\r\n\r\n`), /^HTTP\/1\.1 405 /);
		const broken = await front.raw();
		await broken.send('PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n');
		assert.match(await broken.untilClosed(), /^HTTP\/1\.1 400 /);
	});

	it('with TLS is the one that client and daemon prefer together, and nothing below TLS 1.2', async () => {
		const negotiated = (name: string, options: object): Promise<string> =>
			new Promise((resolve) => {
				const socket = connectTls({ host: '127.0.0.1', port: fronts.get(name)?.port ?? 0, rejectUnauthorized: false, ...options }, () => {
					resolve(String(socket.alpnProtocol));
					socket.destroy();
				});
				socket.on('error', () => resolve('refused'));
			});
		assert.equal(await negotiated('HTTP/2 with TLS', { ALPNProtocols: ['http/1.1', 'h2'] }), 'h2');
		assert.equal(await negotiated('HTTP/2 with TLS', { ALPNProtocols: ['http/1.1'] }), 'http/1.1');
		assert.equal(await negotiated('HTTP/2 with TLS', {}), 'false');
		assert.equal(await negotiated('HTTP/2 with TLS', { maxVersion: 'TLSv1.1', minVersion: 'TLSv1' }), 'refused');
		assert.equal(await negotiated('HTTP/1.1 with TLS on uws', { maxVersion: 'TLSv1.1', minVersion: 'TLSv1' }), 'refused');
	});

	it('cuts off no stream of a peer that reads slowly, and holds no more of it than a slice', async () => {
		const way = ways[2] as Way;
		const front = fronts.get(way.name);
		assert.ok(front);
		const session = connectHttp2(`http://127.0.0.1:${front.port}`, { settings: { initialWindowSize: 1_000 } });
		const stream = session.request({ ':path': `/v2/tasks/${id}/events` });
		let bytes = 0;
		let text = '';
		for await (const part of stream as AsyncIterable<Buffer>) {
			bytes += part.length;
			text = `${text.slice(-200)}${part.toString()}`;
		}
		assert.ok(bytes > 40_000, String(bytes));
		assert.match(text, /event: end\n/);
		session.close();
	});

	it('ends one stream of HTTP/2 without the others, and tells its watcher', async () => {
		const front = fronts.get('HTTP/2 with prior knowledge');
		assert.ok(front);
		const live = front.tasks.add(taskRequest({ taskId: id.replace('57', '11') }));
		live.start();
		const session = connectHttp2(`http://127.0.0.1:${front.port}`);
		const open = (): Promise<ReturnType<ClientHttp2Session['request']>> =>
			new Promise((resolve) => {
				const stream = session.request({ ':path': `/v2/tasks/${live.request.taskId}/events` });
				stream.once('data', () => resolve(stream));
				stream.on('error', () => undefined);
			});
		const [left, stays] = [await open(), await open()];
		while (front.front.watchers < 2) await new Promise((resolve) => setImmediate(resolve));
		left.close(constants.NGHTTP2_CANCEL);
		while (front.front.watchers > 1) await new Promise((resolve) => setImmediate(resolve));
		let text = '';
		stays.setEncoding('utf8').on('data', (part: string) => (text += part));
		const ended = new Promise((resolve) => stays.once('end', resolve));
		await front.inTurn(() => {
			live.tokens('still here');
			live.end('stop');
		});
		await ended;
		assert.match(text, /still here/);
		session.close();
	});
});

for (const host of ['uws', 'node'] as const) {
	it(`a certificate that changes is served to new connections, and open streams go on: ${host}`, async () => {
		install(firstPair);
		const front = await startFront({ secure: true }, undefined, host, null, undefined, { http2: host === 'node', tls: files });
		const live = front.tasks.add(taskRequest({ taskId: id }));
		live.start();
		const served = (): Promise<string> =>
			new Promise((resolve, reject) => {
				const socket = connectTls({ host: '127.0.0.1', port: front.port, rejectUnauthorized: false }, () => {
					resolve(String(socket.getPeerCertificate().subject.CN));
					socket.destroy();
				});
				socket.on('error', reject);
			});
		const said = async (event: string): Promise<void> => {
			while (!front.lines.some((line) => line.event === event)) await new Promise((resolve) => setImmediate(resolve));
			front.lines.length = 0;
		};
		assert.equal(await served(), 'orchestratord test one');
		const stream = overHttp1(front, true, { method: 'GET', path: `/v2/tasks/${id}/events` });
		while (front.front.watchers === 0) await new Promise((resolve) => setImmediate(resolve));
		// A pair that does not fit is not used.
		install({ cert: secondPair.cert, key: firstPair.key });
		await said('certificate-refused');
		assert.equal(await served(), 'orchestratord test one');
		install(secondPair);
		await said('certificate-loaded');
		while ((await served()) !== 'orchestratord test two');
		await front.inTurn(() => {
			live.tokens('under the old one');
			live.end('stop');
		});
		const { status, body } = await stream;
		assert.equal(status, 200);
		assert.match(body, /under the old one/);
		assert.match(body, /event: end\n/);
		assert.equal((await overHttp1(front, true, { method: 'GET', path: '/health' })).status, 200);
		front.close();
	});
}

it('a certificate that cannot be used keeps the daemon from listening, in words', async () => {
	for (const host of ['uws', 'node'] as const) {
		for (const [pair, words] of [
			[{ cert: 'none', key: 'none' }, /cannot be used together/],
			[{ cert: firstPair.cert, key: secondPair.key }, /cannot be used together \(ERR_OSSL_X509_KEY_VALUES_MISMATCH\)/],
		] as const) {
			install(pair);
			await assert.rejects(startFront({}, undefined, host, null, undefined, { tls: files }), words);
		}
		const tls = { cert: join(folder, 'absent'), key: files.key };
		await assert.rejects(startFront({}, undefined, host, null, undefined, { tls }), /tls\.cert .*absent cannot be read \(ENOENT\)/);
	}
});
