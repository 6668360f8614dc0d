/** Pools whose models are fetched: at their start, while tasks wait and are told; by a reload, before anything stops; refused where that is off. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { acceptedSchema, poolSchema } from '../../src/transport/api/response-schemas.ts';
import { BadSource } from '../fetch/bad-source.ts';
import { json } from '../transport/published-answers.ts';
import { type Daemon, repository, startDaemon } from './daemon.ts';

describe('a pool whose model is elsewhere', () => {
	const folder = mkdtempSync(join(tmpdir(), 'orchestratord-provisioning-'));
	const bytes = readFileSync(join(repository, 'models', 'tiny-chat.gguf'));
	const digestOf = (of: Buffer): string => `sha256:${createHash('sha256').update(of).digest('hex')}`;
	const third = Math.floor(bytes.length / 3);
	const source = new BadSource();
	let daemon: Daemon;
	let model = '';
	const call = async (method: string, path: string, body?: unknown): Promise<Response> =>
		await fetch(`${daemon.url}${path}`, {
			method,
			...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
		});
	const pool = async (): Promise<Record<string, unknown>> => await json(await call('GET', '/v2/pools/chat'), 200, poolSchema);
	const until = async (what: (view: Record<string, unknown>) => boolean): Promise<Record<string, unknown>> => {
		for (;;) {
			const view = await pool();
			if (what(view)) return view;
			await new Promise((resolve) => setTimeout(resolve, 20));
		}
	};
	const start = async (catalog: Readonly<Record<string, unknown>>): Promise<void> => {
		const pools = [{ id: 'chat', model, aliases: ['default'], slots: 1 }];
		daemon = await startDaemon({ config: { pools, store: { path: join(folder, 'store') }, catalog }, ready: /is ready on|listens on/ });
	};

	before(async () => {
		await source.listen();
		model = source.put('/tiny.gguf', bytes);
		source.fault('/tiny.gguf', { holdAfter: third });
		await start({ fetch: true });
	});
	after(async () => {
		await daemon.stop();
		await source.close();
		rmSync(folder, { recursive: true });
	});

	it('starts with a fetch that everybody sees; tasks wait for it, are told how far it is, and run when it is there', async () => {
		await source.held();
		const view = await until(({ fetch: each }) => Number((each as { bytes_done?: number } | null)?.bytes_done ?? 0) >= third);
		assert.equal(view['state'], 'starting');
		const accepted = await json(await call('POST', '/v2/tasks', { model_ref: model, prompt: 'Hello', max_tokens: 4 }), 202, acceptedSchema);
		const { steps } = accepted['preparation'] as { steps: Record<string, unknown>[] };
		assert.deepEqual(
			steps.map(({ kind, bytes_total: total }) => [kind, total]),
			[
				['model_fetch', bytes.length],
				['pool_warmup', null],
			],
		);
		const response = await call('GET', `/v2/tasks/${String(accepted['task_id'])}/events?verbose=true`);
		let text = '';
		for await (const piece of response.body as unknown as AsyncIterable<Uint8Array>) {
			text += Buffer.from(piece).toString('utf8');
			if (/event: metrics\ndata: .*"kind":"model_fetch"/.test(text)) source.go();
		}
		assert.match(text, /which waits for its model, \d+ % of which is here/);
		assert.match(text, /event: end\n/);
		const ready = await pool();
		assert.equal(ready['state'], 'ready');
		assert.equal(ready['fetch'], null);
		assert.equal((ready['replicas'] as { model_digest: string }[])[0]?.model_digest, digestOf(bytes));
	});

	it('is given another model by a reload once that has been fetched, and keeps its own when it cannot be', async () => {
		const other = Buffer.concat([bytes, Buffer.from('other')]);
		const ref = source.put('/other.gguf', other);
		source.fault('/other.gguf', { holdAfter: third });
		assert.equal((await call('POST', '/v2/pools/chat/reload', { new_model_ref: ref })).status, 202);
		await source.held();
		const view = await pool();
		assert.deepEqual([view['state'], view['model'], view['reloading_to']], ['ready', model, ref]);
		assert.equal((await call('POST', '/v2/tasks', { model_ref: 'default', prompt: 'x', max_tokens: 1 })).status, 202);
		source.go();
		const reloaded = await until(({ reloading_to: to }) => to === null);
		assert.equal(reloaded['model'], ref);
		assert.equal((reloaded['replicas'] as { model_digest: string }[])[0]?.model_digest, digestOf(other));
		const nowhere = `${source.url}/nowhere.gguf`;
		assert.equal((await call('POST', '/v2/pools/chat/reload', { new_model_ref: nowhere })).status, 202);
		const kept = await until(({ reloading_to: to }) => to === null);
		assert.deepEqual([kept['state'], kept['model']], ['ready', ref]);
		assert.match(String(kept['last_error']), /was not begun: .*answered 404/);
	});

	it('starts from what is here when its daemon starts again, without a byte from elsewhere and without hashing it again', async () => {
		const asked = source.seen.length;
		await daemon.stop();
		await start({});
		const view = await until(({ state }) => state !== 'starting');
		assert.equal(view['state'], 'ready');
		assert.equal(source.seen.length, asked);
		assert.doesNotMatch(await (await call('GET', '/metrics')).text(), /catalog_verifications_total\{[^}]*result="ok"[^}]*\} [1-9]/);
	});

	it('fails in words where its model is not here and may not be fetched', async () => {
		await daemon.stop();
		model = source.put('/never.gguf', bytes);
		await start({});
		const view = await until(({ state }) => state === 'failed');
		assert.match(String(view['last_error']), /is not here, and fetching models is off here; set catalog\.fetch: true/);
		assert.deepEqual(source.ranges('/never.gguf'), []);
	});
});
