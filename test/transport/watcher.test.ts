/** Watchers as cursors: over a real log, a socket that refuses, and a clock that the test moves. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Labels, Telemetry } from '../../src/actors/kernel/telemetry.ts';
import { silentTelemetry } from '../../src/actors/kernel/telemetry.ts';
import { UwsResponseSink } from '../../src/transport/http/response-sink.ts';
import { emptyComment, sseHeaders } from '../../src/transport/stream/sse.ts';
import { Watchers, type WatchersOptions } from '../../src/transport/stream/watchers.ts';
import { FakeClock } from './fake-clock.ts';
import { FakeRawResponse } from './fake-raw-response.ts';
import { FakeTask, standingAt, taskRequest } from './fake-task.ts';
import { checkStream, named, readSse, type Seen, textOf } from './sse-text.ts';

const enough = 1e9;

interface World {
	readonly clock: FakeClock;
	readonly watchers: Watchers;
	readonly task: FakeTask;
	readonly bugs: unknown[];
	readonly gauges: number[];
	/** Ends the actors' turn. */
	turn(): void;
	watch(room?: number, after?: number, verbose?: boolean): Reader;
}

interface Reader {
	readonly raw: FakeRawResponse;
	readonly sink: UwsResponseSink;
	seen(): Seen;
}

function world(options: Partial<WatchersOptions> = {}): World {
	const clock = new FakeClock();
	const hooks = new Set<() => void>();
	const bugs: unknown[] = [];
	const gauges: number[] = [];
	const telemetry: Telemetry = { ...silentTelemetry, gauge: (_name: string, _labels: Labels, value: number) => gauges.push(value) };
	const watchers = new Watchers(
		{ heartbeatMs: 15_000, stallMs: 30_000, microbatchMs: 0, watchersMax: 100, ...options },
		clock,
		(hook) => {
			hooks.add(hook);
			return () => hooks.delete(hook);
		},
		telemetry,
		(_where, error) => bugs.push(error),
	);
	const task = new FakeTask(taskRequest(), clock.now());
	return {
		clock,
		watchers,
		task,
		bugs,
		gauges,
		turn() {
			for (const hook of hooks) hook();
		},
		watch(room = enough, after = 0, verbose = false) {
			const raw = new FakeRawResponse(room);
			const sink = new UwsResponseSink(
				raw,
				false,
				() => false,
				(_where, error) => bugs.push(error),
			);
			raw.aborted = () => sink.peerGone();
			sink.start(200, sseHeaders, emptyComment);
			watchers.attach(task, sink, after, verbose);
			return { raw, sink, seen: () => readSse(raw.received) };
		},
	};
}

describe('a watcher', () => {
	it('gets what was before it, then what comes, and ends behind the terminal event', () => {
		const { task, watch, turn, watchers } = world();
		task.start();
		task.tokens('a', 'b');
		turn();
		const reader = watch();
		assert.equal(textOf(reader.seen()), 'ab');
		task.tokens('c');
		turn();
		assert.equal(textOf(reader.seen()), 'abc');
		task.end();
		turn();
		checkStream(reader.seen());
		assert.equal(reader.seen().events.at(-1)?.name, 'end');
		assert.ok(reader.raw.ended);
		assert.equal(watchers.count, 0);
		assert.deepEqual(
			task.told.map(({ type }) => type),
			['watcher-attached', 'watcher-gone'],
		);
		assert.equal(task.watchers, 0);
	});

	it('resumes behind the event it names', () => {
		const { task, watch, turn } = world();
		task.start();
		task.tokens('a', 'b', 'c');
		task.end();
		turn();
		const reader = watch(enough, 3);
		checkStream(reader.seen(), 2);
		assert.equal(textOf(reader.seen()), 'c');
		assert.ok(watch(enough, 5).raw.ended, 'nothing is left to send: the stream ends at once');
	});

	it('opens its stream at once, also when nothing has happened yet', () => {
		const { task, watch } = world();
		task.standing = null;
		assert.match(watch().raw.received, /^event: metrics\ndata: \{"phase":"queued"\}\n\n$/);
		assert.equal(watch().raw.status, '200 OK');
	});

	it('writes once per turn, however often the log moved', () => {
		const { task, watch, turn } = world();
		task.start();
		const reader = watch();
		const before = reader.raw.received;
		for (const piece of 'abcdef') task.tokens(piece);
		assert.equal(reader.raw.received, before, 'not before the turn has ended');
		turn();
		assert.equal(textOf(reader.seen()), 'abcdef');
	});

	it('tells a queued reader each new place, at most once a second', () => {
		const { task, watch, turn, clock } = world();
		task.stand(9);
		const reader = watch();
		for (let place = 8; place >= 0; place--) {
			task.stand(place);
			turn();
			clock.advance(300);
		}
		clock.advance(1000);
		const places = named(reader.seen(), 'metrics').map(({ data }) => data['queue_position']);
		assert.equal(places[0], 9);
		assert.equal(places.at(-1), 0);
		assert.ok(places.length <= 5, `${places.length} frames in 3.7 s`);
		assert.ok(
			places.every((place, index) => place !== places[index + 1]),
			'no frame without news',
		);
		assert.equal(named(reader.seen(), 'metrics')[0]?.id, null);
	});

	it('tells a reader who comes later how long it is from then, not from when its task was told', () => {
		const { task, watch, clock } = world();
		task.standing = { ...standingAt(50), at: clock.now(), warmUp: { status: 'running', fetch: null, leftMs: 1_500 } };
		clock.advance(1_000);
		const [first] = named(watch().seen(), 'metrics');
		assert.deepEqual(
			[first?.data['predicted_start_ms'], first?.data['predicted_end_ms'], first?.data['queue_position']],
			[4_000, 4_050, 50],
		);
		assert.equal((first?.data['prep'] as { estimated_ms: number }[] | undefined)?.[0]?.estimated_ms, 500);
		clock.advance(60_000);
		assert.equal(named(watch(enough, 0, true).seen(), 'metrics')[0]?.data['predicted_start_ms'], 0, 'and no less than nothing');
	});

	it('tells a change of phase at once, and adds sentences when asked to', () => {
		const { task, watch, turn } = world();
		const plain = watch();
		const verbose = watch(enough, 0, true);
		task.start();
		turn();
		task.tokens('x');
		turn();
		const phases = (seen: Seen): unknown[] => named(seen, 'metrics').map(({ data }) => data['phase']);
		assert.deepEqual(phases(plain.seen()), ['queued', 'prefill', 'decode']);
		assert.ok(named(plain.seen(), 'metrics').every(({ data }) => data['human'] === undefined));
		assert.ok(named(verbose.seen(), 'metrics').every(({ data }) => typeof data['human'] === 'string'));
		task.end();
		turn();
		assert.equal(plain.seen().events.at(-1)?.name, 'end');
	});

	it('keeps a quiet stream alive with comments, none when they are off', () => {
		const on = world({ heartbeatMs: 2000 });
		const reader = on.watch();
		on.clock.advance(6600);
		assert.equal(reader.seen().comments.filter((comment) => comment.trim() === 'keep-alive').length, 3);
		const off = world({ heartbeatMs: 0 });
		const quiet = off.watch();
		const before = quiet.raw.received;
		off.clock.advance(120_000);
		assert.equal(quiet.raw.received, before);
	});
});

describe('a watcher whose socket refuses', () => {
	it('keeps its cursor and a bounded slice, loses metrics, and catches up with merged tokens', () => {
		const { task, watch, turn, clock } = world();
		task.start();
		const reader = watch(2000);
		let backlogMax = 0;
		for (let round = 0; round < 200; round++) {
			task.tokens(...Array.from({ length: 50 }, () => 'word '));
			turn();
			clock.runSoon();
			backlogMax = Math.max(backlogMax, reader.raw.backlog.length);
		}
		assert.ok(backlogMax <= 64 * 1024 + 16 * 1024, `${backlogMax} bytes are held for it`);
		assert.ok(task.log.bytes > 500_000);
		task.end();
		turn();
		for (let round = 0; round < 100 && !reader.raw.ended; round++) {
			reader.raw.peerReads(20_000);
			clock.runSoon();
		}
		assert.ok(reader.raw.ended);
		const seen = reader.seen();
		checkStream(seen);
		assert.equal(textOf(seen), 'word '.repeat(10_000));
		assert.ok(
			named(seen, 'token').some(({ data }) => Array.isArray(data['batch'])),
			'merged while behind',
		);
		assert.ok(reader.raw.received.length < task.log.bytes / 2, 'merging makes it shorter');
	});

	it('never merges for a reader that keeps up', () => {
		const { task, watch, turn } = world();
		task.start();
		const reader = watch();
		for (let round = 0; round < 50; round++) {
			task.tokens('a', 'b', 'c');
			turn();
		}
		assert.ok(named(reader.seen(), 'token').every(({ data }) => data['batch'] === undefined));
	});

	it('hears a comment every five seconds and is cut after stall_ms, at a bounded cost', () => {
		const { task, watch, turn, clock, watchers, bugs } = world();
		task.start();
		const reader = watch(500);
		task.tokens('x'.repeat(20_000), 'y'.repeat(20_000), 'z');
		turn();
		const held = reader.raw.backlog.length;
		clock.advance(29_000);
		assert.equal(reader.raw.closed, false);
		const grown = reader.raw.backlog.length - held;
		assert.ok(grown > 0 && grown <= 10 * emptyComment.length, `${grown} bytes of comments`);
		clock.advance(2000);
		assert.equal(reader.raw.closed, true);
		assert.equal(watchers.count, 0);
		assert.equal(task.watchers, 0);
		assert.deepEqual(bugs, []);
	});

	it('is not cut while it reads, however slowly', () => {
		const { task, watch, turn, clock } = world();
		task.start();
		const reader = watch(500);
		task.tokens(...Array.from({ length: 5000 }, () => 'slow '));
		task.end();
		turn();
		for (let round = 0; round < 60 && !reader.raw.ended; round++) {
			clock.advance(20_000);
			reader.raw.peerReads(25_000);
			clock.runSoon();
		}
		assert.ok(reader.raw.ended);
		reader.raw.peerReads(enough);
		checkStream(reader.seen());
		assert.equal(textOf(reader.seen()), 'slow '.repeat(5000));
	});

	it('goes back to single tokens and metrics once it has caught up', () => {
		const { task, watch, turn, clock } = world();
		task.start();
		const reader = watch(1000);
		task.tokens(...Array.from({ length: 3000 }, () => 'w'));
		turn();
		task.tokens('late');
		turn();
		for (let round = 0; round < 50; round++) {
			reader.raw.peerReads(100_000);
			clock.runSoon();
		}
		const before = reader.raw.received.length;
		clock.advance(1500);
		task.tokens('one', 'two');
		task.stand(0);
		turn();
		const news = readSse(reader.raw.received.slice(before));
		assert.deepEqual(
			named(news, 'token').map(({ data }) => data['t']),
			['one', 'two'],
		);
		assert.equal(named(news, 'metrics').length, 1);
	});

	it('is probed once when a quiet stream may have been refused without a word', () => {
		const { task, watch, turn, clock } = world({ heartbeatMs: 0 });
		task.start();
		const reader = watch(21_000);
		for (let round = 0; round < 3; round++) {
			task.tokens('x'.repeat(7000));
			turn();
		}
		assert.ok(reader.raw.backlog.length > 0, 'the cork took it, the socket did not');
		clock.advance(40_000);
		assert.equal(reader.raw.closed, true, 'found out and cut');
	});
});

describe('all watchers of a front', () => {
	it('take turns in long replays, a slice each', () => {
		const { task, watch, turn, clock } = world();
		task.start();
		task.tokens(...Array.from({ length: 20_000 }, () => 'replayed '));
		task.end();
		turn();
		const one = watch();
		const two = watch();
		const lengths: number[][] = [];
		for (let round = 0; round < 100 && !(one.raw.ended && two.raw.ended); round++) {
			clock.runSoon();
			lengths.push([one.raw.received.length, two.raw.received.length]);
		}
		assert.ok(lengths.length > 5);
		assert.ok(lengths.every(([a, b]) => a === b));
		for (const reader of [one, two]) checkStream(reader.seen());
	});

	it('share one timer, and leave nothing when they close', () => {
		const { clock, watch, watchers, task, gauges } = world();
		const idle = clock.waiting;
		for (let index = 0; index < 20; index++) watch();
		assert.equal(clock.waiting, idle);
		assert.equal(task.watchers, 20);
		watchers.close();
		assert.equal(watchers.count, 0);
		assert.equal(clock.waiting, 0);
		assert.equal(task.watchers, 0);
		assert.equal(Math.max(...gauges), 20);
		assert.equal(gauges.at(-1), 0);
	});

	it('collect tokens for microbatch_ms, but not the end', () => {
		const { task, watch, turn, clock } = world({ microbatchMs: 20 });
		task.start();
		const reader = watch();
		for (const piece of ['a', 'b', 'c']) {
			task.tokens(piece);
			turn();
		}
		assert.equal(textOf(reader.seen()), '');
		clock.advance(20);
		const [frame] = named(reader.seen(), 'token');
		assert.equal((frame?.data['batch'] as unknown[] | undefined)?.length, 3);
		task.tokens('d');
		task.end();
		turn();
		assert.ok(reader.raw.ended, 'an end waits for nothing');
		checkStream(reader.seen());
	});

	it('cut a watcher whose events were dropped before it had them', () => {
		const { task, watch, turn } = world();
		task.start();
		const reader = watch(100);
		task.tokens('x'.repeat(30_000), 'y');
		task.end();
		turn();
		task.log.forget();
		turn();
		reader.raw.peerReads(1_000_000);
		assert.equal(reader.raw.ended, false);
		assert.equal(reader.raw.closed, true);
	});

	const step = fc.oneof(
		fc.record({ do: fc.constant('tokens' as const), pieces: fc.array(fc.string({ maxLength: 40 }), { minLength: 1, maxLength: 30 }) }),
		fc.record({ do: fc.constant('big' as const), bytes: fc.integer({ min: 1, max: 60_000 }) }),
		fc.record({ do: fc.constant('read' as const), who: fc.nat(3), bytes: fc.integer({ min: 1, max: 50_000 }) }),
		fc.record({ do: fc.constant('time' as const), ms: fc.integer({ min: 1, max: 4000 }) }),
		fc.record({ do: fc.constantFrom('turn' as const, 'soon' as const, 'stand' as const, 'attach' as const) }),
	);

	it('see each event exactly once and in order, whatever the order of tokens, reads, turns and time', () => {
		fc.assert(
			fc.property(fc.array(step, { maxLength: 50 }), fc.integer({ min: 0, max: 30_000 }), fc.nat(50), (steps, room, microbatchMs) => {
				const { task, watch, turn, clock, bugs, watchers } = world({ microbatchMs, stallMs: 1e9 });
				task.start();
				const readers = [watch(room), watch()];
				let text = '';
				for (const action of steps) {
					if (action.do === 'tokens') {
						task.tokens(...action.pieces);
						text += action.pieces.join('');
					} else if (action.do === 'big') {
						task.tokens('b'.repeat(action.bytes));
						text += 'b'.repeat(action.bytes);
					} else if (action.do === 'read') readers[action.who % readers.length]?.raw.peerReads(action.bytes);
					else if (action.do === 'time') clock.advance(action.ms);
					else if (action.do === 'turn') turn();
					else if (action.do === 'soon') clock.runSoon();
					else if (action.do === 'stand') task.stand(1);
					else if (readers.length < 4) readers.push(watch(room));
					for (const { raw } of readers) assert.ok(raw.backlog.length <= 96 * 1024 + 60_100, `${raw.backlog.length} bytes held`);
				}
				task.end();
				turn();
				for (let round = 0; round < 1000 && watchers.count > 0; round++) {
					for (const { raw } of readers) raw.peerReads(100_000);
					clock.runSoon();
					clock.advance(60);
				}
				for (const reader of readers) {
					assert.ok(reader.raw.ended);
					reader.raw.peerReads(enough);
					checkStream(reader.seen());
					assert.equal(textOf(reader.seen()), Buffer.from(text).toString());
					assert.equal(reader.seen().events.at(-1)?.name, 'end');
					assert.deepEqual(reader.raw.violations, []);
				}
				assert.deepEqual(bugs, []);
			}),
			{ numRuns: 150 },
		);
	});
});
