/** The `models` commands against a daemon made of answers. */
import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { importModel, listModels, removeModel, setModelState, showModel, verifyModel } from '../../src/cli/models-command.ts';
import { fakeDaemon, fakeTerminal, json } from './fake-daemon.ts';

const gguf = { architecture: 'llama', parameters: 15_000_000, context_length: 512, quantization: 'Q8_0', chat_template: null };
const entry = {
	id: 'file:/m/a.gguf',
	digest: 'sha256:ab',
	source_url: 'file:/m/a.gguf',
	size_bytes: 1_572_864,
	tags: ['small'],
	state: 'Active',
	verification: 'verified',
	problem: null,
	gguf,
};
const at = '/v2/catalog/models/file%3A%2Fm%2Fa.gguf';

test('models are listed over all pages, and shown with what their headers say', async () => {
	const daemon = fakeDaemon({
		'GET /v2/catalog/models': ({ path }) =>
			json(
				200,
				path.includes('cursor=a%2Fb') ? { models: [{ ...entry, id: 'last' }], next_cursor: null } : { models: [entry], next_cursor: 'a/b' },
			),
		[`GET ${at}`]: () => json(200, entry),
	});
	const terminal = fakeTerminal();
	assert.equal(await listModels(daemon.client, false, terminal), 0);
	assert.match(terminal.stdout.join(''), /MODEL .*\nfile:\/m\/a\.gguf +Active +yes +1\.5 MiB +llama +Q8_0 +small\nlast /);
	assert.equal(await showModel(daemon.client, entry.id, false, terminal), 0);
	assert.match(terminal.stdout.join(''), /digest +sha256:ab\n(.*\n)*chat template +none\n/);
});

test('an import and a verification wait for the bytes to be hashed, and their exit codes say what came of it', async () => {
	let looks = 0;
	const failed = { ...entry, verification: 'failed', problem: 'model file /m/a.gguf: it has digest sha256:ab, not sha256:cd' };
	const daemon = fakeDaemon({
		'POST /v2/catalog/models': () => json(201, { ...entry, verification: 'pending' }),
		[`POST ${at}/verify`]: () => json(202, { ...entry, verification: 'pending' }),
		[`GET ${at}`]: () => json(200, (looks += 1) % 2 === 1 ? { ...entry, verification: 'pending' } : looks < 3 ? entry : failed),
	});
	const terminal = fakeTerminal();
	assert.equal(await importModel(daemon.client, 'a.gguf', { id: null, digest: null, tags: ['x'] }, false, terminal, 1), 0);
	assert.deepEqual(daemon.requests[0]?.body, { source_url: `file:${resolve('a.gguf')}`, tags: ['x'] });
	assert.match(terminal.stdout.join(''), /is verified: sha256:ab/);
	assert.equal(await verifyModel(daemon.client, entry.id, false, terminal, 1), 1);
	assert.match(terminal.stderr.join('\n'), /not sha256:cd/);
});

test('a model is retired with a deadline, and forgotten', async () => {
	const daemon = fakeDaemon({
		[`POST ${at}/state`]: () => json(202, { ...entry, state: 'Retired' }),
		[`DELETE ${at}`]: () => new Response(null, { status: 204 }),
	});
	const terminal = fakeTerminal();
	assert.equal(await setModelState(daemon.client, entry.id, 'Retired', 5, false, terminal), 0);
	assert.deepEqual(daemon.requests[0]?.body, { state: 'Retired', deadline_ms: 5 });
	assert.equal(await removeModel(daemon.client, entry.id, terminal), 0);
	assert.match(terminal.stdout.join(''), /is retired.*\n.*is forgotten; its file is where it was/);
});
