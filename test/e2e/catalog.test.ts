/** The catalog of a daemon over HTTP: its pool's own model, a model that is added, verified, retired and deleted; a restart in between. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { catalogEntrySchema, catalogListSchema } from '../../src/transport/api/catalog-schemas.ts';
import { json, refused } from '../transport/published-answers.ts';
import { type Daemon, repository, startDaemon } from './daemon.ts';

describe('the catalog of a daemon', () => {
	const folder = mkdtempSync(join(tmpdir(), 'orchestratord-models-'));
	const store = join(folder, 'store');
	const file = join(folder, 'tiny chat.gguf');
	const builtin = encodeURIComponent('builtin:tiny-chat');
	let daemon: Daemon;
	const call = async (method: string, path: string, body?: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Response> =>
		await fetch(`${daemon.url}${path}`, {
			method,
			headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
			...(body === undefined ? {} : { body: JSON.stringify(body) }),
		});
	/** Once its bytes have been hashed. */
	const checked = async (id: string): Promise<Record<string, unknown>> => {
		for (;;) {
			const entry = await json(await call('GET', `/v2/catalog/models/${id}`), 200, catalogEntrySchema);
			if (entry['verification'] !== 'pending') return entry;
		}
	};
	const pools = [
		{ id: 'chat', aliases: ['default'] },
		{ id: 'demo', engine: 'scripted', model: 'scripted:demo' },
	];
	const start = async (): Promise<void> => {
		daemon = await startDaemon({ config: { pools, store: { path: store } } });
	};
	const submit = async (model: string): Promise<Response> =>
		await call('POST', '/v2/tasks', { model_ref: model, prompt: 'x', max_tokens: 1 });

	before(async () => {
		cpSync(join(repository, 'models', 'tiny-chat.gguf'), file);
		await start();
	});
	after(async () => {
		await daemon.stop();
		rmSync(folder, { recursive: true });
	});

	it('has an entry for what a pool loads, with the digest that its engine tells', async () => {
		const entry = await checked(builtin);
		const { pools: shown } = (await (await call('GET', '/v2/pools')).json()) as { pools: { replicas: { model_digest: string }[] }[] };
		assert.equal(entry['verification'], 'verified');
		assert.equal(entry['digest'], shown[0]?.replicas[0]?.model_digest);
	});

	it('takes a file in, under an id of its own in the path, and really hashes it', async () => {
		const added = await json(
			await call('POST', '/v2/catalog/models', { source_url: `file:${file}`, tags: ['small'] }),
			201,
			catalogEntrySchema,
		);
		const id = encodeURIComponent(String(added['id']));
		const entry = await checked(id);
		assert.equal(entry['digest'], `sha256:${createHash('sha256').update(readFileSync(file)).digest('hex')}`);
		writeFileSync(file, Buffer.concat([readFileSync(file), Buffer.from('more')]));
		await json(await call('POST', `/v2/catalog/models/${id}/verify`), 202, catalogEntrySchema);
		assert.notEqual((await checked(id))['digest'], entry['digest']);
		assert.match(await (await call('GET', '/metrics')).text(), /catalog_verifications_total\{[^}]*result="ok"[^}]*\} [1-9]/);
	});

	it('lists by pages, and answers 304 to who has the page', async () => {
		const first = await call('GET', '/v2/catalog/models?limit=1');
		const etag = first.headers.get('etag') ?? '';
		const page = await json(first, 200, catalogListSchema);
		assert.equal(page['next_cursor'], 'builtin:tiny-chat');
		const same = await call('GET', '/v2/catalog/models?limit=1', undefined, { 'if-none-match': `"x", ${etag}` });
		assert.deepEqual([same.status, await same.text()], [304, '']);
		const rest = await json(await call('GET', '/v2/catalog/models?limit=5&cursor=builtin%3Atiny-chat'), 200, catalogListSchema);
		assert.equal((rest['models'] as unknown[]).length, 1);
	});

	it('refuses tasks for a retired model and drains its pool, over a restart too, until it is active again', async () => {
		const state = `/v2/catalog/models/${builtin}/state`;
		await refused(await call('POST', state, { state: 'Gone' }), 400, 'INVALID_PARAMS');
		await json(await call('POST', state, { state: 'Retired', deadline_ms: 0 }), 202, catalogEntrySchema);
		const retired = async (): Promise<void> => {
			// The control thread is told behind the answer.
			while ((await submit('default')).status === 202);
			for (const model of ['default', 'builtin:tiny-chat', 'chat']) await refused(await submit(model), 409, 'MODEL_DEPRECATED');
			assert.equal((await submit('scripted:demo')).status, 202);
			await refused(await call('POST', '/v2/pools/chat/undrain'), 409, 'MODEL_DEPRECATED');
		};
		await retired();
		await daemon.stop();
		await start();
		await retired();
		assert.match(await (await call('GET', '/metrics')).text(), /model_state\{[^}]*state="Retired"[^}]*\} 1/);
		await json(await call('POST', state, { state: 'Active' }), 202, catalogEntrySchema);
		while ((await submit('default')).status !== 202);
	});

	it('forgets a model that is deleted, and leaves its file', async () => {
		const id = encodeURIComponent(`file:${file}`);
		assert.equal((await call('DELETE', `/v2/catalog/models/${id}`)).status, 204);
		await refused(await call('GET', `/v2/catalog/models/${id}`), 404, 'NOT_FOUND');
		await refused(await call('DELETE', `/v2/catalog/models/${builtin}`), 409, 'CONFLICT');
		assert.ok(existsSync(file));
	});
});
