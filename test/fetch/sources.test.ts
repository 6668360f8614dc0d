/** What refs of hubs, buckets and registries stand for, against servers of their wire formats, and what these refuse. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { FetchSources } from '../../src/actors/catalog/fetch-messages.ts';
import { type FakeRepo, pageSize, serveHub } from './fake-hub.ts';
import { putImage, serveRegistry } from './fake-registry.ts';
import { serveS3 } from './fake-s3.ts';
import { digestOf, inWorld, model, type PullWorld } from './pull-world.ts';

const first = 'a'.repeat(40);
const second = 'b'.repeat(40);
const part = Buffer.concat([Buffer.from('GGUF'), Buffer.alloc(100, 7)]);

function hub(
	world: PullWorld,
	repos: Readonly<Record<string, Partial<FakeRepo>>>,
	token: string | null = null,
): { sources: Partial<FetchSources> } {
	const whole = Object.entries(repos).map(([name, repo]): [string, FakeRepo] => [
		name,
		{ revisions: { main: first, v2: second }, files: new Map(), token: null, ...repo },
	]);
	serveHub(world.source, new Map(whole));
	return { sources: { hf: { endpoint: world.source.url, token } } };
}

test('a file of a hub is fetched from the commit that its revision stands for, and is what its tree says', () =>
	inWorld(async (world) => {
		const more = hub(world, { 'org/repo': { files: new Map([['sub/tiny.gguf', model]]) } });
		const fetched = await world.pull('hf:org/repo@v2/sub/tiny.gguf', more);
		assert.deepEqual(fetched.manifests, [`hf:org/repo@${second}/sub/tiny.gguf`]);
		assert.equal(fetched.localPath, join(fetched.folder, 'tiny.gguf'));
		assert.deepEqual(readFileSync(fetched.localPath), model);
		assert.equal(world.told.find(({ bytesTotal }) => bytesTotal !== null)?.bytesTotal, model.length);
		assert.ok(world.source.seen.some(({ path }) => path === `/org/repo/resolve/${second}/sub/tiny.gguf`));
		await world.refused('hf:org/repo/sub/other.gguf', 'NOT_FOUND', /has no sub\/other\.gguf; there is sub\/tiny\.gguf/, more);
		await world.refused('hf:org/repo@v9/sub/tiny.gguf', 'NOT_FOUND', /has no revision v9/, more);
		// What the tree promised is not what came.
		const promised = new Map([['tiny.gguf', Buffer.concat([model, Buffer.from('?')])]]);
		hub(world, { 'org/repo': { files: promised } });
		const served = world.source.onRequest;
		world.source.onRequest = (request, response) => {
			if (!/\/resolve\//.test(request.url ?? '')) return served(request, response);
			response.end(Buffer.concat([model, Buffer.from('!')]));
			return true;
		};
		await world.refused('hf:org/repo/tiny.gguf', 'UNTRUSTED_ARTIFACT', /has digest .*, not sha256:/, more);
	}));

test('a repository of one model is that model, with all its parts; one of several is refused with their names', () =>
	inWorld(async (world) => {
		const readme = Buffer.from('# read me');
		const sharded = new Map([
			['README.md', readme],
			['big-00001-of-00002.gguf', model],
			['big-00002-of-00002.gguf', part],
			['mmproj-big.gguf', part],
			['config.json', Buffer.from('{}')],
		]);
		assert.ok(sharded.size > pageSize);
		const several = new Map(['Q4_K_M', 'Q8_0'].map((name): [string, Buffer] => [`m-${name}.gguf`, model]));
		const more = hub(world, { 'org/sharded': { files: sharded }, 'org/several': { files: several } });
		const fetched = await world.pull('hf:org/sharded', more);
		assert.deepEqual(readdirSync(fetched.folder), ['big-00001-of-00002.gguf', 'big-00002-of-00002.gguf']);
		const named = await world.pull('hf:org/sharded/big-00002-of-00002.gguf', more);
		assert.equal(named.digest, fetched.digest);
		await world.refused(
			'hf:org/several',
			'INVALID_PARAMS',
			/holds 2 models; name one, as in hf:org\/several\/m-Q4_K_M\.gguf; there is m-Q4_K_M/,
			more,
		);
	}));

test('a repository without GGUF files is fetched whole, what is in git by the names that git has for it', () =>
	inWorld(async (world) => {
		const files = new Map([
			['config.json', Buffer.from('{"a":1}')],
			['model.safetensors', Buffer.alloc(1000, 3)],
			['sub/tokenizer.json', Buffer.from('{}')],
			['.gitattributes', Buffer.from('x')],
		]);
		const more = hub(world, { 'org/repo': { files } });
		const fetched = await world.pull('hf:org/repo', more);
		assert.deepEqual([fetched.localPath, fetched.gguf], [fetched.folder, null]);
		for (const [path, bytes] of files) assert.deepEqual(readFileSync(join(fetched.folder, path)), bytes);
		const list = [...files].map(([path, bytes]) => [path, digestOf(bytes).slice(7)] as const).sort(([a], [b]) => (a < b ? -1 : 1));
		assert.equal(fetched.digest, digestOf(list.map(([path, hex]) => `${hex}  ${path}\n`).join('')));
		world.source.fault('/org/repo/config.json', { status: 404 });
		const served = world.source.onRequest;
		world.source.onRequest = (request, response) => {
			if (!(request.url ?? '').endsWith('/config.json')) return served(request, response);
			response.end('{"a":2}');
			return true;
		};
		world.source.files.clear();
		await world.refused('hf:org/repo@v2', 'UNTRUSTED_ARTIFACT', /config\.json is [0-9a-f]{40} to git, not/, more);
	}));

test('a gated repository needs the token, which goes to the hub and not where it redirects to', () =>
	inWorld(async (world) => {
		const files = new Map([['tiny.gguf', model]]);
		const repos = { 'org/gated': { files, token: 'hf_secret' } };
		await world.refused(
			'hf:org/gated/tiny.gguf',
			'FORBIDDEN',
			/is gated: accept its terms on its page, and set HF_TOKEN/,
			hub(world, repos),
		);
		await world.refused('hf:org/gated/tiny.gguf', 'FORBIDDEN', /with the account of the token/, hub(world, repos, 'hf_other'));
		await world.refused(
			'hf:org/nothing/tiny.gguf',
			'NOT_FOUND',
			/there is no hf:org\/nothing, or it is private: set HF_TOKEN/,
			hub(world, repos),
		);
		world.source.seen.length = 0;
		const more = hub(world, repos, 'hf_secret');
		assert.equal((await world.pull('hf:org/gated/tiny.gguf', more)).digest, digestOf(model));
		assert.ok(
			world.source.seen
				.filter(({ path }) => !path.startsWith('/cdn/'))
				.every(({ headers }) => headers.authorization === 'Bearer hf_secret'),
		);
		// The same origin here; a test of another one is in that of redirects.
		assert.ok(world.source.seen.some(({ path }) => path.startsWith('/cdn/')));
	}));

test('a hub that cannot answer now is asked again, and one that says nonsense is refused', () =>
	inWorld(async (world) => {
		const more = hub(world, { 'org/repo': { files: new Map([['tiny.gguf', model]]) } });
		const served = world.source.onRequest;
		let busy = 2;
		world.source.onRequest = (request, response) => {
			busy -= 1;
			if (busy < 0) return served(request, response);
			response.writeHead(busy === 1 ? 503 : 429, { 'retry-after': '0' }).end();
			return true;
		};
		assert.equal((await world.pull('hf:org/repo/tiny.gguf', more)).digest, digestOf(model));
		assert.equal(world.waits.length, 2);
		world.source.onRequest = (_request, response) => {
			response.end('<html>');
			return true;
		};
		await world.refused('hf:org/repo/other.gguf', 'POOL_UNAVAILABLE', /something else than JSON/, more);
		world.source.onRequest = (request, response) => {
			const tree = (request.url ?? '').includes('/tree/');
			if (tree) response.setHeader('link', '<http://localhost:1/tree>; rel="next"');
			response.end(tree ? '[]' : JSON.stringify({ sha: first }));
			return true;
		};
		await world.refused('hf:org/repo/other.gguf', 'FORBIDDEN', /next page of the tree is on another host/, more);
	}));

const bucket = { id: 'AKID', secret: 'planted secret', region: 'eu-west-1', versioned: true, checksums: true };

function s3(world: PullWorld, keys: { id: string; secret: string } | null): { sources: Partial<FetchSources> } {
	return {
		sources: { s3: { endpoint: world.source.url, region: 'eu-west-1', keys: keys === null ? null : { ...keys, session: null } } },
	};
}

test('an object is fetched with signed requests, of the version and the checksum that it has, whatever its key', () =>
	inWorld(async (world) => {
		serveS3(world.source, bucket);
		world.source.put('/models/a dir/tiny+1=ü.gguf', model);
		const put = world.source.files.get('/models/a dir/tiny+1=ü.gguf');
		assert.ok(put);
		// The server of the test finds a file by the path that was sent.
		world.source.files.set('/models/a%20dir/tiny%2B1%3D%C3%BC.gguf', put);
		const fetched = await world.pull('s3://models/a dir/tiny+1=ü.gguf', s3(world, bucket));
		assert.equal(fetched.digest, digestOf(model));
		assert.deepEqual(fetched.manifests, ['s3://models/a dir/tiny+1=ü.gguf?versionId=v7']);
		await world.refused('s3://models/a dir/tiny+1=ü.gguf', 'FORBIDDEN', /set AWS_ACCESS_KEY_ID/, s3(world, null));
		await world.refused(
			's3://models/a dir/tiny+1=ü.gguf',
			'FORBIDDEN',
			/these keys may not read it/,
			s3(world, { id: 'AKID', secret: 'wrong' }),
		);
		await world.refused('s3://models/none.gguf', 'NOT_FOUND', /answered 404/, s3(world, bucket));
	}));

test('a signed request is signed anew when it goes on behind a cut, and a checksum that does not fit is refused', () =>
	inWorld(async (world) => {
		serveS3(world.source, bucket);
		world.source.put('/models/tiny.gguf', model, '"v1"');
		world.source.fault('/models/tiny.gguf', { holdAfter: 1_000_000 });
		const pulled = world.pull('s3://models/tiny.gguf', s3(world, bucket));
		await world.source.held();
		await world.came(1_000_000);
		world.source.drop();
		assert.equal((await pulled).digest, digestOf(model));
		assert.equal(world.source.ranges('/models/tiny.gguf').at(-1), 'bytes=1000000-');
		const wrong = Buffer.from(model);
		wrong[wrong.length - 1] = (wrong.at(-1) ?? 0) ^ 1;
		world.source.put('/models/wrong.gguf', model);
		const served = world.source.onRequest;
		world.source.onRequest = (request, response) => {
			if (request.method === 'HEAD') return served(request, response);
			response.end(wrong);
			return true;
		};
		await world.refused('s3://models/wrong.gguf', 'UNTRUSTED_ARTIFACT', /has digest .*, not sha256:/, s3(world, bucket));
	}));

test('a bucket of another region says so', () =>
	inWorld(async (world) => {
		world.source.onRequest = (_request, response) => {
			response.writeHead(301, { 'x-amz-bucket-region': 'us-west-2' }).end();
			return true;
		};
		await world.refused(
			's3://models/tiny.gguf',
			'INVALID_PARAMS',
			/in region us-west-2, not eu-west-1; set catalog\.s3\.region/,
			s3(world, bucket),
		);
	}));

test('an image of Ollama is the layer that is its model; tokens are asked for as the registry says, and asked for again', () =>
	inWorld(async (world) => {
		const registry = serveRegistry(world.source, null);
		const manifest = putImage(world.source, registry, 'library/tiny', '1b', [
			{ mediaType: 'application/vnd.ollama.image.model', bytes: model },
			{ mediaType: 'application/vnd.ollama.image.template', bytes: Buffer.from('{{ .Prompt }}') },
			{ mediaType: 'application/vnd.ollama.image.license', bytes: Buffer.from('MIT') },
		]);
		const name = `127.0.0.1:${world.source.port}/library/tiny`;
		const fetched = await world.pull(`oci://${name}:1b`);
		assert.deepEqual([fetched.digest, fetched.manifests], [digestOf(model), [`oci://${name}@${manifest}`]]);
		assert.equal(fetched.localPath, join(fetched.folder, 'model.gguf'));
		assert.equal(registry.tokens, 1);
		assert.equal(registry.token, 'token-1-repository:library/tiny:pull');
		// The token runs out in the middle.
		const more = Buffer.concat([model, Buffer.from('more')]);
		putImage(world.source, registry, 'library/tiny', 'more', [{ mediaType: 'application/vnd.ollama.image.model', bytes: more }]);
		world.source.fault(`/v2/library/tiny/blobs/${digestOf(more)}`, { holdAfter: 1_000_000 });
		world.told.length = 0;
		const pulled = world.pull(`oci://${name}:more`);
		await world.source.held();
		await world.came(1_000_000);
		registry.token = 'another';
		world.source.drop();
		assert.equal((await pulled).digest, digestOf(more));
		assert.equal(registry.tokens, 3);
		await world.refused(`oci://${name}:2b`, 'NOT_FOUND', /answered 404/);
	}));

test('a registry with a login gets it where its tokens are, and nobody else does', () =>
	inWorld(async (world) => {
		const registry = serveRegistry(world.source, 'me:planted password');
		putImage(world.source, registry, 'me/tiny', 'v1', [{ mediaType: 'application/octet-stream', bytes: model, title: 'dir/tiny.gguf' }]);
		const host = `127.0.0.1:${world.source.port}`;
		await world.refused(`oci://${host}/me/tiny:v1`, 'UNAUTHORIZED', /answered 401/);
		const oci = [{ registry: host, username: 'me', password: 'planted password' }];
		const fetched = await world.pull(`oci://${host}/me/tiny:v1`, { sources: { oci } });
		assert.equal(fetched.localPath, join(fetched.folder, 'tiny.gguf'));
		const basic = world.source.seen.filter(({ headers }) => headers.authorization?.startsWith('Basic ') === true);
		assert.deepEqual(
			basic.map(({ path }) => path),
			['/token'],
		);
	}));

test('a model of several layers is its parts; an index of one manifest is that; what holds no model is refused', () =>
	inWorld(async (world) => {
		const registry = serveRegistry(world.source, null, false);
		const host = `127.0.0.1:${world.source.port}`;
		const digest = putImage(world.source, registry, 'o/m', 'parts', [
			{ mediaType: 'application/vnd.docker.ai.gguf.v3', bytes: model, title: 'm-00001-of-00002.gguf' },
			{ mediaType: 'application/vnd.docker.ai.gguf.v3', bytes: part, title: 'm-00002-of-00002.gguf' },
			{ mediaType: 'application/vnd.docker.ai.license', bytes: Buffer.from('MIT') },
		]);
		registry.manifests.set('index', Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [{ digest, size: 1 }] })));
		registry.manifests.set('both', Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [{ digest }, { digest }] })));
		const fetched = await world.pull(`oci://${host}/o/m:index`);
		assert.deepEqual(readdirSync(fetched.folder), ['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf']);
		assert.ok(statSync(fetched.localPath).size === model.length && existsSync(fetched.localPath));
		await world.refused(`oci://${host}/o/m:both`, 'INVALID_PARAMS', /stands for 2 manifests/);
		putImage(world.source, registry, 'o/m', 'image', [
			{ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', bytes: part },
			{ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', bytes: model },
		]);
		await world.refused(`oci://${host}/o/m:image`, 'INVALID_PARAMS', /none of its layers is a GGUF model; they are application\/vnd\.oci/);
		// Its registry says another digest than the manifest has.
		registry.manifests.set(digest, Buffer.from('{"schemaVersion":2,"layers":[]}'));
		await world.refused(`oci://${host}/o/m:index`, 'UNTRUSTED_ARTIFACT', /its manifest has digest .*, not sha256:/);
	}));
