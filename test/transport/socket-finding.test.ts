/** A WebSocket's session whose tasks live on another front thread: what it says and does while they are being found. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { failure } from '../../src/actors/serving/failure.ts';
import { SocketWatch } from '../../src/transport/stream/socket-watch.ts';
import { assertWhole, type Sent, World } from './socket-world.ts';

function worldThatFindsLater(): World {
	const world = new World();
	world.findsLater = true;
	return world;
}

/** By ref, event and, where there is one, code. */
function said(sent: readonly Sent[]): readonly string[] {
	return sent
		.filter(({ event }) => event !== 'metrics')
		.map(({ ref, event, data }) => [ref ?? '-', event, ...(event === 'rejected' ? [String(data?.['code'])] : [])].join(' '));
}

describe('a task that is being found for a watch', () => {
	it('adds up the credit that is given meanwhile, and has just that', () => {
		const world = worldThatFindsLater();
		const task = world.add(1);
		const id = task.request.taskId;
		task.start();
		task.tokens('a', 'b', 'c', 'd', 'e', 'f', 'g');
		world.say({ op: 'watch', task_id: id.toUpperCase(), credit: 1 });
		world.say({ op: 'credit', task_id: id, n: 2 });
		world.say({ op: 'credit', task_id: id.toUpperCase(), n: 1 });
		world.say({ op: 'ping', ref: 'p' });
		assert.deepEqual(said(world.socket.sent), ['p pong']);
		world.found();
		assert.deepEqual(said(world.socket.sent).slice(1), ['- accepted', '- started', ...Array<string>(4).fill('- token')]);
		world.say({ op: 'credit', task_id: id, n: 100 });
		task.end();
		world.turn();
		assertWhole(world.events(task), task);
		assert.deepEqual([world.watches, task.watchers], [0, 0]);
	});

	it('is watched again as if it had been found: in order, each from where it says, credit to the one before it', () => {
		const world = worldThatFindsLater();
		const task = world.add(1);
		const id = task.request.taskId;
		task.start();
		task.tokens('a', 'b', 'c');
		world.say({ op: 'watch', ref: 'first', task_id: id, credit: 0 });
		world.say({ op: 'credit', task_id: id, n: 1 });
		world.say({ op: 'watch', ref: 'second', task_id: id, after: 2, credit: 0 });
		world.say({ op: 'credit', task_id: id, n: 2 });
		world.say({ op: 'watch', ref: 'third', task_id: id, after: 99 });
		world.say({ op: 'credit', task_id: id, n: 5 });
		assert.equal(world.finds.length, 1, 'one find of a task at a time');
		world.found();
		assert.deepEqual(said(world.socket.sent), ['first accepted', 'first started', 'first token']);
		world.found();
		assert.deepEqual(said(world.socket.sent).slice(3), ['second accepted', 'second token', 'second token']);
		world.found();
		task.tokens('d', 'e', 'f', 'g', 'h', 'i');
		world.turn();
		// the credit behind the watch that was refused is for the one that goes on
		assert.deepEqual(said(world.socket.sent).slice(6), ['third rejected INVALID_PARAMS', ...Array<string>(5).fill('second token')]);
		assert.deepEqual([world.watches, task.watchers], [1, 1]);
	});

	it('is cancelled at once, and that is answered behind the watch', () => {
		const world = worldThatFindsLater();
		const task = world.add(1);
		const id = task.request.taskId;
		task.start();
		world.say({ op: 'watch', ref: 'w', task_id: id });
		world.say({ op: 'cancel', ref: 'c', task_id: id });
		assert.equal(task.state, 'canceled');
		assert.deepEqual(said(world.socket.sent), []);
		world.found();
		assert.deepEqual(said(world.socket.sent), ['w accepted', 'w started', 'w end', 'c accepted']);
	});

	it('is nowhere: each watch is refused, and so is a cancel behind it, in order', () => {
		const world = worldThatFindsLater();
		world.say({ op: 'watch', ref: 'a', task_id: 'x' });
		world.say({ op: 'credit', task_id: 'x', n: 1 });
		world.say({ op: 'watch', ref: 'b', task_id: 'x' });
		world.say({ op: 'cancel', ref: 'c', task_id: 'x' });
		world.found();
		world.found();
		assert.deepEqual(said(world.socket.sent), ['a rejected NOT_FOUND', 'b rejected NOT_FOUND', 'c accepted']);
		world.say({ op: 'credit', ref: 'd', task_id: 'x', n: 1 });
		assert.equal(said(world.socket.sent).at(-1), 'd rejected NOT_FOUND');
	});

	it('is not watched when the socket has closed meanwhile', () => {
		const world = worldThatFindsLater();
		const tasks = [world.add(1), world.add(2)];
		for (const task of tasks) world.say({ op: 'watch', task_id: task.request.taskId });
		for (const task of tasks) world.say({ op: 'watch', task_id: task.request.taskId, after: 0 });
		world.socket.close(1000, 'gone');
		while (world.finds.length > 0) world.found();
		for (const task of tasks) assert.deepEqual([task.told, task.log.watched], [[], false]);
		assert.deepEqual([world.watches, world.sockets.size], [0, 0]);
	});

	it('is one of a bounded number, and what is found makes room', () => {
		const world = worldThatFindsLater();
		const task = world.add(0);
		const id = task.request.taskId;
		for (let n = 0; n < 1023; n++) world.say({ op: 'watch', task_id: `t${n % 500}` });
		world.say({ op: 'watch', task_id: id });
		assert.deepEqual(said(world.socket.sent), []);
		world.say({ op: 'watch', ref: 'one more', task_id: id });
		assert.deepEqual(said(world.socket.sent), ['one more rejected ADMISSION_REJECT']);
		assert.equal(world.socket.sent[0]?.data?.['retriable'], true);
		world.found();
		world.say({ op: 'watch', ref: 'again', task_id: id });
		assert.equal(said(world.socket.sent).at(-1), '- rejected NOT_FOUND');
		while (world.finds.length > 0) world.found();
		assert.ok(said(world.socket.sent).includes('again accepted'));
		assert.equal(world.watches, 1);
	});

	it('keeps the connection of a daemon that stops until it is found', () => {
		const world = worldThatFindsLater();
		world.draining = true;
		world.say({ op: 'watch', task_id: 'x' });
		world.session.tick(1_000);
		assert.equal(world.socket.closed, false);
		world.found();
		world.session.tick(2_000);
		assert.equal(world.socket.closedWith?.[0], 1001);
	});
});

describe('a watched task of another front thread', () => {
	it('is cancelled, and the answer waits for the end that is on its way', () => {
		const world = new World();
		world.endsLater = true;
		const task = world.add(1);
		const id = task.request.taskId;
		task.start();
		world.say({ op: 'watch', ref: 'w', task_id: id });
		world.say({ op: 'cancel', ref: 'c', task_id: id });
		task.tokens('made before');
		world.turn();
		assert.deepEqual(said(world.socket.sent), ['w accepted', 'w started', 'w token']);
		task.end('canceled');
		world.turn();
		assert.deepEqual(said(world.socket.sent).slice(3), ['w end', 'c accepted']);
		const lost = world.add(2);
		world.say({ op: 'watch', ref: 'w', task_id: lost.request.taskId });
		world.say({ op: 'cancel', ref: 'c', task_id: lost.request.taskId });
		lost.log.forget();
		world.turn();
		assert.deepEqual(said(world.socket.sent).slice(5), ['w accepted', '- rejected POOL_UNREADY', 'c accepted']);
	});

	it('whose copied events are given up while it runs is to be watched again; one that has ended is over', () => {
		const world = new World();
		const [running, ended] = [world.add(1), world.add(2)];
		running.start();
		world.say({ op: 'watch', ref: 'r', task_id: running.request.taskId });
		world.say({ op: 'watch', ref: 'e', task_id: ended.request.taskId, credit: 0 });
		ended.start();
		ended.tokens('unread');
		ended.end();
		world.turn();
		world.socket.sent.length = 0;
		running.log.forget();
		ended.log.forget();
		world.turn();
		assert.deepEqual(said(world.socket.sent), ['- rejected POOL_UNREADY', '- rejected EVENTS_EXPIRED']);
		assert.deepEqual(
			world.socket.sent.map(({ data }) => data?.['retriable']),
			[true, false],
		);
		assert.deepEqual([world.watches, running.watchers, ended.watchers], [0, 0, 0]);
	});

	it('whose front is lost ends with the error', () => {
		const world = new World();
		const task = world.add(1);
		task.start();
		world.say({ op: 'watch', ref: 'w', task_id: task.request.taskId });
		task.fail(failure('WORKER_RESET', 'the thread is gone'));
		world.turn();
		assert.deepEqual(said(world.socket.sent).slice(1), ['w started', 'w error']);
		assert.deepEqual([world.watches, task.watchers], [0, 0]);
	});

	it('whose log begins high is watched from anywhere below its end', () => {
		const world = new World();
		const task = world.add(1, 1_000_000_000);
		const watch = new SocketWatch(task, null, 0, null, { send: () => true, now: () => 0, marked: () => undefined });
		assert.equal(watch.hasMore, false, 'nothing is logged: the session would never be done with it');
		task.fail(failure('WORKER_RESET', 'the thread is gone'));
		for (const after of [0, 57, 999_999_999, 1_000_000_000]) {
			for (const credit of [undefined, 0]) {
				world.socket.sent.length = 0;
				world.say({ op: 'watch', ref: 'w', task_id: task.request.taskId, after, credit });
				const events = after === 1_000_000_000 ? [] : ['w error'];
				assert.deepEqual(said(world.socket.sent), ['w accepted', ...events], `after ${after}`);
				assert.deepEqual(
					world.events(task).map(({ seq }) => seq),
					events.map(() => 1_000_000_000),
				);
				assert.equal(world.watches, 0);
			}
		}
	});
});
