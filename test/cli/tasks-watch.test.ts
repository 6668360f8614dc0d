/** `tasks --watch`, against a daemon made of answers: what is told, when, and that it ends. */
import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { Problem } from '../../src/cli/problem.ts';
import { watch } from '../../src/cli/tasks-watch.ts';
import { terminalOf } from '../../src/cli/terminal.ts';
import { type FakeTerminal, fakeDaemon, fakeTerminal, json } from './fake-daemon.ts';

const all = { state: null, pool: null, limit: 5, json: false };

function task(id: string, state: string, more: Readonly<Record<string, unknown>> = {}) {
	return {
		task_id: id,
		state,
		phase: state,
		model_ref: 'm',
		pool_id: 'p',
		replica_id: null,
		priority: 'batch',
		tokens_in: 1,
		tokens_out: 0,
		...more,
	};
}

type Task = ReturnType<typeof task>;

/** Shows each of the listings in turn, then is interrupted. What was listed last of a task is what is told of it by its id. */
function daemonOf(listings: readonly (readonly Task[] | 'away')[], terminal: FakeTerminal, ends: readonly Task[] = []) {
	let look = 0;
	const asked = fakeDaemon({
		'GET /v2/tasks': () => {
			const tasks = listings[look++];
			if (tasks === undefined || look === listings.length) terminal.interrupt();
			if (tasks === 'away')
				throw Object.assign(new TypeError('fetch failed'), { cause: Object.assign(new Error(), { code: 'ECONNREFUSED' }) });
			return json(200, { tasks: tasks ?? [], next_cursor: null });
		},
		...Object.fromEntries(ends.map((each) => [`GET /v2/tasks/${each.task_id}`, () => json(200, each)])),
	});
	return asked;
}

test('away from a terminal each change is one row or one object, tokens are none, and the end of one that is no longer listed is told', async () => {
	const listings = [
		[task('A', 'queued', { queue_position: 1 })],
		[task('B', 'queued', { queue_position: 1, predicted_start_ms: 2_540 }), task('A', 'running', { tokens_out: 3 })],
		[task('B', 'queued', { queue_position: 1 }), task('A', 'running', { tokens_out: 9 })],
		[task('B', 'running')],
	];
	const done = task('A', 'done', { tokens_out: 12 });
	const lines = fakeTerminal();
	assert.equal(await watch(daemonOf(listings, lines, [done]).client, { ...all, json: true }, lines, 0), 130);
	const told = lines.stdout.map((line) => JSON.parse(line) as Task);
	assert.deepEqual(
		told.map(({ task_id: id, state }) => `${id} ${state}`),
		['A queued', 'A running', 'B queued', 'A done', 'B running'],
	);
	assert.deepEqual(told[3], done);
	const rows = fakeTerminal();
	await watch(daemonOf(listings, rows, [done]).client, all, rows, 0);
	assert.equal(rows.stdout.length, 6);
	assert.match(rows.stdout[0] ?? '', /^TASK +STATE +MODEL +POOL +PRIORITY +IN +OUT +STARTS\n$/);
	assert.match(rows.stdout[3] ?? '', /^B +queued +m +p +batch +1 +0 +after 1, in 2\.5 s\n$/);
	assert.match(rows.stdout[4] ?? '', /^A +done +m +p +batch +1 +12 +-\n$/);
	assert.equal(rows.stdout[0]?.indexOf('STATE'), rows.stdout[4]?.indexOf('done'));
});

test('on a terminal the whole table is drawn again at each look', async () => {
	const terminal = fakeTerminal('', true);
	await watch(daemonOf([[task('A', 'queued')], [task('A', 'running')]], terminal).client, all, terminal, 0);
	assert.deepEqual(
		terminal.drawn.map((each) => each.split('\n')[1]?.split(/ +/)[1]),
		['queued', 'running'],
	);
	assert.deepEqual(terminal.stdout, []);
});

test('a table that is drawn again takes the place of the last one, cut to the size of the terminal', () => {
	const written: string[] = [];
	const stdout = Object.assign(
		new Writable({
			write(chunk: Buffer, _encoding, done) {
				written.push(chunk.toString());
				done();
			},
		}),
		{ isTTY: true, columns: 6, rows: 4 },
	);
	const terminal = terminalOf({ stdin: process.stdin, stdout, stderr: stdout, on: () => undefined, removeListener: () => undefined });
	terminal.redraw('abcdefgh\n1\n2\n3\n4\n');
	terminal.redraw('x\n');
	terminal.redraw('y\n');
	assert.deepEqual(written, ['\u001b[Jabcde\n1\n2\n', '\u001b[3A\u001b[Jx\n', '\u001b[1A\u001b[Jy\n']);
});

test('a daemon that is away for a while is waited for, one that stays away is not', async () => {
	const terminal = fakeTerminal();
	const { client } = daemonOf([[task('A', 'queued')], 'away', 'away', [task('A', 'running')]], terminal);
	assert.equal(await watch(client, { ...all, json: true }, terminal, 0), 130);
	assert.equal(terminal.stdout.length, 2);
	assert.match(terminal.statuses[0] ?? '', /trying again/);
	const alone = fakeTerminal();
	const gone = daemonOf(
		Array.from({ length: 100 }, () => 'away' as const),
		alone,
	);
	await assert.rejects(watch(gone.client, all, alone, 0), (error) => error instanceof Problem && error.exitCode === 69);
	assert.equal(gone.requests.length, 15);
});
