/**
 * The HTTP surface under bytes and requests that nobody would send on purpose. Whatever comes: a published answer or a closed
 * connection, no bug, nothing left behind, and the next client is served.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { type FailureCode, failureCodes } from '../../src/actors/serving/failure.ts';
import { statusFor } from '../../src/transport/api/errors.ts';
import { taskBodySchema } from '../../src/transport/api/schemas.ts';
import type { HostPreference } from '../../src/transport/http/choose-host.ts';
import { taskRequest } from './fake-task.ts';
import { dechunked, type RawClient } from './raw-client.ts';
import { startFront, type TestFront } from './test-front.ts';

const known = '01890a5d-ac96-774b-bcce-b302099a8057';
const lastSeq = 5;
let front: TestFront;

async function openFront(preference: HostPreference): Promise<void> {
	front = await startFront({ bodyBytesMax: 100_000 }, undefined, preference);
	const task = front.tasks.add(taskRequest({ taskId: known }));
	await front.inTurn(() => {
		task.start();
		for (let i = 0; i < lastSeq - 2; i++) task.tokens(`${i} `);
		task.end();
	});
	assert.equal(task.log.lastSeq, lastSeq);
}

/** What must hold however a run ended. */
async function isWell(): Promise<void> {
	assert.deepEqual(
		front.lines.filter(({ level }) => level === 'error'),
		[],
	);
	const { status } = await front.fetch('/health');
	assert.equal(status, 200);
}

interface Answer {
	readonly status: number;
	readonly headers: ReadonlyMap<string, string>;
	readonly body: string;
}

function answerOf(received: string): Answer {
	const head = received.slice(0, received.indexOf('\r\n\r\n'));
	const [statusLine = '', ...lines] = head.split('\r\n');
	const headers = new Map(lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]));
	const rest = received.slice(head.length + 4);
	const chunked = headers.get('transfer-encoding') === 'chunked';
	const body = chunked ? dechunked(received) : rest.slice(0, Number(headers.get('content-length') ?? 0));
	return { status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1]), headers, body: Buffer.from(body, 'latin1').toString('utf8') };
}

type Envelope = { readonly code: FailureCode; readonly message: string; readonly retriable: boolean; readonly correlation_id: string };

/** An answer of ours: status, correlation id, and for a failure the envelope under its code. */
function isPublished({ status, headers, body }: Answer): void {
	assert.match(headers.get('x-correlation-id') ?? '', /^[A-Za-z0-9._-]{1,64}$/);
	assert.ok(status >= 200 && status < 500, `status ${status}: ${body}`);
	if (status < 400) return;
	const told = JSON.parse(body) as Envelope & { readonly error?: Envelope };
	const envelope = told.error ?? told;
	assert.ok(failureCodes.includes(envelope.code));
	assert.ok(status === 405 || statusFor(envelope.code) === status, `${envelope.code} with ${status}`);
	assert.equal(envelope.correlation_id, headers.get('x-correlation-id'));
	assert.equal(typeof envelope.retriable, 'boolean');
	assert.ok(envelope.message.length > 0 && envelope.message.length < 2000, envelope.message.slice(0, 200));
}

async function ask(client: RawClient, request: string | Buffer): Promise<Answer> {
	const from = client.received.length;
	await client.send(request);
	await client.until((received) => whole(received.slice(from)));
	return answerOf(client.received.slice(from));
}

function whole(text: string): boolean {
	const head = text.indexOf('\r\n\r\n');
	if (head < 0) return false;
	const length = /content-length: (\d+)/i.exec(text.slice(0, head))?.[1];
	if (length !== undefined) return text.length >= head + 4 + Number(length);
	return /transfer-encoding: chunked/i.test(text.slice(0, head)) ? text.endsWith('0\r\n\r\n') : true;
}

const odd = fc.constantFrom(
	'',
	'%',
	'%00',
	'%2e%2e',
	'..',
	'%F0%28',
	'a'.repeat(3000),
	'%20',
	known,
	known.toUpperCase(),
	'{id}',
	'__proto__',
	'-1',
);
const names = fc.constantFrom(
	'v2',
	'v1',
	'tasks',
	'pools',
	'events',
	'cancel',
	'result',
	'explain',
	'preview',
	'tokenize',
	'meta',
	'health',
	'metrics',
	'chat',
	'completions',
	'embeddings',
	'rerank',
	'models',
);
const path = fc.array(fc.oneof(names, odd), { maxLength: 5 }).map((segments) => `/${segments.join('/')}`);
const query = fc.oneof(
	fc.constant(''),
	fc
		.array(fc.tuple(fc.constantFrom('limit', 'cursor', 'state', 'verbose', 'wait_ms', 'x', '__proto__', '%'), odd), { maxLength: 4 })
		.map((pairs) => `?${pairs.map(([name, value]) => `${name}=${value}`).join('&')}`),
);
const methods = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'];
/** Node's own parser knows methods by name, and refuses others by itself. */
const strangeMethods: Readonly<Record<HostPreference, readonly string[]>> = { auto: [], uws: ['BREW', 'get'], node: ['SEARCH', 'LOCK'] };
const value = fc.string({ unit: 'grapheme-ascii', maxLength: 60 }).map((text) => text.trim());
const header = fc.tuple(
	fc.constantFrom(
		'Last-Event-ID',
		'Idempotency-Key',
		'X-Correlation-Id',
		'Accept',
		'Content-Type',
		'Authorization',
		'X-Odd',
		'Cookie',
		'Range',
	),
	value,
);

for (const preference of ['uws', 'node'] as const) {
	describe(`the HTTP surface over ${preference}`, () => {
		before(() => openFront(preference));
		after(() => front.close());

		it('answers any request of any shape as published, and is well afterwards', async () => {
			const client = await front.raw();
			await fc.assert(
				fc.asyncProperty(
					fc.constantFrom(...methods, ...strangeMethods[preference]),
					path,
					query,
					fc.array(header, { maxLength: 6 }),
					fc.oneof(fc.constant(''), fc.json(), fc.string()),
					async (verb, where, ask_, headers, body) => {
						const bytes = Buffer.from(body);
						const lines = headers.map(([name, text]) => `${name}: ${text}\r\n`).join('');
						const request = `${verb} ${where}${ask_} HTTP/1.1\r\nHost: 127.0.0.1:${front.port}\r\n${lines}Content-Length: ${bytes.length}\r\n\r\n`;
						isPublished(await ask(client, Buffer.concat([Buffer.from(request), bytes])));
					},
				),
				{ numRuns: 400 },
			);
			await isWell();
		});

		it('takes any fields with any values in a task, or says what is wrong with them', async () => {
			const client = await front.raw();
			const number = fc.constantFrom(0, -0, -1, 0.5, 1e-320, 1e308, 2 ** 31, 2 ** 32 - 2, 2 ** 53, 2 ** 64, -(2 ** 63));
			const strange = fc.oneof(
				number.map(String),
				fc.constantFrom('1e999', '-1e999', '1e-999', '9'.repeat(400), '"\\ud800"', '"\\u0000"', 'null', '[]', '{}', '[[]]', '""', 'true'),
				fc.json({ maxDepth: 2 }),
			);
			const field = fc.tuple(fc.constantFrom(...Object.keys(taskBodySchema.properties), '__proto__', 'constructor', ''), strange);
			await fc.assert(
				fc.asyncProperty(fc.array(field, { maxLength: 4 }), async (fields) => {
					// a name that is given twice means the last one, as in every parser
					const all = [['model_ref', '"default"'], ['prompt', '"x"'], ...fields];
					const body = `{${all.map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(',')}}`;
					const request = `POST /v2/tasks HTTP/1.1\r\nHost: 127.0.0.1:${front.port}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
					const answer = await ask(client, request);
					assert.ok([202, 400].includes(answer.status), `${answer.status} for ${body}`);
					isPublished(answer);
				}),
				{ numRuns: 400 },
			);
			await isWell();
		});

		it('answers or closes for any bytes, and leaves nothing behind', async () => {
			const body = '{"model_ref":"default","prompt":"x"}';
			const host = `Host: 127.0.0.1:${front.port}\r\n`;
			const templates = [
				`GET /health HTTP/1.1\r\n${host}\r\n`,
				`GET /v2/tasks/${known}/events HTTP/1.1\r\n${host}Last-Event-ID: 2\r\n\r\n`,
				`POST /v2/tasks HTTP/1.1\r\n${host}Content-Length: ${body.length}\r\n\r\n${body}`,
				`POST /v2/tasks HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n10\r\n${body.slice(0, 16)}\r\n14\r\n${body.slice(16)}\r\n0\r\n\r\n`,
				`GET /v2/ws HTTP/1.1\r\n${host}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
			];
			const junk = fc.oneof(
				fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
				fc
					.constantFrom(
						'\r\n',
						'\r\n\r\n',
						'\n',
						':',
						' ',
						'0\r\n',
						'FFFFFFFFFFFFFFFF\r\n',
						'Content-Length: 5\r\n',
						'Content-Length: -1\r\n',
					)
					.map((text) => Buffer.from(text)),
				fc
					.constantFrom('Transfer-Encoding: chunked\r\n', 'Content-Length: 99999999999999999999\r\n', 'Expect: 100-continue\r\n')
					.map((text) => Buffer.from(text)),
			);
			const change = fc.record({ at: fc.nat(400), cut: fc.nat(8), put: junk });
			await fc.assert(
				fc.asyncProperty(fc.constantFrom(...templates), fc.array(change, { minLength: 1, maxLength: 4 }), async (template, changes) => {
					let bytes = Buffer.from(template);
					for (const { at, cut, put } of changes) {
						const from = at % (bytes.length + 1);
						bytes = Buffer.concat([bytes.subarray(0, from), put, bytes.subarray(from + cut)]);
					}
					const client = await front.raw();
					await client.send(bytes);
					client.socket.end();
					await client.untilClosed();
					assert.doesNotMatch(client.received, /HTTP\/1\.1 500/);
				}),
				{ numRuns: 300 },
			);
			assert.equal(front.front.watchers, 0);
			await isWell();
		});

		it('gives back the room of bodies that never became whole', async () => {
			const half = 'x'.repeat(90_000);
			for (let round = 0; round < 150; round++) {
				const client = await front.raw();
				await client.send(`POST /v2/tasks HTTP/1.1\r\nHost: 127.0.0.1:${front.port}\r\nContent-Length: 99000\r\n\r\n${half}`);
				client.end();
				await client.untilClosed();
			}
			const last = await front.raw();
			const body = JSON.stringify({ model_ref: 'default', prompt: half });
			await last.send(
				`POST /v2/tasks HTTP/1.1\r\nHost: 127.0.0.1:${front.port}\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 50_000)}`,
			);
			assert.equal((await ask(last, body.slice(50_000))).status, 202);
			await isWell();
		});
	});

	describe(`Last-Event-ID over ${preference}`, () => {
		before(() => openFront(preference));
		after(() => front.close());

		it('is an id of this task, or refused; never a stream from anywhere else', async () => {
			const client = await front.raw();
			const garbage = fc.oneof(
				value,
				fc.constantFrom(
					'0x1',
					'1e0',
					'+1',
					'-0',
					'1.0',
					'1,1',
					'1 2',
					'1;',
					'null',
					'NaN',
					'Infinity',
					'9'.repeat(400),
					'00000000000000000001',
				),
				fc.integer({ min: -10, max: 20 }).map(String),
			);
			await fc.assert(
				fc.asyncProperty(garbage, async (id) => {
					const bytes = Buffer.from(
						`GET /v2/tasks/${known}/events HTTP/1.1\r\nHost: 127.0.0.1:${front.port}\r\nLast-Event-ID: ${id}\r\n\r\n`,
					);
					const answer = await ask(client, bytes);
					isPublished(answer);
					const seq = id === '' ? 0 : /^\d{1,15}$/.test(id) ? Number(id) : Number.NaN;
					if (!(seq <= lastSeq)) {
						assert.equal(answer.status, 400, id);
						return;
					}
					// Nothing will follow the end of a task that is over.
					if (seq === lastSeq) {
						assert.equal(answer.status, 204, id);
						return;
					}
					assert.equal(answer.status, 200, id);
					const ids = [...answer.body.matchAll(/^id: (\d+)$/gm)].map((match) => Number(match[1]));
					assert.deepEqual(
						ids,
						Array.from({ length: lastSeq - seq }, (_, i) => seq + 1 + i),
					);
				}),
				{ numRuns: 300 },
			);
			await isWell();
		});

		it('given twice is refused: two places to resume from are none', async () => {
			const client = await front.raw();
			const twice = `GET /v2/tasks/${known}/events HTTP/1.1\r\nHost: 127.0.0.1:${front.port}\r\nLast-Event-ID: 1\r\nLast-Event-ID: 2\r\n\r\n`;
			assert.equal((await ask(client, twice)).status, 400);
		});
	});
}
