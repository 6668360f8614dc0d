/** What well-known clients send is taken, and answered in the shape that they read; what they ask for beside it is there. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { clientBodies } from './client-bodies.ts';
import { type Daemon, repository, startDaemon } from './daemon.ts';

/** How a stream ends that went well. */
const endings: Readonly<Record<string, RegExp>> = {
	'/v1/completions': /\ndata: \[DONE\]\n\n$/,
	'/v1/chat/completions': /\ndata: \[DONE\]\n\n$/,
	'/v1/responses': /\nevent: response\.completed\ndata: .*\n\n(?:: .*\n)*\n?$/,
	'/v1/messages': /\nevent: message_stop\ndata: \{"type":"message_stop"\}\n\n$/,
};

describe('a well-known client', () => {
	let daemon: Daemon;
	before(async () => {
		const scripted = { decode_tokens_per_s: 1_000_000, prefill_tokens_per_s: 1_000_000, tokens: 20 };
		const pool = {
			id: 'demo',
			engine: 'scripted',
			model: 'scripted:demo',
			aliases: ['default'],
			slots: 4,
			ctx: 8192,
			max_tokens_out: 8000,
			scripted,
		};
		daemon = await startDaemon({ config: { pools: [pool] } });
	});
	after(() => daemon.stop());

	for (const { client, seen, path, headers = {}, body, holds } of clientBodies) {
		it(`${client} (${seen}) is understood`, async () => {
			const answer = await fetch(`${daemon.url}${path}`, {
				method: 'POST',
				headers: { 'content-type': 'application/json', ...headers },
				body: JSON.stringify(body),
			});
			const said = await answer.text();
			assert.equal(answer.status, 200, said);
			if (holds !== undefined) assert.match(said, holds);
			if (body['stream'] === true) assert.match(said, endings[path.split('?')[0] ?? ''] as RegExp);
			else assert.equal(typeof JSON.parse(said), 'object');
		});
	}

	it('finds what it looks for before: models, health, and an answer to HEAD', async () => {
		const asked = async (path: string, init: RequestInit = {}): Promise<Response> => fetch(`${daemon.url}${path}`, init);
		for (const path of [
			'/health',
			'/v1/models',
			'/v1/models/default',
			'/v1/models?limit=1000',
			'/v1/models?client_version=0.171.0',
			'/metrics',
		])
			assert.equal((await asked(path)).status, 200, path);
		const head = await asked('/', { method: 'HEAD' });
		assert.deepEqual([await head.text(), head.headers.has('x-correlation-id')], ['', true]);
		assert.equal((await asked('/v1/models', { method: 'HEAD' })).status, 200);
	});

	it('is in the documentation', () => {
		const page = readFileSync(join(repository, 'docs/clients.md'), 'utf8');
		for (const { client } of clientBodies) assert.ok(page.includes(`| ${client} |`), client);
	});
});
