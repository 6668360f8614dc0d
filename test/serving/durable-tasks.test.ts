/** Durable tasks on one front with the real journal over a store in memory: what waits for the disk, and what the next daemon finds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CancelDone, TaskView } from '../../src/actors/serving/task-directory.ts';
import type { TaskRequest } from '../../src/actors/serving/task-request.ts';
import { eventsOf, FrontWorld, namesOf } from './front-world.ts';
import { MemoryStore } from './memory-store.ts';

const world = (store: MemoryStore, seed = 1): FrontWorld => {
	const made = new FrontWorld(seed, {}, undefined, undefined, store);
	made.run();
	return made;
};

const durable: Partial<TaskRequest> = { durable: true, priority: 'batch' };
const full = { kind: 'full', words: 'no space' } as const;

/** Cancels, and gives the answers as they come. */
function cancel(front: FrontWorld, task: TaskView): CancelDone[] {
	const answers: CancelDone[] = [];
	const edge = front.system.edge<CancelDone>((answer) => {
		answers.push(answer);
		edge.close();
	});
	task.ref.tell({ type: 'cancel', reason: 'client', replyTo: edge });
	front.run();
	return answers;
}

test('a durable task has its 202 once it is on disk, and not before', () => {
	const store = new MemoryStore();
	const front = world(store);
	store.slow = true;
	const { answers } = front.open('a', durable);
	front.control.queue('a', 0);
	front.run();
	assert.deepEqual([answers.length, store.keys('live')], [0, []]);
	store.release();
	front.run();
	assert.deepEqual([answers[0]?.type, store.keys('live')], ['task-opened', ['a']]);
});

test('the same request again waits for the same disk', () => {
	const store = new MemoryStore();
	const front = world(store);
	store.slow = true;
	const first = front.open('a', durable);
	front.control.queue('a', 0);
	front.run();
	const again = front.open('a', durable);
	assert.deepEqual([first.answers.length, again.answers.length], [0, 0]);
	store.release();
	front.run();
	assert.deepEqual([first.answers[0]?.type, again.answers[0]?.type], ['task-opened', 'task-opened']);
});

test('a task that is not durable asks nothing of the journal', () => {
	const store = new MemoryStore();
	const front = world(store);
	const before = store.commits.length;
	front.running('a').generation.end();
	front.run();
	assert.deepEqual(namesOf(front.view('a')), ['started', 'end']);
	assert.equal(store.commits.length, before);
});

test('all that comes in one pass is written at once', () => {
	const store = new MemoryStore();
	const front = world(store);
	const ids = Array.from({ length: 20 }, (_, index) => `t${index}`);
	for (const id of ids) front.open(id, durable);
	store.commits.length = 0;
	for (const id of ids) front.control.queue(id, 0);
	front.run();
	assert.equal(store.commits.length, 1);
	assert.equal(store.keys('live').length, 20);
});

test('what cannot be written is refused, its place is given back, and the id is free again', () => {
	const store = new MemoryStore();
	const front = world(store);
	store.problem = full;
	const { answers } = front.open('a', durable);
	front.control.queue('a', 0);
	front.run();
	const [answer] = answers;
	assert.ok(answer?.type === 'task-refused');
	assert.deepEqual([answer.failure.code, answer.failure.retriable, answer.failure.policyLabel], ['POOL_UNREADY', true, 'journal']);
	assert.match(answer.failure.message, /disk of the store is full.*durable: false/);
	assert.equal(front.control.of('withdraw').length, 1);
	front.control.tell('a', { type: 'withdrawn' });
	front.run();
	assert.deepEqual([front.registry.lookup('a').found, store.keys('live')], ['nothing', []]);
	store.problem = null;
	assert.equal(front.queued('a', durable).state, 'queued');
	assert.deepEqual(store.keys('live'), ['a']);
	// It is said once, and once that it is over.
	assert.deepEqual(
		front.telemetry.lines.filter(({ event }) => event.startsWith('journal-')).map(({ event }) => event),
		['journal-failed', 'journal-recovered'],
	);
});

test('a task that has begun when it turns out that it cannot be kept is refused, and its slot freed', () => {
	const store = new MemoryStore();
	const front = world(store);
	store.slow = true;
	store.problem = { kind: 'failed', words: 'Input/output error' };
	const { answers } = front.open('a', durable);
	const lease = front.control.grant('a');
	front.run();
	front.decode.generations.at(-1)?.started();
	front.run();
	assert.equal(answers.length, 0);
	store.release();
	front.run();
	assert.ok(answers[0]?.type === 'task-refused' && answers[0].failure.code === 'POOL_UNREADY');
	assert.equal(front.control.settlementsOf(lease).length, 1);
	assert.equal(front.registry.lookup('a').found, 'nothing');
});

test('the end of a durable task is told once it is on disk, with all that was made before', () => {
	const store = new MemoryStore();
	const front = world(store);
	const { task, generation } = front.running('a', durable);
	generation.pieces({ text: 'secret-output' });
	store.slow = true;
	generation.end();
	front.run();
	assert.deepEqual([task.state, namesOf(task), task.log.ended], ['running', ['started', 'token'], false]);
	store.release();
	front.run();
	assert.deepEqual([task.state, namesOf(task), store.keys('live'), store.keys('ended')], ['done', ['started', 'token', 'end'], [], ['a']]);
});

test('an end that cannot be written is tried again until it can be; the slot is free meanwhile', () => {
	const store = new MemoryStore();
	const front = world(store);
	const { task, generation, lease } = front.running('a', durable);
	store.problem = full;
	generation.end();
	front.run();
	front.host.advance(5_000);
	assert.deepEqual([task.state, task.log.ended, front.control.settlementsOf(lease).length], ['running', false, 1]);
	store.problem = null;
	front.host.advance(1_000);
	assert.deepEqual([task.state, namesOf(task), store.keys('ended')], ['done', ['started', 'end'], ['a']]);
});

test('a commit without room refuses what is new and still takes what ends', () => {
	const store = new MemoryStore();
	const front = world(store);
	const { task, generation } = front.running('a', durable);
	const { answers } = front.open('b', durable);
	// As a disk would that has room for little.
	const commit = store.commit.bind(store);
	store.commit = (writes, done) => {
		store.problem = writes.some(({ table, value }) => table === 'live' && value !== null) ? full : null;
		commit(writes, done);
	};
	generation.end();
	front.control.queue('b', 0);
	front.run();
	assert.ok(answers[0]?.type === 'task-refused');
	assert.deepEqual([task.state, store.keys('ended'), store.keys('live')], ['done', ['a'], []]);
});

test('a cancel is answered once it is on disk, and says so where it cannot be', () => {
	const store = new MemoryStore();
	const front = world(store);
	const task = front.queued('a', durable);
	store.slow = true;
	const first = cancel(front, task);
	assert.deepEqual([first.length, task.log.ended], [0, false]);
	store.release();
	front.run();
	assert.deepEqual([first, task.state, namesOf(task), store.keys('live')], [[{ type: 'cancel-done' }], 'canceled', ['end'], []]);
	store.slow = false;
	const other = front.queued('b', durable);
	store.problem = full;
	const [unkept] = cancel(front, other);
	assert.equal(unkept?.failure?.code, 'POOL_UNREADY');
	assert.equal(other.log.ended, false);
	store.problem = null;
	front.host.advance(1_000);
	assert.deepEqual([other.state, cancel(front, other)], ['canceled', [{ type: 'cancel-done' }]]);
});

// ── the next daemon ──────────────────────────────────────────────────────────────────────────────────────────────

test('the next daemon runs again what had not ended, in the order of admission, as a new run; what had ended is as it was', () => {
	const store = new MemoryStore();
	const before = world(store);
	const ended = before.running('ended', { ...durable, idempotencyKey: 'key-of-ended' });
	ended.generation.pieces({ text: 'one' }, { text: 'two' });
	ended.generation.end();
	before.run();
	before.queued('first', durable);
	before.host.advance(10);
	const running = before.running('second', durable);
	running.generation.pieces({ text: 'lost' });
	before.host.advance(10);
	before.queued('third', { ...durable, idempotencyKey: 'key-of-third' });
	cancel(before, before.queued('cancelled', durable));

	const after = world(store, 2);
	assert.deepEqual(
		after.control.of('submit').map(({ summary, again }) => [summary.taskId, again, summary.recalled]),
		[
			['first', true, true],
			['second', true, true],
			['third', true, true],
		],
	);
	const reported = after.control.commands.map(({ type }) => type);
	assert.ok(reported.lastIndexOf('submit') < reported.indexOf('front-reported'), 'all are in their queues before anything is granted');
	assert.deepEqual(
		after.control.of('report-tasks')[0]?.tasks.map(({ taskId }) => taskId),
		['ended', 'cancelled'],
	);
	const found = after.view('ended');
	assert.deepEqual([found.state, found.log.run, found.tokensOut, found.request.seed], ['done', 1, 2, 7]);
	assert.deepEqual(eventsOf(found), eventsOf(before.view('ended')));
	assert.deepEqual([after.view('cancelled').state, namesOf(after.view('cancelled'))], ['canceled', ['end']]);
	// The same again is the same task, by id and by key.
	const { answers } = after.open('other', { ...durable, idempotencyKey: 'key-of-third' });
	assert.ok(answers[0]?.type === 'task-opened' && answers[0].task.request.taskId === 'third' && !answers[0].fresh);
	const replay = after.open('other', { ...durable, idempotencyKey: 'key-of-ended' });
	assert.ok(replay.answers[0]?.type === 'task-opened' && replay.answers[0].task === found);
	// A new run, from the start, under its own numbers.
	after.control.grant('second');
	after.run();
	const generation = after.decode.generations.at(-1);
	assert.deepEqual(generation?.request.input, { kind: 'prompt', text: 'secret-prompt', raw: true });
	assert.equal(generation?.request.resume, null);
	generation?.started();
	generation?.pieces({ text: 'again' });
	generation?.end();
	after.run();
	const again = after.view('second');
	assert.deepEqual([again.state, again.log.run, namesOf(again)], ['done', 2, ['started', 'token', 'end']]);
	assert.deepEqual(store.keys('live'), ['first', 'third']);
});

test('each start of the daemon is another run, also of what ended in the end', () => {
	const store = new MemoryStore();
	world(store).queued('a', durable);
	for (const seed of [2, 3, 4]) assert.equal(world(store, seed).view('a').log.run, seed);
	const last = world(store, 5);
	cancel(last, last.view('a'));
	last.control.tell('a', { type: 'withdrawn' });
	last.run();
	assert.equal(world(store, 6).view('a').log.run, 5);
});

test('one that was on its way to the disk when the daemon was lost is there as a whole, or not at all', () => {
	const store = new MemoryStore();
	const front = world(store);
	store.slow = true;
	front.open('a', durable);
	front.control.queue('a', 0);
	front.run();
	store.lose();
	store.slow = false;
	const after = world(store, 2);
	assert.deepEqual([after.registry.lookup('a').found, after.control.of('submit').length], ['nothing', 0]);
	assert.equal(after.queued('a', durable).state, 'queued');
});

test('until the journal has told all, no task gets in and none is denied', () => {
	const store = new MemoryStore();
	world(store).queued('a', durable);
	store.slow = true;
	const after = world(store, 2);
	assert.deepEqual(
		[after.registry.complete, after.registry.controlReachable, after.control.of('front-reported').length],
		[false, false, 0],
	);
	const { answers } = after.open('b');
	assert.ok(answers[0]?.type === 'task-refused' && answers[0].failure.code === 'POOL_UNREADY');
	store.release();
	after.run();
	assert.deepEqual([after.registry.complete, after.registry.controlReachable, after.control.of('front-reported').length], [true, true, 1]);
	assert.equal(after.view('a').state, 'queued');
});

test('a run whose number could not be written does not begin before it can be', () => {
	const store = new MemoryStore();
	world(store).queued('a', durable);
	store.problem = full;
	const after = world(store, 2);
	after.host.advance(3_000);
	assert.equal(after.control.of('submit').length, 0);
	store.problem = null;
	after.host.advance(2_000);
	assert.equal(after.control.of('submit').length, 1);
	assert.ok((after.view('a').log.run ?? 0) >= 2);
});

test('a key that a later request brought is kept before that is answered', () => {
	const store = new MemoryStore();
	const front = world(store);
	front.queued('a', durable);
	store.slow = true;
	const { answers } = front.open('a', { ...durable, idempotencyKey: 'later' });
	assert.equal(answers.length, 0);
	store.release();
	front.run();
	assert.equal(answers[0]?.type, 'task-opened');
	store.slow = false;
	const after = world(store, 2);
	const again = after.open('other', { ...durable, idempotencyKey: 'later' });
	assert.ok(again.answers[0]?.type === 'task-opened' && again.answers[0].task.request.taskId === 'a');
});

test('a deadline goes on while the daemon is away', () => {
	const store = new MemoryStore();
	const front = world(store);
	front.queued('a', { ...durable, deadlineMs: 10_000 });
	front.host.advance(4_000);
	const after = world(store, 2);
	// Both clocks began at the same time of day: this one is behind.
	after.host.advance(9_999);
	assert.equal(after.view('a').state, 'queued');
	after.host.advance(1);
	assert.deepEqual([after.view('a').state, after.view('a').failure?.code], ['failed', 'DEADLINE_UNMET']);
	assert.deepEqual(store.keys('live'), []);
});

test('who was to be cancelled when nobody watches it any more is, if somebody had', () => {
	const store = new MemoryStore();
	const front = world(store);
	const request = { ...durable, onDisconnect: 'cancel', disconnectGraceMs: 2_000 } as const;
	front.queued('watched', request).ref.tell({ type: 'watcher-attached' });
	front.queued('unwatched', request);
	front.run();
	const after = world(store, 2);
	after.host.advance(2_000);
	assert.deepEqual([after.view('watched').state, after.view('unwatched').state], ['canceled', 'queued']);
});

// ── bounds ───────────────────────────────────────────────────────────────────────────────────────────────────────

test('what has ended is forgotten when its time is over, on disk as well', () => {
	const store = new MemoryStore();
	const front = world(store);
	const { generation } = front.running('a', durable);
	generation.end();
	front.run();
	front.host.advance(store.retentionMs - 2_000);
	assert.deepEqual(store.keys('ended'), ['a']);
	front.host.advance(4_000);
	assert.deepEqual([store.keys('ended'), front.registry.lookup('a').found], [[], 'expired']);
});

test('a full journal forgets results early, keeps their ids and keys, and refuses what is new only then', () => {
	const store = new MemoryStore();
	store.bytesMax = 8_000;
	const front = world(store);
	const { generation } = front.running('old', { ...durable, idempotencyKey: 'old-key' });
	generation.pieces(...Array.from({ length: 60 }, () => ({ text: 'secret-output' })));
	generation.end();
	front.run();
	const before = store.read('ended', 'old')?.length ?? 0;
	const taken: string[] = [];
	let refused: string | undefined;
	for (let n = 0; refused === undefined && n < 50; n += 1) {
		const { answers } = front.open(`t${n}`, durable);
		front.control.queue(`t${n}`, n);
		front.run();
		const [answer] = answers;
		if (answer?.type === 'task-opened') taken.push(`t${n}`);
		else refused = `${answer?.failure.code} ${answer?.failure.policyLabel}`;
	}
	assert.equal(refused, 'ADMISSION_REJECT journal');
	assert.ok(taken.length > 2, `${taken.length} taken`);
	assert.ok((store.read('ended', 'old')?.length ?? before) < before / 2, 'its events are gone');
	const after = world(store, 2);
	assert.equal(after.registry.lookup('old').found, 'expired');
	const { answers } = after.open('other', { ...durable, idempotencyKey: 'old-key' });
	assert.ok(answers[0]?.type === 'task-refused' && answers[0].failure.code === 'EVENTS_EXPIRED');
	assert.equal(after.control.of('submit').length, taken.length, 'none that was taken is lost');
});

// ── an orderly end ───────────────────────────────────────────────────────────────────────────────────────────────

test('at an orderly end waiting durable tasks are left at once, running ones at its last moment, and all to the next daemon', () => {
	const store = new MemoryStore();
	const front = world(store);
	const waiting = front.queued('waiting', durable);
	const running = front.running('running', durable);
	front.tasks.tell({ type: 'suspend-waiting' });
	front.run();
	assert.deepEqual(
		front.control.of('withdraw').map(({ taskId }) => taskId),
		['waiting'],
	);
	front.control.tell('waiting', { type: 'withdrawn' });
	front.run();
	assert.deepEqual([waiting.log.ended, waiting.log.forgotten, running.task.state, front.registry.liveCount], [false, true, 'running', 1]);
	front.tasks.tell({ type: 'cancel-all', reason: 'drain' });
	front.run();
	assert.deepEqual([running.task.log.ended, running.task.log.forgotten, front.registry.liveCount], [false, true, 0]);
	assert.equal(front.control.settlementsOf(running.lease).length, 1);
	assert.deepEqual(store.keys('live'), ['running', 'waiting']);
	assert.equal(world(store, 2).control.of('submit').length, 2);
});
