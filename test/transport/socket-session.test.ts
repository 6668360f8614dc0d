/** A WebSocket's session over a socket made of fields: credits, slow readers, fairness, and that nothing is lost or repeated. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { FakeTask } from './fake-task.ts';
import { assertWhole, tokensIn, World } from './socket-world.ts';

describe('a WebSocket session', () => {
	it('answers what it cannot read with a rejection that names the field, and closes at the hundredth', () => {
		const world = new World();
		const wrong: readonly (readonly [unknown, RegExp])[] = [
			['nonsense', /not JSON/],
			['[]', /not a JSON object/],
			[{ op: 'dance' }, /op is "dance"; known are submit/],
			[{ op: 'ping', more: 1 }, /"more" is no field of ping/],
			[{ op: 'submit' }, /task is missing/],
			[{ op: 'watch' }, /task_id is missing/],
			[{ op: 'watch', task_id: 'x', after: -1 }, /after is -1/],
			[{ op: 'credit', task_id: 'x', n: 0 }, /n is 0/],
			[{ op: 'credit', task_id: 'x', n: 1.5 }, /n is 1.5/],
			[{ op: 'submit', task: {}, ref: 7 }, /ref must be a text/],
		];
		for (const [message, words] of wrong) {
			world.say(message);
			const last = world.socket.sent.at(-1);
			assert.equal(last?.event, 'rejected');
			assert.deepEqual([last?.data?.['code'], last?.data?.['correlation_id']], ['INVALID_PARAMS', 'correlation']);
			assert.match(String(last?.data?.['message']), words);
		}
		for (let more = wrong.length; more < 100; more++) {
			assert.equal(world.socket.closed, false);
			world.say('{');
		}
		assert.equal(world.socket.closedWith?.[0], 1008);
		assert.equal(world.sockets.size, 0);
	});

	it('sends at most as many token events as it was given credit for, and the end behind them', () => {
		const world = new World();
		const task = world.add(1);
		const id = task.request.taskId;
		world.say({ op: 'watch', task_id: id, credit: 2 });
		task.start();
		task.tokens('a', 'b', 'c', 'd', 'e');
		task.end();
		world.turn();
		assert.deepEqual(
			world.events(task).map(({ event }) => event),
			['started', 'token', 'token'],
		);
		world.time += 1_000_000;
		world.session.tick(world.time);
		assert.equal(world.socket.closed, false);
		world.say({ op: 'credit', task_id: id, n: 2 });
		assert.equal(world.events(task).length, 5);
		world.say({ op: 'credit', task_id: id, n: 5 });
		assertWhole(world.events(task), task);
		assert.equal(world.watches, 0);
		assert.equal(task.watchers, 0);
		world.say({ op: 'credit', task_id: id, n: 5 });
		assert.equal(world.socket.sent.at(-1)?.data?.['code'], 'NOT_FOUND');
	});

	it('numbers the events of a durable task by run and seq, and goes on behind one of them', () => {
		const world = new World();
		const task = world.add(1, 1, 2);
		const { taskId } = task.request;
		task.start();
		task.tokens('a', 'b');
		task.end();
		const seqs = (): unknown[] => world.events(task).map(({ seq }) => seq);
		world.say({ op: 'watch', task_id: taskId });
		assert.deepEqual(seqs(), ['2.1', '2.2', '2.3', '2.4']);
		assert.equal(world.socket.sent.find(({ event }) => event === 'accepted')?.data?.['last_seq'], '2.4');
		world.say({ op: 'watch', task_id: taskId, after: '2.3' });
		assert.deepEqual(seqs(), ['2.1', '2.2', '2.3', '2.4', '2.4']);
		for (const [after, code] of [
			['1.3', 'EVENTS_EXPIRED'],
			['2.5', 'INVALID_PARAMS'],
			[3, 'INVALID_PARAMS'],
			['x', 'INVALID_PARAMS'],
		] as const) {
			world.say({ op: 'watch', task_id: taskId, after });
			assert.deepEqual([after, world.socket.sent.at(-1)?.event, world.socket.sent.at(-1)?.data?.['code']], [after, 'rejected', code]);
		}
	});

	it('lets the tasks of one socket take turns', () => {
		const world = new World();
		const tasks = [world.add(1), world.add(2)];
		for (const task of tasks) {
			task.start();
			for (let batch = 0; batch < 50; batch++) task.tokens(...Array.from({ length: 40 }, () => 'some words '));
			world.say({ op: 'watch', task_id: task.request.taskId, credit: 0 });
		}
		world.socket.sent.length = 0;
		for (const task of tasks)
			world.session.onMessage(Buffer.from(JSON.stringify({ op: 'credit', task_id: task.request.taskId, n: 9_999 })), true);
		world.turn();
		const [first, second] = tasks.map((task) => world.socket.sent.findIndex((sent) => sent.task_id === task.request.taskId));
		const lastOfFirst = world.socket.sent.findLastIndex((sent) => sent.task_id === tasks[0]?.request.taskId);
		assert.ok((first ?? 0) < (second ?? 0) && (second ?? 0) < lastOfFirst);
	});

	it('writes nothing to a socket that has refused, then merges tokens, and cuts it when nothing leaves for stall_ms', () => {
		const world = new World();
		const task = world.add(1);
		world.say({ op: 'watch', task_id: task.request.taskId });
		task.start();
		task.tokens('w');
		world.turn();
		world.socket.room = 300;
		for (let batch = 0; batch < 20; batch++) {
			task.tokens('x');
			world.turn();
		}
		const before = world.events(task).length;
		assert.ok(before < 10);
		assert.ok(world.events(task).every((event) => event.data?.['batch'] === undefined));
		task.tokens('y');
		world.turn();
		assert.equal(world.events(task).length, before);
		world.socket.read();
		world.turn();
		assert.equal(world.events(task).length, before + 1);
		assert.ok(Array.isArray(world.events(task).at(-1)?.data?.['batch']));
		task.tokens('z');
		world.turn();
		assert.equal(world.events(task).at(-1)?.data?.['batch'], undefined);
		world.socket.room = 0;
		task.tokens('w');
		world.turn();
		world.time += 29_000;
		world.session.tick(world.time);
		assert.equal(world.socket.aborted, false);
		world.time += 2_000;
		world.session.tick(world.time);
		assert.equal(world.socket.aborted, true);
		assert.equal(task.watchers, 0);
	});

	it('does not keep answers without bound for a client that floods and never reads', () => {
		const world = new World();
		world.socket.room = 0;
		let sent = 0;
		for (; sent < 100_000 && !world.socket.closed; sent++) world.say({ op: 'ping', ref: 'r'.repeat(100) });
		assert.ok(world.socket.closed);
		assert.ok(sent > 1_000);
		assert.ok(world.socket.bufferedBytes < 1.1 * 1024 * 1024);
	});

	it('says that it is gone when the daemon stops and nothing is watched any more', () => {
		const world = new World();
		world.draining = true;
		const task = world.add(1);
		world.say({ op: 'watch', task_id: task.request.taskId });
		world.session.tick(1_000);
		assert.equal(world.socket.closed, false);
		task.start();
		task.end();
		world.turn();
		world.session.tick(2_000);
		assert.equal(world.socket.closedWith?.[0], 1001);
	});

	it('shows every event once and in order, whatever the order of tokens, credits, refusals, reads and watches', () => {
		const step = fc.oneof(
			fc.record({ kind: fc.constant('tokens' as const), task: fc.nat(2), count: fc.integer({ min: 1, max: 30 }) }),
			fc.record({ kind: fc.constant('credit' as const), task: fc.nat(2), count: fc.integer({ min: 1, max: 20 }) }),
			fc.record({ kind: fc.constant('room' as const), task: fc.constant(0), count: fc.nat(2_000) }),
			fc.record({ kind: fc.constant('read' as const), task: fc.constant(0), count: fc.nat(5_000) }),
			fc.record({ kind: fc.constant('end' as const), task: fc.nat(2), count: fc.constant(0) }),
			fc.record({ kind: fc.constant('tick' as const), task: fc.constant(0), count: fc.nat(900) }),
			fc.record({ kind: fc.constant('found' as const), task: fc.constant(0), count: fc.constant(0) }),
		);
		fc.assert(
			fc.property(
				fc.array(step, { maxLength: 60 }),
				fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }),
				fc.boolean(),
				(steps, credited, later) => {
					const world = new World();
					world.findsLater = later;
					const tasks = [0, 1, 2].map((index) => world.add(index));
					const credits = [0, 0, 0];
					tasks.forEach((task, index) => {
						task.start();
						world.say({ op: 'watch', task_id: task.request.taskId, ...(credited[index] === true ? { credit: 0 } : {}) });
					});
					const checkCredits = (): void =>
						tasks.forEach((task, index) => {
							const shown = world.events(task).reduce((sum, event) => sum + tokensIn(event).length, 0);
							if (credited[index] === true) assert.ok(shown <= (credits[index] ?? 0));
						});
					for (const { kind, task: index, count } of steps) {
						const task = tasks[index] as FakeTask;
						if (kind === 'tokens' && !task.log.ended) task.tokens(...Array.from({ length: count }, () => 'word'));
						if (kind === 'end' && !task.log.ended) task.end();
						if (kind === 'credit' && credited[index] === true) {
							credits[index] = (credits[index] ?? 0) + count;
							world.say({ op: 'credit', task_id: task.request.taskId, n: count });
						}
						if (kind === 'room') world.socket.room = count;
						if (kind === 'read') world.socket.read(count);
						if (kind === 'found') world.found();
						if (kind === 'tick') {
							world.time += count;
							world.session.tick(world.time);
						}
						world.turn();
						checkCredits();
					}
					while (world.finds.length > 0) world.found();
					for (const [index, task] of tasks.entries()) {
						if (!task.log.ended) task.end();
						if (credited[index] === true) world.say({ op: 'credit', task_id: task.request.taskId, n: 10_000 });
					}
					world.socket.read();
					world.turn();
					for (const task of tasks) {
						assertWhole(world.events(task), task);
						assert.equal(task.watchers, 0);
					}
					assert.equal(world.watches, 0);
				},
			),
			{ numRuns: 300 },
		);
	});
});
