/** A daemon whose engine is somewhere else, spoken to over HTTP: served, cancelled, gone, back again. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { chunk, eventsHead, RawUpstream } from '../engines/raw-upstream.ts';
import { pieces, submit, textOf, Watch } from './client.ts';
import { startDaemon } from './daemon.ts';
import { planted } from './leaks.ts';

const upstreamKey = planted('token');

const models = JSON.stringify({ object: 'list', data: [{ id: 'big-model', object: 'model', max_model_len: 4_096 }] });
const json = (body: string): string => `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const delta = (content: string): string =>
	chunk(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason: null }] })}\n\n`);
const end = `${chunk(`data: ${JSON.stringify({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] })}\n\n`)}${chunk('data: [DONE]\n\n')}0\r\n\r\n`;

describe('a daemon whose engine is elsewhere', () => {
	it('streams what it says, frees it when a task is cancelled, and never shows its key', async () => {
		const server = new RawUpstream();
		const url = await server.listen();
		server.answer = ({ head, body, socket }) => {
			if (head.startsWith('GET /v1/models ')) return void socket.write(json(models));
			if (!head.startsWith('POST /v1/chat/completions ')) return void socket.write('HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n');
			socket.write(eventsHead);
			if (body.includes('for ever')) return void socket.write(delta('so far'));
			for (const word of ['one ', 'two ', 'three']) socket.write(delta(word));
			socket.write(end);
		};
		const daemon = await startDaemon({
			config: { pools: [{ id: 'up', engine: 'openai', provider: 'external', url, slots: 1, key_env: 'UPSTREAM_KEY' }] },
			env: { UPSTREAM_KEY: upstreamKey },
		});
		try {
			const { task_id: id } = await submit(daemon.url, { model_ref: 'up', prompt: 'count' });
			const seen = await (await Watch.open(daemon.url, id)).all();
			assert.equal(textOf(seen), 'one two three');
			assert.deepEqual(
				pieces(seen).map(({ i }) => i),
				[0, 1, 2],
			);
			assert.ok(server.asked.every(({ head }) => head.includes(`\r\nauthorization: Bearer ${upstreamKey}`)));
			assert.equal(server.lastBody['model'], 'big-model');

			const { task_id: endless } = await submit(daemon.url, { model_ref: 'up', prompt: 'for ever' });
			const watch = await Watch.open(daemon.url, endless);
			await watch.until('token');
			const endedBefore = server.ended.length;
			const cancelled = await fetch(`${daemon.url}/v2/tasks/${endless}/cancel`, { method: 'POST' });
			assert.equal(cancelled.status, 204);
			assert.equal((await watch.all()).at(-1)?.data['canceled'], true);
			// Its only slot is free again.
			const { task_id: next } = await submit(daemon.url, { model_ref: 'up', prompt: 'count' });
			assert.equal(textOf(await (await Watch.open(daemon.url, next)).all()), 'one two three');

			assert.ok(server.ended.length > endedBefore, 'our side of the connection was closed');
			const pool = await (await fetch(`${daemon.url}/v2/pools/up`)).text();
			assert.match(pool, /"provider":"external"/);
			assert.match(pool, /"ctx":2048|"ctx":4096/);
			assert.doesNotMatch(pool + daemon.output(), /very-secret/);
			assert.equal(await daemon.stop(), 0);
		} finally {
			await server.close();
		}
	});

	it('says why it cannot serve while nobody listens, and serves once somebody does', async () => {
		const folder = mkdtempSync(join(tmpdir(), 'orchd-up-'));
		const socketPath = join(folder, 'engine.sock');
		const url = `unix:${socketPath}`;
		const daemon = await startDaemon({
			config: { pools: [{ id: 'up', engine: 'openai', provider: 'external', url }] },
			ready: /it listens on/,
		});
		const refused = await fetch(`${daemon.url}/v2/tasks`, { method: 'POST', body: JSON.stringify({ model_ref: 'up', prompt: 'x' }) });
		assert.equal(refused.status, 503);
		assert.match(await (await fetch(`${daemon.url}/v2/pools/up`)).text(), /no answer from the engine: ENOENT/);
		const again = new RawUpstream();
		again.answer = ({ head, socket }) => void socket.write(head.startsWith('GET') ? json(models) : `${eventsHead}${delta('well')}${end}`);
		await again.listen(socketPath);
		try {
			await daemon.said(/up-0 is ready: big-model on external/);
			// The fronts hear of it a moment after the log.
			while ((await fetch(`${daemon.url}/ready`)).status !== 200);
			const { task_id: id } = await submit(daemon.url, { model_ref: 'up', prompt: 'x' });
			assert.equal(textOf(await (await Watch.open(daemon.url, id)).all()), 'well');
			assert.equal(await daemon.stop(), 0);
		} finally {
			await again.close();
			rmSync(folder, { recursive: true });
		}
	});
});
