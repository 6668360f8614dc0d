/** The lock on a port: one holder at a time, and nothing of it left behind by one that was killed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { lockPort } from '../../src/transport/http/port-lock.ts';

const folder = mkdtempSync(join(tmpdir(), 'orchestratord-lock-'));
after(() => rmSync(folder, { recursive: true }));
// Nothing listens there: the number is this test's own.
const port = 40_000 + (process.pid % 20_000);

test('of many that want a port in the same instant one gets it, and the next when that one lets go', async () => {
	const wanted = await Promise.all(Array.from({ length: 8 }, () => lockPort('127.0.0.1', port, folder)));
	const got = wanted.filter((lock) => lock !== null);
	assert.equal(got.length, 1);
	assert.equal(await lockPort('localhost', port, folder), null);
	const beside = await Promise.all([lockPort('127.0.0.1', port + 1, folder), lockPort('127.0.0.2', port, folder)]);
	assert.ok(beside.every((lock) => lock !== null));
	for (const lock of [...got, ...beside]) lock?.release();
	const next = await lockPort('127.0.0.1', port, folder);
	assert.ok(next);
	next.release();
	const any = await Promise.all([lockPort('127.0.0.1', 0, folder), lockPort('127.0.0.1', 0, folder)]);
	assert.ok(
		any.every((lock) => lock !== null),
		'a port that the system chooses is nobody’s',
	);
});

test('a process that is killed leaves no lock', async () => {
	const module = new URL('../../src/transport/http/port-lock.js', import.meta.url).href;
	const script = `import(${JSON.stringify(module)}).then(({ lockPort }) => lockPort('127.0.0.1', ${port}, ${JSON.stringify(folder)})).then((lock) => { console.log(lock !== null); setInterval(() => {}, 1000); });`;
	const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
	const [said] = (await once(child.stdout, 'data')) as [Buffer];
	assert.equal(said.toString().trim(), 'true');
	assert.equal(await lockPort('127.0.0.1', port, folder), null);
	child.kill('SIGKILL');
	await once(child, 'exit');
	const lock = await lockPort('127.0.0.1', port, folder);
	assert.ok(lock);
	lock.release();
});
