/**
 * One test an attack, over real sockets, on both hosts: each is what docs/security.md says that it keeps out. Nothing here is
 * clever about the answer: an attack has failed when it changed nothing, learnt nothing, and the daemon is well afterwards.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { WebSocket } from 'ws';
import { taskRequest } from './fake-task.ts';
import { startFront, type TestFront } from './test-front.ts';

const id = '01890a5d-ac96-774b-bcce-b302099a8057';
const least = JSON.stringify({ model_ref: 'default', prompt: 'an innocent prompt' });
const page = { origin: 'https://evil.example' };

for (const host of ['uws', 'node'] as const) {
	describe(`an attack, over ${host}`, () => {
		let front: TestFront;
		before(async () => {
			front = await startFront({}, undefined, host, null, undefined, { headMs: 300, bodyMs: 300 });
			front.tasks.add(taskRequest({ taskId: id })).start();
		});
		after(() => front.close());
		/** Whatever it was: no task came of it, none went, no bug was met, and the next client is served. */
		afterEach(async () => {
			assert.equal(front.tasks.requests.length, 0, 'it became a task');
			assert.equal(front.tasks.tasks.get(id)?.state, 'running');
			assert.deepEqual(
				front.lines.filter(({ level }) => level === 'error'),
				[],
			);
			assert.equal((await front.fetch('/health')).status, 200);
		});

		const raw = async (bytes: string): Promise<string> => {
			const client = await front.raw();
			await client.send(bytes);
			const received = await client.untilClosed();
			client.end();
			return received;
		};
		const own = (): string => `Host: 127.0.0.1:${front.port}`;
		const statuses = (received: string): string[] => [...received.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status = '']) => status);

		it('by a form of a web page is refused, whatever the form calls its content', async () => {
			for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/json', '']) {
				for (const origin of [page.origin, 'null', `http://127.0.0.1:${front.port + 1}`, `http://localhost.evil.example:${front.port}`]) {
					const answer = await front.post('/v2/tasks', least, { 'content-type': type, origin });
					assert.deepEqual([answer.status, ((await answer.json()) as { code: string }).code], [403, 'FORBIDDEN'], `${type} ${origin}`);
				}
			}
			// Of a page of our own, what a form can send without asking.
			const own = { origin: `http://127.0.0.1:${front.port}`, 'content-type': 'text/plain' };
			assert.equal((await front.post('/v2/tasks', least, own)).status, 403);
			for (const path of [`/v2/tasks/${id}/cancel`, '/v2/pools/p1/drain', '/v2/config/reload'])
				assert.equal((await front.post(path, '{}', page)).status, 403, path);
		});

		it('by a name that was made to lead here (DNS rebinding) is refused for its Host', async () => {
			for (const name of [
				`evil.example:${front.port}`,
				'evil.example',
				`127.0.0.1.evil.example:${front.port}`,
				`localhost:${front.port + 1}`,
				'',
			]) {
				const answer = await raw(
					`POST /v2/tasks HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${least.length}\r\n\r\n${least}`,
				);
				assert.match(answer, /^HTTP\/1\.1 (403|400) /, name);
				assert.deepEqual(statuses(answer).slice(1), [], name);
			}
			// The same behind a Host of ours that comes first or second.
			for (const hosts of [`${own()}\r\nHost: evil.example`, `Host: evil.example\r\n${own()}`]) {
				const [status] = statuses(await raw(`GET /v2/tasks HTTP/1.1\r\n${hosts}\r\nConnection: close\r\n\r\n`));
				assert.ok(status === undefined || status === '400' || status === '403', `${hosts}: ${status}`);
			}
		});

		it('by a WebSocket of a foreign page is refused at its upgrade', async () => {
			for (const headers of [page, { origin: 'null' }, { host: 'evil.example' }]) {
				const status = await new Promise<number | string>((resolve) => {
					const socket = new WebSocket(`ws://127.0.0.1:${front.port}/v2/ws`, ['orchestratord.v2'], { headers });
					socket.on('open', () => resolve('open'));
					socket.on('unexpected-response', (request, response) => {
						resolve(response.statusCode ?? 0);
						request.destroy();
					});
					socket.on('error', () => undefined);
				});
				assert.equal(status, 403);
			}
		});

		it('by a request inside a request (smuggling) is not two requests: lengths that disagree are refused or end the connection', async () => {
			const inner = `POST /v2/tasks HTTP/1.1\r\n${own()}\r\nContent-Type: application/json\r\nContent-Length: ${least.length}\r\n\r\n${least}`;
			const outer = (headers: string, body: string): string =>
				`POST /v2/tokenize HTTP/1.1\r\n${own()}\r\nContent-Type: application/json\r\n${headers}\r\n\r\n${body}`;
			const ambiguous = {
				'length and chunks': outer(`Content-Length: 5\r\nTransfer-Encoding: chunked`, `0\r\n\r\n${inner}`),
				'chunks and length': outer(`Transfer-Encoding: chunked\r\nContent-Length: ${5 + inner.length}`, `0\r\n\r\n${inner}`),
				'two lengths': outer(`Content-Length: 0\r\nContent-Length: ${inner.length}`, inner),
				'a list of lengths': outer(`Content-Length: 0, ${inner.length}`, inner),
				'a length with a sign': outer('Content-Length: +0', inner),
				'a negative length': outer('Content-Length: -1', inner),
				'a length in hexadecimal': outer('Content-Length: 0x0', inner),
				'a length beyond all numbers': outer('Content-Length: 18446744073709551616', inner),
				'an encoding that is none': outer('Transfer-Encoding: xchunked', `0\r\n\r\n${inner}`),
				'an encoding twice': outer('Transfer-Encoding: chunked, identity', `0\r\n\r\n${inner}`),
				'a space before the colon': outer(`Content-Length : 0\r\nTransfer-Encoding : chunked`, `0\r\n\r\n${inner}`),
				'a folded header': outer(`X: y\r\n Content-Length: 0`, inner),
				'a chunk beyond all numbers': outer('Transfer-Encoding: chunked', `fffffffffffffffff\r\n${inner}`),
				'a chunk with a sign': outer('Transfer-Encoding: chunked', `-1\r\n${inner}`),
				'a bare carriage return': outer('X: a\rContent-Length: 0', inner),
			};
			for (const [name, bytes] of Object.entries(ambiguous)) {
				const client = await front.raw();
				await client.send(bytes);
				client.socket.end();
				const answered = statuses(await client.untilClosed());
				assert.ok(answered.length <= 1, `${name}: ${answered.join(' ')}`);
				assert.equal(front.tasks.requests.length, 0, `${name}: what was inside became a task`);
			}
		});

		it('by header injection puts nothing into an answer: what is echoed is checked, and no line can be broken', async () => {
			for (const value of ['a%0d%0aX-Evil: 1', 'a b', 'ä', '<script>', 'x'.repeat(65), 'a\tb']) {
				const answer = await front.fetch('/health', {
					headers: { 'x-correlation-id': encodeURI(value).includes('%C3') ? encodeURI(value) : value },
				});
				assert.match(answer.headers.get('x-correlation-id') ?? '', /^[0-9a-f-]{36}$/, value);
				assert.equal(answer.headers.get('x-evil'), null);
			}
			for (const path of ['/health%0d%0aX-Evil:%201', '/v2/tasks/%0d%0aX-Evil:%201', `/v2/tasks/${id}/events?verbose=%0d%0aX-Evil:1`]) {
				const answer = await front.fetch(path);
				assert.equal(answer.headers.get('x-evil'), null, path);
				assert.ok(answer.status === 404 || answer.status === 400, path);
				await answer.body?.cancel();
			}
		});

		it('by a path that climbs finds nothing: no path of a request is one of a file', async () => {
			const climbs = [
				'/../../etc/passwd',
				'/..%2f..%2fetc%2fpasswd',
				'/v2/../../etc/passwd',
				'/%2e%2e/%2e%2e/etc/passwd',
				'//etc/passwd',
				'/v2/tasks/..%2f..%2fetc%2fpasswd',
			];
			const more = [
				'/v2/pools/..%2f..%2f..%2fetc%2fpasswd/logs',
				'/v2/pools/%2e%2e/logs',
				'/v2/tasks/%00',
				'/v2/pools/p1%00.log/logs',
				'/\\..\\..\\etc\\passwd',
			];
			for (const path of [...climbs, ...more]) {
				const received = await raw(`GET ${path} HTTP/1.1\r\n${own()}\r\nConnection: close\r\n\r\n`);
				assert.match(received, /^HTTP\/1\.1 (404|400) /, path);
				assert.ok(!received.includes('root:'), path);
			}
		});

		it('by JSON that is small to send and large to read is refused before it is read', async () => {
			const bombs = {
				deep: '['.repeat(400_000),
				'deep and closed': `${'['.repeat(200_000)}${']'.repeat(200_000)}`,
				'deep objects': '{"a":'.repeat(100_000),
				wide: `{"model_ref":"default","prompt":"x","placement":{"avoid_pools":[${'"p",'.repeat(200_000)}"p"]}}`,
				'many names': `{${Array.from({ length: 70_000 }, (_, n) => `"k${n}":1`).join(',')}}`,
				'long name': `{"${'n'.repeat(500_000)}":1}`,
				'a number without end': `{"model_ref":"default","prompt":"x","seed":${'9'.repeat(500_000)}}`,
			};
			for (const [name, body] of Object.entries(bombs)) {
				const began = process.cpuUsage();
				const answer = await front.post('/v2/tasks', body);
				const { code, message } = (await answer.json()) as { code: string; message: string };
				const { user } = process.cpuUsage(began);
				assert.deepEqual([answer.status, code], [400, 'INVALID_PARAMS'], `${name}: ${message}`);
				assert.ok(message.length < 1_000, name);
				assert.ok(user < 2_000_000, `${name} took ${user} µs`);
			}
		});

		it('by names of the language (__proto__, constructor) is refused as any unknown field, and changes no object', async () => {
			for (const name of ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty']) {
				for (const body of [
					`{"model_ref":"default","prompt":"x","${name}":{"polluted":true}}`,
					`{"model_ref":"default","prompt":"x","sampling":{"${name}":{"polluted":true}}}`,
					`{"model_ref":"default","prompt":"x","placement":{"${name}":{"polluted":true}}}`,
				]) {
					const answer = await front.post('/v2/tasks', body);
					assert.equal(answer.status, 400, body);
					assert.ok(((await answer.json()) as { message: string }).message.includes(name), body);
				}
				assert.equal((await front.fetch(`/v2/tasks?${name}=1`)).status, 400);
				assert.equal((await front.fetch(`/v2/pools/${name}`)).status, 404);
				assert.equal((await front.fetch(`/${name}`)).status, 404);
				assert.equal((await front.fetch('/health', { headers: { [name.replaceAll('_', 'x')]: 'y' } })).status, 200);
			}
			assert.equal(Reflect.get({}, 'polluted'), undefined);
		});

		it('by a WebSocket that breaks its protocol ends that connection alone', async () => {
			const upgrade = `GET /v2/ws HTTP/1.1\r\n${own()}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
			const mask = Buffer.alloc(4);
			const broken = {
				// uWebSockets waits for the rest of what it takes for a masked one
				...(host === 'node' ? { 'a frame without a mask': Buffer.from([0x81, 0x02, 0x7b, 0x7d]) } : {}),
				'reserved bits': Buffer.concat([Buffer.from([0xf1, 0x80]), mask]),
				'an unknown opcode': Buffer.concat([Buffer.from([0x83, 0x80]), mask]),
				'a ping in pieces': Buffer.concat([Buffer.from([0x09, 0x80]), mask]),
				'a ping that is too long': Buffer.concat([Buffer.from([0x89, 0xfe, 0x01, 0x00]), mask, Buffer.alloc(256)]),
				'a length beyond all memory': Buffer.concat([Buffer.from([0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), mask]),
				'text that is no UTF-8': Buffer.concat([Buffer.from([0x81, 0x82]), mask, Buffer.from([0xc3, 0x28])]),
			};
			for (const [name, frame] of Object.entries(broken)) {
				const client = await front.raw();
				await client.send(upgrade);
				await client.until((received) => received.includes('\r\n\r\n'));
				await client.send(frame);
				assert.match(await client.untilClosed(), /^HTTP\/1\.1 101 /, name);
			}
			const large = new WebSocket(`ws://127.0.0.1:${front.port}/v2/ws`, ['orchestratord.v2']);
			const closed = new Promise<number>((resolve) => large.on('close', resolve));
			large.on('open', () => large.send('x'.repeat(150_000)));
			assert.equal(await closed, 1009);
		});

		it('by a page that asks whether it may (preflight) is told of nothing that it may, while no origin is configured', async () => {
			const asks = { ...page, 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' };
			for (const [method, path, headers] of [
				['OPTIONS', '/v2/tasks', asks],
				['OPTIONS', '/v1/chat/completions', { ...asks, 'access-control-request-private-network': 'true' }],
				['GET', '/v2/pools', page],
				['GET', '/health', {}],
			] as const) {
				const answer = await front.fetch(path, { method, headers });
				const told = [...answer.headers.keys()].filter((name) => name.startsWith('access-control-'));
				assert.deepEqual(told, [], `${method} ${path}`);
				if (headers !== undefined && 'origin' in headers) assert.equal(answer.status, 403);
			}
		});

		it('by a body that is small as it is packed, and large unpacked, is refused as what it is: nothing is unpacked', async () => {
			const packed = gzipSync(JSON.stringify({ model_ref: 'default', prompt: 'x'.repeat(900_000) }));
			assert.ok(packed.length < 2_000);
			for (const encoding of ['gzip', 'deflate', 'br', 'identity']) {
				const answer = await front.fetch('/v2/tasks', {
					method: 'POST',
					body: packed,
					headers: { 'content-type': 'application/json', 'content-encoding': encoding },
				});
				assert.deepEqual([answer.status, ((await answer.json()) as { code: string }).code], [400, 'INVALID_PARAMS']);
			}
		});

		it('by a method that would have the daemon be a proxy, or tell what it was sent, has it be neither', async () => {
			for (const line of [
				'CONNECT 169.254.169.254:80',
				'GET http://169.254.169.254/latest/meta-data/',
				'TRACE /v2/pools',
				'TRACK /v2/pools',
				'DEBUG /v2/pools',
			]) {
				const received = await raw(`${line} HTTP/1.1\r\n${own()}\r\nConnection: close\r\nX-Secret: told-to-nobody\r\n\r\n`);
				assert.doesNotMatch(received, /told-to-nobody|HTTP\/1\.1 [23]/, line);
			}
		});

		it('by a body that comes a byte at a time is cut off after limits.body_ms, and holds no room', async () => {
			const client = await front.raw();
			await client.send(`POST /v2/tasks HTTP/1.1\r\n${own()}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{`);
			const drip = setInterval(() => client.socket.write(' '), 20);
			const received = await client.untilClosed();
			clearInterval(drip);
			assert.equal(received, '');
		});

		it('by more headers than limits.header_count is refused in words', async () => {
			const headers = Array.from({ length: 60 }, (_, n) => `X-${n}: y`).join('\r\n');
			assert.match(
				await raw(`GET /v2/tasks HTTP/1.1\r\n${own()}\r\nConnection: close\r\n${headers}\r\n\r\n`),
				/^HTTP\/1\.1 400 [\s\S]*at most 50 are taken/,
			);
		});

		if (host === 'node') {
			it('by a head that comes a byte at a time is cut off after limits.header_ms', async () => {
				const client = await front.raw();
				await client.send(`GET /health HTTP/1.1\r\n${own()}\r\nX-Slow: `);
				const drip = setInterval(() => client.socket.write('a'), 20);
				assert.match(await client.untilClosed(), /^(HTTP\/1\.1 408 |$)/);
				clearInterval(drip);
			});
		}
	});
}
