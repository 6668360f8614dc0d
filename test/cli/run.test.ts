/**
 * `run` against a daemon made of answers: what reaches stdout, what survives a broken connection, what Ctrl-C does, and
 * which exit code a script sees.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type RunOptions, run } from '../../src/cli/run-command.ts';
import { fakeDaemon, fakeTerminal, frame, json, stream } from './fake-daemon.ts';

const options: RunOptions = {
	model: 'default',
	prompt: 'hi',
	system: null,
	maxTokens: null,
	temperature: null,
	seed: null,
	priority: null,
	json: false,
};
const accepted = { task_id: 'T', queue_position: 3, predicted_start_ms: 1500, streams: { sse: '/v2/tasks/T/events' } };
const end = { tokens_in: 2, tokens_out: 2, decode_ms: 10, finish_reason: 'stop', canceled: false, seed: 7 };
const whole = [frame(1, 'started', {}), frame(2, 'token', { t: 'Hel', i: 0 }), frame(3, 'token', { t: 'lo', i: 1 }), frame(4, 'end', end)];

test('the text and nothing else reaches stdout', async () => {
	const { client, requests } = fakeDaemon({ 'POST /v2/tasks': () => json(202, accepted), 'GET /v2/tasks/T/events': () => stream(whole) });
	const terminal = fakeTerminal();
	assert.equal(await run(client, options, terminal), 0);
	assert.equal(terminal.stdout.join(''), 'Hello\n');
	assert.deepEqual(requests[0]?.body, { model_ref: 'default', prompt: 'hi', on_disconnect: 'cancel' });
	assert.match(terminal.stderr.join('\n'), /finished: 2 tokens in, 2 out, 200 tokens\/s, seed 7/);
});

test('options become fields of the task', async () => {
	const { client, requests } = fakeDaemon({ 'POST /v2/tasks': () => json(202, accepted), 'GET /v2/tasks/T/events': () => stream(whole) });
	await run(client, { ...options, system: 'Be brief.', maxTokens: 5, temperature: 0, seed: 3, priority: 'batch' }, fakeTerminal());
	assert.deepEqual(requests[0]?.body, {
		model_ref: 'default',
		messages: [
			{ role: 'system', content: 'Be brief.' },
			{ role: 'user', content: 'hi' },
		],
		max_tokens: 5,
		sampling: { temperature: 0 },
		seed: 3,
		priority: 'batch',
		on_disconnect: 'cancel',
	});
});

test('where the task stands is shown while it waits', async () => {
	const frames = [frame(null, 'metrics', { queue_position: 1, predicted_start_ms: 400 }), ': keep-alive\n\n', ...whole];
	const { client } = fakeDaemon({ 'POST /v2/tasks': () => json(202, accepted), 'GET /v2/tasks/T/events': () => stream(frames) });
	const terminal = fakeTerminal();
	await run(client, options, terminal);
	assert.deepEqual(terminal.statuses, [
		'queued: 3 before this one, about 1.5 s',
		'queued: 1 before this one, about 0.4 s',
		'reading the prompt',
	]);
});

test('a broken stream is resumed behind the last event, and nothing is shown twice', async () => {
	const parts = [stream(whole.slice(0, 2), 'cut'), stream([]), stream(whole.slice(1, 3), 'cut'), stream(whole.slice(3))];
	const { client, requests } = fakeDaemon({
		'POST /v2/tasks': () => json(202, accepted),
		'GET /v2/tasks/T/events': () => parts.shift() ?? assert.fail('connected once too often'),
	});
	const terminal = fakeTerminal();
	assert.equal(await run(client, options, terminal), 0);
	assert.equal(terminal.stdout.join(''), 'Hello\n');
	assert.deepEqual(
		requests.slice(1).map((request) => request.headers.get('last-event-id')),
		[null, '2', '2', '3'],
	);
});

test('a daemon that stays away ends the command as unavailable', async () => {
	const { client, requests } = fakeDaemon({
		'POST /v2/tasks': () => json(202, accepted),
		'GET /v2/tasks/T/events': () =>
			Promise.reject(
				Object.assign(new TypeError('fetch failed'), { cause: Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }) }),
			),
	});
	await assert.rejects(run(client, options, fakeTerminal()), { exitCode: 69, message: 'nothing answers on http://daemon.test' });
	assert.equal(requests.length, 7);
});

test('a daemon that forgot the task is told apart from one that is away', async () => {
	const { client } = fakeDaemon({
		'POST /v2/tasks': () => json(202, accepted),
		'GET /v2/tasks/T/events': () => json(404, { code: 'NOT_FOUND', message: 'x', retriable: false }),
	});
	await assert.rejects(run(client, options, fakeTerminal()), { exitCode: 1, message: /does not know the task/ });
});

test('merged frames are unpacked', async () => {
	const frames = [
		frame(1, 'started', {}),
		frame(3, 'token', {
			batch: [
				{ t: 'a', i: 0 },
				{ t: 'b', i: 1 },
			],
		}),
		frame(4, 'end', end),
	];
	const { client } = fakeDaemon({ 'POST /v2/tasks': () => json(202, accepted), 'GET /v2/tasks/T/events': () => stream(frames) });
	const terminal = fakeTerminal();
	await run(client, options, terminal);
	assert.equal(terminal.stdout.join(''), 'ab\n');
});

test('--json prints one event a line, the acceptance first', async () => {
	const { client } = fakeDaemon({ 'POST /v2/tasks': () => json(202, accepted), 'GET /v2/tasks/T/events': () => stream(whole) });
	const terminal = fakeTerminal();
	assert.equal(await run(client, { ...options, json: true }, terminal), 0);
	const lines = terminal.stdout.map((line) => JSON.parse(line) as { event: string; seq: number | null });
	assert.deepEqual(
		lines.map(({ event, seq }) => [event, seq]),
		[
			['accepted', null],
			['started', 1],
			['token', 2],
			['token', 3],
			['end', 4],
		],
	);
});

test('Ctrl-C cancels the task, shows what was made before, and exits with 130', async () => {
	let finish: (response: Response) => void = () => undefined;
	const rest = new Promise<Response>((resolve) => {
		finish = resolve;
	});
	const parts = [stream(whole.slice(0, 2), 'cut'), rest];
	const terminal = fakeTerminal();
	const { client, requests } = fakeDaemon({
		'POST /v2/tasks': () => json(202, accepted),
		'GET /v2/tasks/T/events': () => {
			if (parts.length === 1) queueMicrotask(() => terminal.interrupt());
			return parts.shift() ?? assert.fail('connected once too often');
		},
		'POST /v2/tasks/T/cancel': () => {
			finish(stream([frame(3, 'end', { ...end, finish_reason: 'canceled', canceled: true })]));
			return new Response(null, { status: 204 });
		},
	});
	assert.equal(await run(client, options, terminal), 130);
	assert.equal(terminal.stdout.join(''), 'Hel\n');
	assert.equal(requests.filter((request) => request.path.endsWith('/cancel')).length, 1);
});

test('Ctrl-C before the daemon has answered still cancels the task', async () => {
	const terminal = fakeTerminal();
	const { client, requests } = fakeDaemon({
		'POST /v2/tasks': () => {
			terminal.interrupt();
			return json(202, accepted);
		},
		'POST /v2/tasks/T/cancel': () => new Response(null, { status: 204 }),
		'GET /v2/tasks/T/events': () => stream([frame(1, 'end', { ...end, canceled: true })]),
	});
	assert.equal(await run(client, options, terminal), 130);
	assert.deepEqual(
		requests.map((request) => request.path),
		['/v2/tasks', '/v2/tasks/T/cancel', '/v2/tasks/T/events'],
	);
});

test('a second Ctrl-C leaves at once', async () => {
	const terminal = fakeTerminal();
	const { client } = fakeDaemon({
		'POST /v2/tasks': () => {
			terminal.interrupt();
			terminal.interrupt();
			return Promise.reject(new DOMException('aborted', 'AbortError'));
		},
	});
	assert.equal(await run(client, options, terminal), 130);
});

test('a task that somebody else cancelled is a failure', async () => {
	const frames = [frame(1, 'end', { ...end, finish_reason: 'canceled', canceled: true })];
	const { client } = fakeDaemon({ 'POST /v2/tasks': () => json(202, accepted), 'GET /v2/tasks/T/events': () => stream(frames) });
	assert.equal(await run(client, options, fakeTerminal()), 1);
});

test('an error in the stream is told with its code, and a retriable one asks to come back', async () => {
	const failing = (data: unknown) =>
		fakeDaemon({ 'POST /v2/tasks': () => json(202, accepted), 'GET /v2/tasks/T/events': () => stream([frame(1, 'error', data)]) }).client;
	await assert.rejects(run(failing({ code: 'WORKER_RESET', message: 'the engine died', retriable: true }), options, fakeTerminal()), {
		exitCode: 75,
		message: 'the engine died [WORKER_RESET]',
	});
	await assert.rejects(run(failing({ code: 'INTERNAL', message: 'a bug', retriable: false }), options, fakeTerminal()), { exitCode: 1 });
});

test('a refusal says when to try again', async () => {
	const full = { code: 'ADMISSION_REJECT', message: 'the queue is full', retriable: true, retry_after_ms: 1200 };
	const { client } = fakeDaemon({ 'POST /v2/tasks': () => json(429, full) });
	await assert.rejects(run(client, options, fakeTerminal()), {
		exitCode: 75,
		message: 'the queue is full [ADMISSION_REJECT]',
		advice: 'try again in 1.2 s',
	});
});

test('another program on the port is recognised', async () => {
	const { client } = fakeDaemon({ 'POST /v2/tasks': () => new Response('<html>', { status: 405 }) });
	await assert.rejects(run(client, options, fakeTerminal()), {
		exitCode: 1,
		message: 'http://daemon.test answered 405, and not as an orchestratord does',
	});
});
