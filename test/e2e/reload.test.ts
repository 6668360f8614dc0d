/** A pool is given another model over HTTP, with the real llama.cpp and under live streams: nothing is lost, and what is broken is undone. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { goldenGguf } from '../fixtures/golden-gguf.ts';
import { checkOrder, pieces, postJson, submit, textOf, Watch } from './client.ts';
import { type Daemon, repository, startDaemon } from './daemon.ts';

interface Pool {
	readonly model: string;
	readonly state: string;
	readonly reloading_to: string | null;
	readonly last_error: string | null;
}

const builtIn = join(repository, 'models', 'tiny-chat.gguf');

describe('a reload', () => {
	const folder = mkdtempSync(join(tmpdir(), 'orchestratord-reload-'));
	const file = (name: string): string => join(folder, name);
	let daemon: Daemon;
	before(async () => {
		copyFileSync(builtIn, file('copy.gguf'));
		const whole = readFileSync(builtIn);
		writeFileSync(file('cut.gguf'), whole.subarray(0, whole.length / 2));
		// Its header is in order: only llama.cpp sees that it cannot be used.
		writeFileSync(file('broken.gguf'), goldenGguf({ keys: { 'tokenizer.ggml.model': { type: 'string', value: 'telepathy' } } }));
		const scripted = { tokens: 40, prefill_tokens_per_s: 100_000, decode_tokens_per_s: 200 };
		daemon = await startDaemon({
			config: {
				pools: [
					{ id: 'real', engine: 'llamacpp', model: `file:${builtIn}`, slots: 2, ctx: 256 },
					{ id: 'demo', engine: 'scripted', model: 'scripted:old', slots: 4, replicas: 2, scripted },
				],
			},
		});
	});
	after(async () => {
		assert.equal(await daemon.stop(), 0);
		rmSync(folder, { recursive: true, force: true });
	});

	async function pool(id: string): Promise<Pool> {
		return (await (await fetch(`${daemon.url}/v2/pools/${id}`)).json()) as Pool;
	}

	/** The pool, once its reload is over. */
	async function reloaded(id: string, model: string): Promise<Pool> {
		const answer = await postJson(daemon.url, `/v2/pools/${id}/reload`, { new_model_ref: model });
		assert.equal(answer.status, 202, await answer.clone().text());
		assert.deepEqual(await answer.json(), { pool_id: id, new_model_ref: model });
		for (;;) {
			const now = await pool(id);
			if (now.reloading_to === null) return now;
			await new Promise((resolve) => setTimeout(resolve, 50));
		}
	}

	async function story(): Promise<string> {
		const { task_id: id } = await submit(daemon.url, {
			model_ref: 'real',
			prompt: 'Tell me a story',
			max_tokens: 12,
			sampling: { temperature: 0 },
		});
		const seen = await (await Watch.open(daemon.url, id)).all();
		checkOrder(seen);
		assert.equal(seen.at(-1)?.name, 'end', JSON.stringify(seen.at(-1)));
		return textOf(seen);
	}

	it('that cannot be is undone: the old model decodes as before, and last_error says why', async () => {
		const before = await story();
		const cut = await reloaded('real', `file:${file('cut.gguf')}`);
		assert.deepEqual([cut.model, cut.state], [`file:${builtIn}`, 'ready']);
		assert.match(cut.last_error ?? '', /was not begun: model file .*cut\.gguf/);
		assert.equal(await story(), before);
		const broken = await reloaded('real', `file:${file('broken.gguf')}`);
		assert.deepEqual([broken.model, broken.state], [`file:${builtIn}`, 'ready']);
		assert.match(
			broken.last_error ?? '',
			/the reload to file:.*broken\.gguf failed, file:.*tiny-chat\.gguf serves again: .*llama\.cpp cannot load it/,
		);
		assert.equal(await story(), before);
		const missing = await reloaded('real', `file:${file('missing.gguf')}`);
		assert.match(missing.last_error ?? '', /model file not found/);
		// In another spelling it is the same model.
		const same = await postJson(daemon.url, '/v2/pools/real/reload', { new_model_ref: `file://${builtIn}` });
		assert.deepEqual([same.status, await same.json()], [202, { pool_id: 'real', new_model_ref: `file:${builtIn}` }]);
		assert.equal((await pool('real')).reloading_to, null);
		const copy = await reloaded('real', `file:${file('copy.gguf')}`);
		assert.deepEqual([copy.model, copy.state, copy.last_error], [`file:${file('copy.gguf')}`, 'ready', null]);
		assert.equal(await story(), before);
	});

	it('under live streams loses, repeats and reorders nothing, and only one runs at a time', async () => {
		const watches: { readonly text: string; readonly watch: Watch }[] = [];
		for (let index = 0; index < 40; index += 1) {
			const { task_id: id } = await submit(daemon.url, { model_ref: 'demo', prompt: `task ${index}`, seed: index });
			watches.push({ text: `task ${index}`, watch: await Watch.open(daemon.url, id) });
		}
		const first = reloaded('demo', 'scripted:new');
		while ((await pool('demo')).reloading_to === null) await new Promise((resolve) => setTimeout(resolve, 5));
		const conflict = await postJson(daemon.url, '/v2/pools/demo/reload', { new_model_ref: 'scripted:third' });
		assert.equal(conflict.status, 409);
		assert.equal(((await conflict.json()) as { code: string }).code, 'CONFLICT');
		for (const { text, watch } of watches) {
			const seen = await watch.all();
			checkOrder(seen);
			assert.equal(seen.at(-1)?.name, 'end', JSON.stringify(seen.at(-1)));
			assert.equal(pieces(seen).length, 40, text);
		}
		assert.deepEqual([(await first).model, (await first).last_error], ['scripted:new', null]);
		const { task_id: id } = await submit(daemon.url, { model_ref: 'scripted:new', prompt: 'x' });
		assert.equal((await (await Watch.open(daemon.url, id)).all()).at(-1)?.name, 'end');
		assert.deepEqual([(await reloaded('demo', 'scripted:new')).model, (await pool('demo')).last_error], ['scripted:new', null]);
	});

	it('is what a purge is too, with the same model; a worker needs a token to register', async () => {
		const purge = async (body: unknown, status: number): Promise<Record<string, unknown>> => {
			const answer = await postJson(daemon.url, '/v2/pools/demo/purge', body);
			assert.equal(answer.status, status, await answer.clone().text());
			return (await answer.json()) as Record<string, unknown>;
		};
		const { task_id: id } = await submit(daemon.url, { model_ref: 'demo', prompt: 'x' });
		assert.deepEqual(await purge({ purge_engine: true, delete_cache_dirs: true }, 202), {
			pool_id: 'demo',
			purging: true,
			cache_dirs: [],
		});
		const seen = await (await Watch.open(daemon.url, id)).all();
		checkOrder(seen);
		assert.equal(seen.at(-1)?.name, 'end', JSON.stringify(seen.at(-1)));
		while ((await pool('demo')).reloading_to !== null) await new Promise((resolve) => setTimeout(resolve, 50));
		assert.deepEqual([(await pool('demo')).state, (await pool('demo')).last_error], ['ready', null]);
		assert.match(String((await purge({ purge_engine: false }, 400))['message']), /purge_engine is false/);
		assert.equal((await purge({ purge_models: ['scripted:unknown'] }, 404))['code'], 'NOT_FOUND');
		const register = (headers: Readonly<Record<string, string>>): Promise<Response> =>
			fetch(`${daemon.url}/v2/workers/register`, {
				method: 'POST',
				headers: { 'content-type': 'application/json', ...headers },
				body: '{}',
			});
		const bare = await register({});
		assert.deepEqual([bare.status, bare.headers.get('www-authenticate')], [401, 'Bearer']);
		assert.equal(((await bare.json()) as { code: string }).code, 'UNAUTHORIZED');
		const wrong = await register({ authorization: 'Bearer x' });
		assert.equal(wrong.status, 401);
		assert.equal(((await wrong.json()) as { code: string }).code, 'UNAUTHORIZED');
	});

	it('is refused in words when it makes no sense', async () => {
		for (const [id, body, status, words] of [
			['nowhere', { new_model_ref: 'scripted:x' }, 404, /no such pool/],
			['demo', {}, 400, /new_model_ref is missing/],
			['demo', { new_model_ref: 'scripted:x', force: true }, 400, /unknown field force/],
		] as const) {
			const answer = await postJson(daemon.url, `/v2/pools/${id}/reload`, body);
			assert.equal(answer.status, status);
			assert.match(((await answer.json()) as { message: string }).message, words);
		}
		assert.match(
			(await reloaded('real', 'hf:org/repo')).last_error ?? '',
			/hf:org\/repo is not here, and fetching models is off here; set catalog\.fetch: true/,
		);
		assert.match((await reloaded('demo', 'file:/x.gguf')).last_error ?? '', /takes scripted:<name>/);
	});
});
