/** Models that a daemon fetches, over HTTP and the command line: progress as events, a daemon that is killed in the middle, fetching that is off. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { catalogEntrySchema, pullSchema } from '../../src/transport/api/catalog-schemas.ts';
import { BadSource } from '../fetch/bad-source.ts';
import { json, refused } from '../transport/published-answers.ts';
import { binary, type Daemon, ended, repository, startDaemon } from './daemon.ts';

const run = promisify(execFile);

describe('models that are fetched', () => {
	const folder = mkdtempSync(join(tmpdir(), 'orchestratord-pulls-'));
	const store = join(folder, 'store');
	const bytes = readFileSync(join(repository, 'models', 'tiny-chat.gguf'));
	const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
	const third = Math.floor(bytes.length / 3);
	const source = new BadSource();
	let daemon: Daemon;
	const call = async (method: string, path: string, body?: unknown): Promise<Response> =>
		await fetch(`${daemon.url}${path}`, {
			method,
			...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
		});
	const pools = [{ id: 'demo', engine: 'scripted', model: 'scripted:demo', aliases: ['default'] }];
	const start = async (more: Readonly<Record<string, unknown>> = {}): Promise<void> => {
		daemon = await startDaemon({ config: { pools, store: { path: store }, catalog: { fetch: true }, ...more } });
	};
	/** The frames of an event stream, until `enough`. */
	const events = async (
		id: string,
		enough: (event: string, data: Record<string, unknown>) => boolean,
	): Promise<[string, Record<string, unknown>][]> => {
		const response = await call('GET', `/v2/catalog/models/${id}/events`);
		assert.equal(response.status, 200);
		assert.match(response.headers.get('content-type') ?? '', /text\/event-stream/);
		const frames: [string, Record<string, unknown>][] = [];
		let text = '';
		for await (const piece of response.body as unknown as AsyncIterable<Uint8Array>) {
			text += Buffer.from(piece).toString('utf8');
			for (let at = text.indexOf('\n\n'); at >= 0; at = text.indexOf('\n\n')) {
				const [, event = '', data = 'null'] = /^event: (\w+)\ndata: (.*)$/.exec(text.slice(0, at)) ?? [];
				text = text.slice(at + 2);
				if (event === '') continue;
				frames.push([event, JSON.parse(data) as Record<string, unknown>]);
				if (enough(event, frames.at(-1)?.[1] ?? {})) return frames;
			}
		}
		return frames;
	};

	before(async () => {
		await source.listen();
		await start();
	});
	after(async () => {
		await daemon.stop();
		await source.close();
		rmSync(folder, { recursive: true });
	});

	it('are told of as they come, and are there for good when they are whole', async () => {
		const ref = source.put('/told.gguf', bytes);
		source.fault('/told.gguf', { holdAfter: third });
		await json(await call('POST', '/v2/catalog/models', { source_url: ref, id: 'told', digest }), 201, catalogEntrySchema);
		const begun = await json(await call('POST', '/v2/catalog/models/told/pull'), 202, catalogEntrySchema);
		assert.equal(begun['fetching'], true);
		await source.held();
		const shown = await events('told', (_event, data) => Number(data['bytes_done']) >= third);
		assert.ok(shown.every(([event]) => event === 'progress'));
		const last = shown.at(-1)?.[1] ?? {};
		await json(Response.json(last), 200, pullSchema);
		assert.deepEqual([last['phase'], last['bytes_total']], ['fetching', bytes.length]);
		source.go();
		const rest = await events('told', (event) => event !== 'progress');
		const [event, entry] = rest.at(-1) ?? ['', {}];
		assert.deepEqual([event, entry['verification'], entry['digest']], ['end', 'verified', digest]);
		assert.deepEqual(readFileSync(String(entry['local_path'])), bytes);
		await daemon.stop();
		await start();
		const again = await json(await call('GET', '/v2/catalog/models/told'), 200, catalogEntrySchema);
		assert.deepEqual([again['verification'], again['local_path']], ['verified', entry['local_path']]);
	});

	it('go on behind what had come when their daemon is killed', async () => {
		const ref = source.put('/killed.gguf', bytes, '"v1"');
		source.fault('/killed.gguf', { holdAfter: third });
		await call('POST', '/v2/catalog/models', { source_url: ref, id: 'killed' });
		await call('POST', '/v2/catalog/models/killed/pull');
		await source.held();
		await events('killed', (_event, data) => Number(data['bytes_done']) >= third);
		daemon.child.kill('SIGKILL');
		await ended(daemon.pid);
		source.drop();
		const visible = readdirSync(join(store, 'models', 'models'));
		await start();
		const [event, entry] = (await events('killed', (each) => each !== 'progress')).at(-1) ?? ['', {}];
		assert.equal(event, 'end');
		assert.equal(entry['digest'], digest);
		// Nothing was seen of it before.
		assert.deepEqual(visible, [digest.slice('sha256:'.length)]);
	});

	it('are pulled, shown and removed from the command line', async () => {
		const ref = source.put('/cli.gguf', Buffer.concat([bytes, Buffer.from('cli')]));
		const models = async (...words: string[]): Promise<string> =>
			(await run(process.execPath, [binary, 'models', ...words, '--url', daemon.url])).stdout;
		assert.match(await models('pull', ref, '--id', 'cli'), /cli is here and verified: 2\.5 MiB, sha256:[0-9a-f]{64}/);
		const shown = JSON.parse(await models('show', 'cli', '--json')) as { local_path: string };
		assert.ok(existsSync(shown.local_path));
		assert.match(await models('ls'), /cli +Active +yes +2\.5 MiB/);
		assert.match(await models('rm', 'cli'), /what was fetched for it is gone/);
		while (existsSync(shown.local_path)) await new Promise((resolve) => setTimeout(resolve, 20));
		source.fault('/gated.gguf', { status: 401 });
		await assert.rejects(models('pull', `${source.url}/gated.gguf`), /wants credentials/);
	});

	it('are called off, and refused where fetching is off', async () => {
		const ref = source.put('/off.gguf', bytes);
		source.fault('/off.gguf', { holdAfter: third });
		await call('POST', '/v2/catalog/models', { source_url: ref, id: 'off' });
		await call('POST', '/v2/catalog/models/off/pull');
		await source.held();
		assert.equal((await call('DELETE', '/v2/catalog/models/off/pull')).status, 204);
		const [event, data] = (await events('off', (each) => each !== 'progress')).at(-1) ?? ['', {}];
		assert.equal(event, 'error');
		assert.match(String(data['message']), /called off/);
		source.go();
		await daemon.stop();
		await start({ catalog: {} });
		await refused(await call('POST', '/v2/catalog/models/off/pull'), 403, 'FORBIDDEN');
		await refused(await call('GET', '/v2/catalog/models/nobody/events'), 404, 'NOT_FOUND');
	});
});
