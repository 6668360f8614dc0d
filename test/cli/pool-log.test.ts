/** `pools logs`, against a daemon made of answers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { poolLog } from '../../src/cli/pool-log.ts';
import { fakeDaemon, fakeTerminal, frame, json, stream } from './fake-daemon.ts';

const line = (id: number) => ({ id, at: '2026-01-01T00:00:00.000Z', replica_id: 'p-0', source: 'stderr', text: `line ${id}` });

test('prints the last lines, and ends', async () => {
	const { client, requests } = fakeDaemon({
		'GET /v2/pools/p/logs': () => json(200, { pool_id: 'p', lines: [line(1)], gap: false, next: 1 }),
	});
	const terminal = fakeTerminal();
	assert.equal(await poolLog(client, 'p', { tail: 5, follow: false, json: false }, terminal), 0);
	assert.deepEqual(
		requests.map(({ path }) => path),
		['/v2/pools/p/logs?tail=5'],
	);
	assert.equal(terminal.stdout.join(''), '2026-01-01T00:00:00.000Z p-0 line 1\n');
});

test('goes on behind the last line when the connection is lost, until Ctrl-C', async () => {
	const terminal = fakeTerminal();
	const { client, requests } = fakeDaemon({
		'GET /v2/pools/p/logs': ({ headers }) => {
			const after = Number(headers.get('last-event-id') ?? 0);
			if (after === 2) terminal.interrupt();
			return stream([frame(after + 1, 'line', line(after + 1))], after === 0 ? 'cut' : 'end');
		},
	});
	assert.equal(await poolLog(client, 'p', { tail: 5, follow: true, json: true }, terminal), 130);
	assert.deepEqual(
		requests.map(({ headers }) => headers.get('last-event-id')),
		[null, '1', '2'],
	);
	assert.deepEqual(
		terminal.stdout.slice(0, 2).map((each) => JSON.parse(each) as unknown),
		[line(1), line(2)],
	);
});
