/** A strict daemon: its pool is served with a file only once somebody who is trusted has signed it, and other sources are refused. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { catalogEntrySchema } from '../../src/transport/api/catalog-schemas.ts';
import { signedModel, signerKey } from '../fixtures/signed-model.ts';
import { json, refused } from '../transport/published-answers.ts';
import { type Daemon, repository, startDaemon } from './daemon.ts';

describe('a daemon with strict trust', () => {
	const folder = mkdtempSync(join(tmpdir(), 'orchestratord-trust-'));
	const file = join(folder, 'tiny-chat.gguf');
	const id = encodeURIComponent(`file:${file}`);
	let daemon: Daemon;
	const call = async (method: string, path: string, body?: unknown): Promise<Response> =>
		await fetch(`${daemon.url}${path}`, {
			method,
			...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
		});
	const submit = async (model: string): Promise<Response> =>
		await call('POST', '/v2/tasks', { model_ref: model, prompt: 'x', max_tokens: 1 });

	before(async () => {
		cpSync(join(repository, 'models', 'tiny-chat.gguf'), file);
		writeFileSync(join(folder, 'team.pub'), signerKey);
		const trust = { mode: 'strict', require_signature: true, public_keys: [join(folder, 'team.pub')], allowed_registries: ['hf:org/*'] };
		const pools = [
			{ id: 'chat', model: `file:${file}`, slots: 1 },
			{ id: 'builtin', aliases: ['default'], slots: 1 },
		];
		daemon = await startDaemon({ config: { pools, store: { path: join(folder, 'store') }, catalog: { trust } } });
	});
	after(async () => {
		await daemon.stop();
		rmSync(folder, { recursive: true });
	});

	it('loads nothing that nobody has signed, and refuses its tasks with that code; what comes with the program is its own', async () => {
		assert.equal((await submit('default')).status, 202);
		const { last_error: why, state } = (await (await call('GET', '/v2/pools/chat')).json()) as Record<string, string>;
		assert.equal(state, 'failed');
		assert.match(why ?? '', /it has no signature/);
		await refused(await submit('chat'), 400, 'UNTRUSTED_ARTIFACT');
		const entry = await json(await call('GET', `/v2/catalog/models/${id}`), 200, catalogEntrySchema);
		assert.deepEqual([entry['verification'], entry['untrusted']], ['failed', true]);
		assert.match(
			await (await call('GET', '/metrics')).text(),
			/catalog_verifications_total\{[^}]*result="failed",reason="signature"[^}]*\} [1-9]/,
		);
	});

	it('takes nothing in from elsewhere than it may come from', async () => {
		await refused(await call('POST', '/v2/catalog/models', { source_url: 's3://bucket/a.gguf' }), 400, 'UNTRUSTED_ARTIFACT');
		await json(await call('POST', '/v2/catalog/models', { source_url: 'hf:org/repo/a.gguf', id: 'known' }), 201, catalogEntrySchema);
	});

	it('serves it once it is signed, by whatever the catalog calls it', async () => {
		writeFileSync(join(folder, 'model.sig'), signedModel);
		await json(await call('POST', `/v2/catalog/models/${id}/verify`), 202, catalogEntrySchema);
		let entry: Record<string, unknown> = {};
		while (entry['verification'] !== 'verified') entry = await json(await call('GET', `/v2/catalog/models/${id}`), 200, catalogEntrySchema);
		assert.deepEqual(entry['signed_by'], ['team.pub']);
		// The engine is started again in a moment.
		while ((await submit('chat')).status !== 202) await new Promise((resolve) => setTimeout(resolve, 50));
		assert.equal((await submit(String(entry['digest']))).status, 202);
		assert.equal((await submit(`file:${file}`)).status, 202);
	});
});
