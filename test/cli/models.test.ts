/** The `models` commands against a daemon made of answers. */
import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { importModel, listModels, removeModel, setModelState, showModel, verifyModel } from '../../src/cli/models-command.ts';
import { pullModel } from '../../src/cli/models-pull.ts';
import { fakeDaemon, fakeTerminal, frame, json, stream } from './fake-daemon.ts';

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
	signed_by: ['team.pub'],
	trust_problems: [{ reason: 'sbom', words: 'it has no SBOM' }],
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
	assert.match(
		terminal.stdout.join(''),
		/digest +sha256:ab\n(.*\n)*signed by +team\.pub\ntrust +it has no SBOM\n(.*\n)*chat template +none\n/,
	);
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
	assert.equal(
		await importModel(daemon.client, 'a.gguf', { id: null, digest: null, tags: ['x'], signatures: [], sbom: null }, false, terminal, 1),
		0,
	);
	assert.deepEqual(daemon.requests[0]?.body, { source_url: `file:${resolve('a.gguf')}`, tags: ['x'] });
	assert.match(terminal.stdout.join(''), /is verified: sha256:ab/);
	assert.equal(await verifyModel(daemon.client, entry.id, false, terminal, 1), 1);
	assert.match(terminal.stderr.join('\n'), /not sha256:cd/);
});

test('a model is retired with a deadline, and forgotten', async () => {
	const daemon = fakeDaemon({
		[`POST ${at}/state`]: () => json(202, { ...entry, state: 'Retired' }),
		[`GET ${at}`]: () => json(200, { ...entry, folder: null }),
		[`DELETE ${at}`]: () => new Response(null, { status: 204 }),
	});
	const terminal = fakeTerminal();
	assert.equal(await setModelState(daemon.client, entry.id, 'Retired', 5, false, terminal), 0);
	assert.deepEqual(daemon.requests[0]?.body, { state: 'Retired', deadline_ms: 5 });
	assert.equal(await removeModel(daemon.client, entry.id, terminal), 0);
	assert.match(terminal.stdout.join(''), /is retired.*\n.*is forgotten; its file is where it was/);
});

const pulling = {
	phase: 'fetching',
	bytes_done: 1_048_576,
	bytes_total: 2_097_152,
	bytes_per_s: 524_288,
	eta_ms: 2_000,
	files_done: 0,
	files_total: 1,
	note: null,
};
const from = 'hf:org/repo/a.gguf';
const pulledAt = `/v2/catalog/models/${encodeURIComponent(from)}`;

test('a model that is pulled is made known first, drawn as a bar, followed over a cut, and told when it is here', async () => {
	let streams = 0;
	const unknown = { code: 'NOT_FOUND', message: 'there is no such model', retriable: false, correlation_id: 'c' };
	const daemon = fakeDaemon({
		[`GET ${pulledAt}`]: () => json(404, unknown),
		'POST /v2/catalog/models': () => json(201, { ...entry, id: from, verification: 'absent' }),
		[`POST ${pulledAt}/pull`]: () => json(202, { ...entry, id: from, pull: pulling }),
		[`GET ${pulledAt}/events`]: () => {
			streams += 1;
			if (streams === 1) return stream([frame(null, 'progress', { ...pulling, note: 'answered 429; tried again in 1.0 s' })], 'cut');
			return stream([frame(null, 'progress', pulling), frame(null, 'end', { ...entry, id: from })]);
		},
	});
	const terminal = fakeTerminal();
	const options = { id: null, digest: 'sha256:ab', tags: [], signatures: ['a.sig', 'https://x.example/b.sig'], sbom: null, detach: false };
	assert.equal(await pullModel(daemon.client, from, options, false, terminal), 0);
	assert.deepEqual(daemon.requests[1]?.body, {
		source_url: from,
		tags: [],
		digest: 'sha256:ab',
		signatures: [`file:${resolve('a.sig')}`, 'https://x.example/b.sig'],
	});
	assert.equal(terminal.statuses.at(-1), `${'█'.repeat(15)}${'░'.repeat(15)} 50%  1.0 MiB of 2.0 MiB, 0.5 MiB/s, 02s to go`);
	assert.match(terminal.stderr.join('\n'), /answered 429; tried again/);
	assert.match(terminal.stdout.join(''), /hf:org\/repo\/a\.gguf is here and verified: 1\.5 MiB, sha256:ab/);
});

test('a pull that fails says why, and one that is left goes on in the daemon', async () => {
	const failed = { code: 'UNAUTHORIZED', message: 'the source wants credentials', retriable: false };
	let ending: readonly string[] = [frame(null, 'error', failed)];
	const daemon = fakeDaemon({
		[`GET ${pulledAt}`]: () => json(200, { ...entry, id: from }),
		[`POST ${pulledAt}/pull`]: () => json(202, { ...entry, id: from, pull: pulling }),
		[`GET ${pulledAt}/events`]: () => stream(ending, ending.length === 0 ? 'open' : 'end'),
	});
	const options = { id: null, digest: null, tags: [], signatures: [], sbom: null, detach: false };
	await assert.rejects(pullModel(daemon.client, from, options, false, fakeTerminal()), /wants credentials \[UNAUTHORIZED\]/);
	const detached = fakeTerminal();
	assert.equal(await pullModel(daemon.client, from, { ...options, detach: true }, false, detached), 0);
	assert.match(detached.stdout.join(''), /is being fetched/);
	ending = [frame(null, 'progress', pulling)];
	const terminal = fakeTerminal();
	const { status } = terminal;
	// Its user leaves as soon as the bar is there.
	terminal.status = (line) => {
		status(line);
		if (line !== null) terminal.interrupt();
	};
	assert.equal(await pullModel(daemon.client, from, options, false, terminal), 130);
	assert.match(terminal.stderr.join('\n'), /goes on fetching .*models cancel/);
});
