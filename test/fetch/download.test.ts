/** Pulls from a server that misbehaves: what is cut is gone on with, what is other than it should be is refused, and nothing half is seen. */
import assert from 'node:assert/strict';
import type { lookup } from 'node:dns';
import { appendFileSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { FetchCanceled } from '../../src/fetch/fetch-error.ts';
import { Web } from '../../src/fetch/web.ts';
import { firstPair } from '../fixtures/certificates.ts';
import { digestOf, inWorld, model } from './pull-world.ts';

const third = Math.floor(model.length / 3);

test('a file is fetched whole, hashed on its way, and seen only then', () =>
	inWorld(async (world) => {
		const ref = world.source.put('/tiny.gguf', model);
		world.source.fault('/tiny.gguf', { holdAfter: third });
		const pulled = world.pull(ref);
		await world.source.held();
		assert.deepEqual(world.visible, []);
		world.source.go();
		const fetched = await pulled;
		assert.equal(fetched.digest, digestOf(model));
		assert.deepEqual(readFileSync(fetched.localPath), model);
		assert.deepEqual(
			fetched.files.map(({ name, sizeBytes, digest }) => [name, sizeBytes, digest]),
			[['tiny.gguf', model.length, digestOf(model)]],
		);
		assert.equal(fetched.gguf?.architecture, 'llama');
		assert.deepEqual(world.visible, [digestOf(model).slice(7)]);
		assert.deepEqual(readdirSync(join(world.root, 'incoming')), []);
		const last = world.told.at(-1);
		assert.deepEqual([last?.bytesDone, last?.bytesTotal, last?.filesDone, last?.filesTotal], [model.length, model.length, 1, 1]);
	}));

test('an answer that is cut is gone on with behind its last byte, as long as each try comes further', () =>
	inWorld(async (world) => {
		const ref = world.source.put('/tiny.gguf', model, '"v1"');
		world.source.fault('/tiny.gguf', ...Array.from({ length: 9 }, () => ({ holdAfter: 100_000 })));
		const pulled = world.pull(ref, { failuresMax: 1 });
		for (let cut = 1; cut <= 9; cut += 1) {
			await world.source.held();
			await world.came(cut * 100_000);
			world.source.drop();
		}
		assert.equal((await pulled).digest, digestOf(model));
		const ranges = world.source.ranges('/tiny.gguf');
		assert.equal(ranges[0], undefined);
		assert.equal(ranges.length, 10);
		assert.ok(
			ranges.slice(1).every((range) => /^bytes=\d+-$/.test(range ?? '')),
			JSON.stringify(ranges),
		);
		assert.ok(world.source.seen.slice(1).every(({ headers }) => headers['if-range'] === '"v1"'));
	}));

test('a file that has become another one meanwhile is fetched anew, and never the one behind the other', () =>
	inWorld(async (world) => {
		const ref = world.source.put('/tiny.gguf', Buffer.concat([model, Buffer.from('old')]), '"old"');
		world.source.onRequest = ({ headers }) => {
			if (headers.range !== undefined) world.source.put('/tiny.gguf', model, '"new"');
			return false;
		};
		assert.equal((await world.pullCut(ref, third)).digest, digestOf(model));
		assert.equal(world.source.seen.length, 2);
	}));

test('a server without ranges, or without names for its versions, is asked for all of it again', () =>
	inWorld(async (world) => {
		const ref = world.source.put('/a.gguf', model, '"v1"');
		const pulled = world.pullCut(ref, third);
		world.source.fault('/a.gguf', { noRange: true });
		assert.equal((await pulled).digest, digestOf(model));
		const unnamed = world.source.put('/b.gguf', model, null);
		assert.equal((await world.pullCut(unnamed, third)).digest, digestOf(model));
		assert.deepEqual(world.source.ranges('/b.gguf'), [undefined, undefined]);
		// Where the digest is known, nothing can be put together wrongly unnoticed.
		const known = world.source.put('/c.gguf', Buffer.concat([model, Buffer.from([1])]), null);
		await world.pullCut(known, third, { digest: digestOf(Buffer.concat([model, Buffer.from([1])])) });
		assert.match(world.source.ranges('/c.gguf')[1] ?? '', /^bytes=/);
	}));

test('what may pass is tried again, as late as the server wishes; what may not is said at once', () =>
	inWorld(async (world) => {
		const ref = world.source.put('/tiny.gguf', model);
		world.source.fault('/tiny.gguf', { status: 429, headers: { 'retry-after': '0' } }, { status: 503 }, { status: 500 });
		assert.equal((await world.pull(ref)).digest, digestOf(model));
		assert.match(world.waits[0] ?? '', /answered 429: it has been asked too often; tried again in 0\.0 s/);
		assert.match(world.waits[1] ?? '', /answered 503/);
		world.source.fault('/tiny.gguf', ...Array.from({ length: 4 }, () => ({ status: 503 })));
		await world.refused(`${ref}?again`, 'POOL_UNAVAILABLE', /answered 503.*given up after 4 tries in a row/);
		for (const [status, code] of [
			[401, 'UNAUTHORIZED'],
			[403, 'FORBIDDEN'],
			[404, 'NOT_FOUND'],
			[418, 'POOL_UNAVAILABLE'],
		] as const) {
			const path = `/no-${status}.gguf`;
			world.source.fault(path, { status });
			await world.refused(`${world.source.url}${path}`, code, new RegExp(`answered ${status}`));
			assert.equal(world.source.ranges(path).length, 1);
		}
	}));

test('a server that says nothing is given up and asked again', () =>
	inWorld(async (world) => {
		const ref = world.source.put('/tiny.gguf', model);
		world.source.fault('/tiny.gguf', { silent: true });
		assert.equal((await world.pull(ref, { silentMs: 200 })).digest, digestOf(model));
		assert.match(world.waits[0] ?? '', /Headers Timeout/);
	}));

test('bytes of another digest are refused and gone; one that was put together is fetched whole before', () =>
	inWorld(async (world) => {
		const ref = world.source.put('/tiny.gguf', model, '"v1"');
		const wrong = `sha256:${'0'.repeat(64)}`;
		await world.refused(ref, 'UNTRUSTED_ARTIFACT', /has digest sha256:[0-9a-f]{64}, not sha256:0000/, { digest: wrong });
		assert.deepEqual(world.visible, []);
		// The second half is another version under the same name.
		const changed = Buffer.from(model);
		changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
		world.source.put('/mixed.gguf', changed, '"v1"');
		const requests = world.source.seen.length;
		world.source.onRequest = () => {
			if (world.source.seen.length === requests + 3) world.source.put('/mixed.gguf', model, '"v1"');
			return false;
		};
		assert.equal((await world.pullCut(`${world.source.url}/mixed.gguf`, third, { digest: digestOf(model) })).digest, digestOf(model));
		assert.match(world.source.ranges('/mixed.gguf')[1] ?? '', /^bytes=/);
		assert.equal(world.source.ranges('/mixed.gguf')[2], undefined);
	}));

test('an answer shorter than it says is a cut, and one of no known length is taken whole', () =>
	inWorld(async (world) => {
		const ref = world.source.put('/tiny.gguf', model, '"v1"');
		world.source.fault('/tiny.gguf', {
			status: 200,
			headers: { 'content-length': String(model.length), connection: 'close' },
			body: 'GGUF',
		});
		assert.equal((await world.pull(ref)).digest, digestOf(model));
		world.source.files.set('/chunked.gguf', { bytes: model, etag: '"v1"', chunked: true });
		assert.equal((await world.pull(`${world.source.url}/chunked.gguf`)).digest, digestOf(model));
	}));

test('what is no model is refused at its first bytes, and a hostile header when all is here', () =>
	inWorld(async (world) => {
		const page = world.source.put('/page.gguf', Buffer.from('<!DOCTYPE html><html>Please log in</html>'));
		await world.refused(page, 'INVALID_PARAMS', /is not a GGUF file: it begins with "<!DOCTYPE html>/);
		const hostile = Buffer.concat([Buffer.from('GGUF'), Buffer.from([3, 0, 0, 0]), Buffer.alloc(16, 255), Buffer.alloc(1000)]);
		await world.refused(world.source.put('/hostile.gguf', hostile), 'INVALID_PARAMS', /hostile\.gguf: .*header promises/);
		assert.deepEqual(world.visible, []);
		assert.deepEqual(readdirSync(join(world.root, 'incoming')), []);
	}));

test('redirects are followed on the same host without a key, and to another host only for bytes whose digest is known', () =>
	inWorld(async (world) => {
		const target = world.source.put('/there.gguf', model);
		const to = (location: string) => ({ status: 302, headers: { location } });
		const elsewhere = target.replace('127.0.0.1', 'localhost');
		world.source.fault('/here.gguf', to('/there.gguf'));
		assert.equal((await world.pull(`${world.source.url}/here.gguf`)).digest, digestOf(model));
		world.source.fault('/away.gguf', to(elsewhere));
		await world.refused(`${world.source.url}/away.gguf`, 'FORBIDDEN', /it leads over http to another host/);
		world.source.fault('/ftp.gguf', to('ftp://127.0.0.1/x'));
		await world.refused(`${world.source.url}/ftp.gguf`, 'FORBIDDEN', /ftp:, which is no way to fetch/);
		world.source.fault('/round.gguf', to('/about.gguf'));
		world.source.fault('/about.gguf', to('/round.gguf'));
		await world.refused(`${world.source.url}/round.gguf`, 'FORBIDDEN', /leads in a circle, back to http:.*\/round\.gguf/);
		for (let step = 0; step < 7; step += 1) world.source.fault(`/step-${step}.gguf`, to(`/step-${step + 1}.gguf`));
		await world.refused(`${world.source.url}/step-0.gguf`, 'FORBIDDEN', /at most 5 are followed/);
	}));

test('a redirect never leads to a nearer address than its origin has, by numbers or by a name that has come to mean another', () =>
	inWorld(async (world) => {
		world.source.put('/secret', Buffer.from('of this machine'));
		world.source.fault('/', { status: 302, headers: { location: '/secret' } });
		// A connection to 0.0.0.0 comes out here, and that is no loopback address.
		const meant = ['0.0.0.0', '127.0.0.1'];
		const resolve = ((_name: string, _options: unknown, use: (error: null, found: unknown) => void) => {
			use(null, [{ address: meant.shift() ?? '127.0.0.1', family: 4 }]);
		}) as unknown as typeof lookup;
		const web = new Web({ caRoots: [], redirectHosts: [], signal: new AbortController().signal, silentMs: 5_000, resolve });
		await assert.rejects(
			web.ask(`http://models.example:${world.source.port}/`),
			/models\.example is an address of this machine or its network, and the origin is not/,
		);
		assert.deepEqual(
			world.source.seen.map(({ path }) => path),
			['/'],
		);
		web.close();
	}));

test('a pull that was called off leaves what it has, and the next one goes on behind it, without what was not surely on disk', () =>
	inWorld(async (world) => {
		const ref = world.source.put('/tiny.gguf', model, '"v1"');
		world.source.fault('/tiny.gguf', { holdAfter: third });
		const stop = new AbortController();
		const pulled = world.pull(ref, { signal: stop.signal });
		await world.source.held();
		await world.came(third);
		stop.abort();
		await assert.rejects(pulled, FetchCanceled);
		assert.deepEqual(world.visible, []);
		const [folder = ''] = readdirSync(join(world.root, 'incoming'));
		appendFileSync(join(world.root, 'incoming', folder, '0.part'), 'garbage of a crash');
		world.source.go();
		assert.equal((await world.pull(ref)).digest, digestOf(model));
		assert.equal(world.source.ranges('/tiny.gguf')[1], `bytes=${third}-`);
	}));

test('a file larger than the disk or the quota is refused before its bytes come', () =>
	inWorld(async (world) => {
		const ref = world.source.put('/tiny.gguf', model);
		world.source.fault('/tiny.gguf', { says: 2 ** 50 });
		await world.refused(ref, 'POOL_UNAVAILABLE', /^the disk of .* has \d+ MiB free; 1073741824 MiB are needed/);
		const asked: number[] = [];
		const room = (bytes: number): Promise<void> => {
			asked.push(bytes);
			return Promise.reject(new Error('no room'));
		};
		await world.refused(ref, 'POOL_UNAVAILABLE', /no room/, { room });
		assert.deepEqual(asked, [model.length]);
	}));

test('the parts of a model are fetched together, by the names of all from that of one', () =>
	inWorld(async (world) => {
		const second = Buffer.concat([Buffer.from('GGUF'), Buffer.alloc(100, 7)]);
		world.source.put('/m/big-00001-of-00002.gguf', model);
		world.source.put('/m/big-00002-of-00002.gguf', second);
		const fetched = await world.pull(`${world.source.url}/m/big-00002-of-00002.gguf`);
		assert.deepEqual(readdirSync(fetched.folder), ['big-00001-of-00002.gguf', 'big-00002-of-00002.gguf']);
		assert.equal(fetched.localPath, join(fetched.folder, 'big-00001-of-00002.gguf'));
		assert.equal(fetched.sizeBytes, model.length + second.length);
		// As `sha256sum *.gguf | sha256sum` says.
		const list = `${digestOf(model).slice(7)}  big-00001-of-00002.gguf\n${digestOf(second).slice(7)}  big-00002-of-00002.gguf\n`;
		assert.equal(fetched.digest, digestOf(list));
	}));

test('a model whose bytes are here already, by another ref, is hashed and not fetched again', () =>
	inWorld(async (world) => {
		const first = await world.pull(world.source.put('/a.gguf', model), { digest: digestOf(model) });
		const again = await world.pull(world.source.put('/b/a.gguf', model), { digest: digestOf(model) });
		assert.equal(again.localPath, first.localPath);
		assert.deepEqual(world.source.ranges('/b/a.gguf'), []);
		assert.ok(existsSync(dirname(first.localPath)));
	}));

test('a server that nobody knows is not trusted, unless the operator says by which authority it is', () =>
	inWorld(async (world) => {
		const server = createServer({ cert: firstPair.cert, key: firstPair.key }, (_request, response) => response.end(model));
		await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
		const address = server.address();
		const ref = `https://localhost:${address !== null && typeof address === 'object' ? address.port : 0}/tiny.gguf`;
		await world.refused(ref, 'UNTRUSTED_ARTIFACT', /its certificate is not trusted/);
		assert.equal((await world.pull(ref, { sources: { caRoots: [firstPair.cert] } })).digest, digestOf(model));
		server.closeAllConnections();
		await new Promise((resolve) => server.close(resolve));
	}));
