/** Generations over HTTP against a server that answers byte by byte as the test says: ends, errors, cuts, cancels, connections. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { ReplicaFacts } from '../../src/actors/serving/messages.ts';
import { formatUpstream } from '../../src/engines/upstream/upstream-address.ts';
import { UpstreamDecodePort } from '../../src/engines/upstream/upstream-decode-port.ts';
import { upstreamAdapters } from '../../src/engines/upstream-adapters.ts';
import { replicaFacts } from '../serving/task-requests.ts';
import { begin, generate, raw } from './decode-world.ts';
import { chunk, eventsHead, RawUpstream } from './raw-upstream.ts';

// openapi.yaml of github.com/openai/openai-openapi: CreateCompletionResponse, one a chunk, and CompletionUsage.
const delta = (text: string): string =>
	chunk(`data: ${JSON.stringify({ id: 'c', choices: [{ index: 0, text, finish_reason: null }] })}\n\n`);
const last = (reason: string): string =>
	chunk(`data: ${JSON.stringify({ id: 'c', choices: [{ index: 0, text: '', finish_reason: reason }] })}\n\n`);
const usage = (tokensIn: number, tokensOut: number): string =>
	chunk(`data: ${JSON.stringify({ id: 'c', choices: [], usage: { prompt_tokens: tokensIn, completion_tokens: tokensOut } })}\n\n`);
const done = `${chunk('data: [DONE]\n\n')}0\r\n\r\n`;
const whole = `${eventsHead}${delta('a')}${delta('b"\n')}${last('stop')}${usage(3, 2)}${done}`;

describe('a generation over HTTP', () => {
	let server: RawUpstream;
	let port: UpstreamDecodePort;
	let replica: ReplicaFacts;
	const at = (url: string, key: string | null = null, connectMs = 2_000): ReplicaFacts => ({
		...replicaFacts,
		replicaId: 'up-0',
		engine: 'openai',
		address: formatUpstream({ engine: 'openai', url, key, model: 'm', connectMs, found: {} }),
	});

	beforeEach(async () => {
		server = new RawUpstream();
		port = new UpstreamDecodePort(upstreamAdapters);
		replica = at(await server.listen());
	});
	afterEach(async () => {
		port.close();
		assert.equal(port.inFlight, 0);
		await server.close();
	});

	it('counts a delta once, however long its text is', async () => {
		const long = '\u{1f600}"x'.repeat(40_000);
		server.answer = ({ socket }) => void socket.write(`${eventsHead}${delta('a')}${delta(long)}${last('stop')}${usage(3, 2)}${done}`);
		const task = await generate(port, replica);
		assert.equal(task.text, `a${long}`);
		assert.ok(task.pieces.length > 3, 'no record is as long');
		assert.deepEqual([task.tokens, task.usage.tokensOut], [2, 2]);
	});

	it('is asked for as the API says, with its key, and told as it was answered', async () => {
		server.answer = ({ socket }) => void socket.write(whole);
		const { authority } = { authority: /\d+$/.exec(JSON.parse(replica.address.slice('upstream:'.length)).url)?.[0] };
		const keyed = at(`http://127.0.0.1:${authority}/base/`, 'sk-secret');
		const task = await generate(port, keyed, { input: raw('hello "there"'), maxTokens: 9, seed: 5, sampling: { stop: ['x'] } });
		assert.equal(task.end?.type, 'decode-ended');
		assert.deepEqual(
			task.pieces.map(({ text, tokens }) => [text, tokens]),
			[
				['a', 1],
				['b"\n', 1],
			],
		);
		assert.deepEqual([task.usage.tokensIn, task.usage.tokensOut], [3, 2]);
		const { head, body } = server.asked[0] as { head: string; body: string };
		assert.match(head, /^POST \/base\/v1\/completions HTTP\/1\.1\r\nhost: 127\.0\.0\.1:\d+\r\n/);
		assert.match(head, /\r\nauthorization: Bearer sk-secret\r\n/);
		assert.deepEqual(JSON.parse(body), {
			model: 'm',
			stream: true,
			stream_options: { include_usage: true },
			max_tokens: 9,
			seed: 5,
			temperature: 0,
			top_p: 1,
			stop: ['x'],
			prompt: 'hello "there"',
		});
	});

	it('ends where the engine says so, though answers before it have ended in the same bytes', async () => {
		const answer = (id: string): string => {
			const said = (text: string, reason: string | null): string =>
				chunk(`data: ${JSON.stringify({ id, choices: [{ index: 0, text, finish_reason: reason }] })}\n\n`);
			return `${eventsHead}${said('a', null)}${said('b', null)}${said('', null)}${said('c', 'length')}${usage(3, 4)}${done}`;
		};
		for (const id of ['one', 'two', 'three']) {
			server.answer = ({ socket }) => void socket.write(answer(id));
			const task = await generate(port, replica, { input: raw('x') });
			assert.deepEqual([task.text, task.end?.type, task.usage.tokensOut], ['abc', 'decode-ended', 4]);
			assert.equal(task.end?.type === 'decode-ended' && task.end.finishReason, 'length');
			assert.equal(
				task.pieces.reduce((sum, { tokens }) => sum + tokens, 0),
				4,
			);
		}
	});

	it('is told the same wherever its answer is cut', async () => {
		for (let cut = 1; cut < whole.length; cut += 7) {
			server.answer = ({ socket }) => {
				socket.write(whole.slice(0, cut));
				setImmediate(() => socket.write(whole.slice(cut)));
			};
			const task = await generate(port, replica);
			assert.deepEqual([task.end?.type, task.text, task.tokens], ['decode-ended', 'ab"\n', 2], `cut at ${cut}`);
		}
		assert.equal(server.connections, 1, 'one connection carried them all');
	});

	it('goes over a Unix socket as well', async () => {
		const folder = mkdtempSync(join(tmpdir(), 'orchd-up-'));
		const other = new RawUpstream();
		try {
			const url = await other.listen(join(folder, 'e.sock'));
			other.answer = ({ socket }) => void socket.write(whole);
			assert.equal((await generate(port, at(url))).text, 'ab"\n');
		} finally {
			port.close();
			await other.close();
			rmSync(folder, { recursive: true });
		}
	});

	const broken: Readonly<Record<string, readonly [answer: string, code: string, words: RegExp]>> = {
		'ends without its end': [`${eventsHead}${delta('a')}0\r\n\r\n`, 'WORKER_RESET', /ended without its end/],
		'is cut within its body': [`${eventsHead}${delta('a')}`, 'WORKER_RESET', /within the body/],
		'is no HTTP': ['garbage\r\n\r\n', 'WORKER_RESET', /cannot be read/],
		'is no event stream': [
			'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi',
			'WORKER_RESET',
			/text\/html, not text\/event-stream/,
		],
		'has an event that is no JSON': [`${eventsHead}${chunk('data: {"secret\n\n')}`, 'WORKER_RESET', /an event that is no JSON/],
		'has an error in its stream': [
			`${eventsHead}${chunk('data: {"error":{"message":"secret","type":"server_error"}}\n\n')}`,
			'WORKER_RESET',
			/error: server_error/,
		],
		'is 400': [
			'HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nContent-Length: 51\r\n\r\n{"error":{"message":"secret","type":"invalid_value"}',
			'INVALID_PARAMS',
			/400/,
		],
		'is 401': ['HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n', 'POOL_UNAVAILABLE', /the key of the pool/],
		'is 404': ['HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n', 'POOL_UNAVAILABLE', /404/],
		'is 409': ['HTTP/1.1 409 No\r\nContent-Length: 0\r\n\r\n', 'POOL_UNREADY', /409/],
		'is 429': ['HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n', 'ADMISSION_REJECT', /429/],
		'is 500': ['HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n', 'WORKER_RESET', /500/],
		'is 503': ['HTTP/1.1 503 No\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n', 'POOL_UNREADY', /503/],
		'is 504': ['HTTP/1.1 504 No\r\nContent-Length: 0\r\n\r\n', 'DECODE_TIMEOUT', /504/],
	};
	for (const [what, [answer, code, words]] of Object.entries(broken)) {
		it(`whose answer ${what} fails with ${code}, once, and repeats nothing of it`, async () => {
			server.answer = ({ socket }) => void socket.end(answer);
			const task = await generate(port, replica);
			assert.equal(task.failure?.code, code);
			assert.match(task.failure.message, words);
			assert.doesNotMatch(task.failure.message, /secret/);
			assert.equal(server.asked.length, 1);
			if (what === 'is 429') assert.equal(task.failure.retryAfterMs, 7_000);
		});
	}

	it('finds out that nobody listens, and that the request has not begun', async () => {
		const other = new RawUpstream();
		const url = await other.listen();
		await other.close();
		const task = await generate(port, at(url));
		assert.ok(task.end?.type === 'decode-failed');
		assert.deepEqual([task.end.began, task.end.slot, task.end.failure.code], ['no', 'free', 'WORKER_RESET']);
		assert.match(task.end.failure.message, /no connection to the engine: ECONNREFUSED/);
	});

	it('gives a connection that does not come up its time, TLS included', async () => {
		const { url } = JSON.parse(replica.address.slice('upstream:'.length)) as { url: string };
		const task = await generate(port, at(url.replace('http:', 'https:'), null, 60));
		assert.ok(task.end?.type === 'decode-failed');
		assert.deepEqual([task.end.began, task.end.slot], ['no', 'free']);
		assert.match(task.end.failure.message, /no connection to the engine: no connection within 60 ms/);
	});

	it('uses a connection that was kept, and another where none is', async () => {
		const held: (() => void)[] = [];
		server.answer = ({ socket }) => void held.push(() => socket.write(whole));
		const both = [generate(port, replica), generate(port, replica)];
		await server.hasBeenAsked(2);
		for (const answer of held) answer();
		await Promise.all(both);
		server.answer = ({ socket }) => void socket.write(whole);
		for (let again = 0; again < 3; again += 1) assert.equal((await generate(port, replica)).text, 'ab"\n');
		assert.equal(server.connections, 2);
	});

	it('asks again, once and on a new connection, when a kept one turns out to be closed', async () => {
		server.answer = ({ socket }) => void socket.write(whole);
		await generate(port, replica);
		let dropped = 0;
		server.answer = ({ socket, connection }) => {
			if (connection > 0) return void socket.write(whole);
			dropped += 1;
			socket.destroy();
		};
		assert.equal((await generate(port, replica)).text, 'ab"\n');
		assert.deepEqual([dropped, server.connections], [1, 2]);
		server.answer = ({ socket }) => void socket.destroy();
		const task = await generate(port, replica);
		assert.ok(task.end?.type === 'decode-failed');
		assert.equal(server.connections, 3, 'no more than once');
	});

	it('is given up by closing our side, and told as cancelled once the engine has closed its own', async () => {
		server.answer = ({ socket }) => void socket.write(`${eventsHead}${delta('a')}`);
		const task = begin(port, replica);
		await task.hasPieces(1);
		task.generation?.cancel();
		task.generation?.cancel();
		assert.equal((await task.hasEnded()).type, 'decode-cancelled');
		assert.deepEqual(server.ended, [0]);
		assert.equal(task.usage.tokensOut, 1);
		assert.deepEqual(task.afterEnd, []);
	});

	it('is cancelled before any answer has come, too', async () => {
		const task = begin(port, replica);
		while (server.asked.length === 0) await new Promise(setImmediate);
		task.generation?.cancel();
		assert.equal((await task.hasEnded()).type, 'decode-cancelled');
	});

	it('that was abandoned tells its task nothing more', async () => {
		server.answer = ({ socket }) => void socket.write(`${eventsHead}${delta('a')}`);
		const task = begin(port, replica);
		await task.hasPieces(1);
		task.generation?.abandon();
		while (port.inFlight > 0) await new Promise(setImmediate);
		assert.equal(task.end, null);
	});

	it('of inputs to embed has their vectors', async () => {
		const body = JSON.stringify({
			data: [
				{ index: 1, embedding: [3, 4] },
				{ index: 0, embedding: [1, 2] },
			],
			usage: { prompt_tokens: 5 },
		});
		server.answer = ({ socket }) =>
			void socket.write(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
		const task = await generate(port, replica, { workload: 'embedding', input: { kind: 'inputs', inputs: ['a', 'b'], query: null } });
		assert.ok(task.end?.type === 'embedded');
		assert.deepEqual(
			[task.end.vectors.map((vector) => [...vector]), task.usage.tokensIn],
			[
				[
					[1, 2],
					[3, 4],
				],
				5,
			],
		);
	});
});
