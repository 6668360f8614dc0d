/** The `artifacts` commands against a daemon made of answers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addArtifact, listArtifacts, removeArtifact, showArtifact } from '../../src/cli/artifacts-command.ts';
import { fakeDaemon, fakeTerminal, json } from './fake-daemon.ts';

const artifact = { id: 'sha256:ab', kind: 'plan', size_bytes: 5, created_ms: 0, tags: ['task:1'], parent: null, metadata: {} };

test('artifacts are listed over as many pages as are wanted, and the filter goes along', async () => {
	const daemon = fakeDaemon({
		'GET /v2/artifacts': ({ path }) =>
			json(
				200,
				path.includes('cursor=')
					? { artifacts: [{ ...artifact, id: 'last' }], next_cursor: 'more' }
					: { artifacts: [artifact], next_cursor: 'c' },
			),
	});
	const terminal = fakeTerminal();
	assert.equal(await listArtifacts(daemon.client, { kind: 'plan', tag: 'task:1', limit: 2 }, false, terminal), 0);
	assert.match(terminal.stdout.join(''), /ARTIFACT .*\nsha256:ab +plan +5 +1970-01-01T00:00:00\.000Z +task:1\nlast /);
	assert.deepEqual(
		daemon.requests.map(({ path }) => path),
		['/v2/artifacts?limit=2&kind=plan&tag=task%3A1', '/v2/artifacts?limit=1&kind=plan&tag=task%3A1&cursor=c'],
	);
});

test('an artifact is printed as it is, added from standard input, and deleted', async () => {
	const daemon = fakeDaemon({
		'GET /v2/artifacts/sha256%3Aab': () => json(200, { ...artifact, content: 'a fox' }),
		'POST /v2/artifacts': () => json(201, artifact),
		'DELETE /v2/artifacts/sha256%3Aab': () => new Response(null, { status: 204 }),
	});
	const terminal = fakeTerminal('a fox');
	assert.equal(await showArtifact(daemon.client, 'sha256:ab', false, terminal), 0);
	assert.equal(await addArtifact(daemon.client, '-', { kind: 'plan', tags: ['x'], parent: null }, false, terminal), 0);
	assert.deepEqual(daemon.requests.at(-1)?.body, { kind: 'plan', content: 'a fox', tags: ['x'] });
	assert.equal(await removeArtifact(daemon.client, 'sha256:ab', terminal), 0);
	assert.equal(terminal.stdout.join(''), 'a fox\nsha256:ab\nsha256:ab is deleted\n');
});
