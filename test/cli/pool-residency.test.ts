/** `pools load` and `pools unload` against a daemon made of answers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadPool, unloadPool } from '../../src/cli/pool-residency.ts';
import { fakeDaemon, fakeTerminal, json } from './fake-daemon.ts';

test('a load is waited for, and its exit code says what came of it; an unload is not', async () => {
	const states = ['unloaded', 'starting', 'ready', 'unloaded', 'failed'];
	const daemon = fakeDaemon({
		'POST /v2/pools/p/load': () => json(202, { pool_id: 'p', loaded: true }),
		'POST /v2/pools/p/unload': () => json(202, { pool_id: 'p', loaded: false }),
		'GET /v2/pools/p': () => json(200, { pool_id: 'p', state: states.shift(), last_error: 'it needs 9 MiB' }),
	});
	const terminal = fakeTerminal();
	assert.equal(await loadPool(daemon.client, 'p', false, terminal, 1), 0);
	assert.equal(await unloadPool(daemon.client, 'p', false, terminal), 0);
	assert.equal(await loadPool(daemon.client, 'p', false, terminal, 1), 1);
	assert.equal(terminal.stdout.join(''), 'p is loaded\np is unloaded behind its last task\n');
	assert.match(terminal.stderr.join('\n'), /it needs 9 MiB/);
});
