/** The last lines of engine processes: what is kept of them, and what readers are told. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SimHost } from '../../src/actors/kernel/sim-host.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';
import { EngineLogs, engineLog } from '../../src/actors/serving/engine-log.ts';
import type { EngineLogRead } from '../../src/actors/serving/engine-log-messages.ts';

function line(text: string) {
	return { at: 0, replicaId: 'p-0', source: 'stdout', text } as const;
}

function world(bounds?: { linesMax: number; charactersMax: number }) {
	const host = new SimHost(1);
	const system = new ActorSystem(host);
	const logs = new EngineLogs(1_000, bounds);
	const keeper = system.spawn('engine-log', engineLog(logs));
	const told: EngineLogRead[] = [];
	const edge = system.edge<EngineLogRead>((read) => told.push(read));
	return {
		logs,
		told,
		read(after: number | null, linesMax = 100, waitMs = 0) {
			keeper.tell({ type: 'read-engine-log', poolId: 'p', after, linesMax, waitMs, replyTo: edge });
			host.advance(0);
		},
		settle: () => host.advance(0),
		advance: (ms: number) => host.advance(ms),
	};
}

const texts = (read: EngineLogRead | undefined) => read?.lines.map(({ text }) => text);

test('a log keeps its last lines, within both of its bounds, and a reader behind is told that lines are missing', () => {
	fc.assert(
		fc.property(fc.array(fc.string({ maxLength: 12 }), { maxLength: 60 }), (written) => {
			const logs = new EngineLogs(0, { linesMax: 10, charactersMax: 60 });
			for (const text of written) logs.add('p', line(text));
			const { lines } = logs.read('p', null, 1_000);
			const kept = lines.map(({ text }) => text);
			assert.deepEqual(kept, written.slice(written.length - kept.length));
			assert.ok(kept.length <= 10 && kept.join('').length <= 60);
			const more = written.slice(0, written.length - kept.length).at(-1);
			assert.ok(more === undefined || kept.length === 10 || kept.join('').length + more.length > 60, 'it keeps what it may');
			assert.equal(logs.read('p', 1, 1_000).gap, written.length - kept.length > 1);
		}),
	);
});

test('a reader who goes on behind what it has sees every line once and in order, however much it takes at a time', () => {
	fc.assert(
		fc.property(fc.array(fc.nat({ max: 5 }), { maxLength: 30 }), fc.integer({ min: 1, max: 4 }), (bursts, linesMax) => {
			const logs = new EngineLogs(7);
			const seen: string[] = [];
			let after: number | null = null;
			let count = 0;
			const readOn = (): number => {
				const read: EngineLogRead = logs.read('p', after ?? 0, linesMax);
				after = read.next;
				seen.push(...read.lines.map(({ text }) => text));
				return read.lines.length;
			};
			for (const burst of bursts) {
				for (let i = 0; i < burst; i++) {
					logs.add('p', line(String(count++)));
					logs.add('other', line('not this one'));
				}
				readOn();
			}
			while (readOn() > 0);
			assert.deepEqual(
				seen,
				Array.from({ length: count }, (_, index) => String(index)),
			);
		}),
	);
});

test('who waits for lines is told them together shortly after the first, and once', () => {
	const { logs, told, read, settle, advance } = world();
	read(null, 100, 10_000);
	assert.equal(told.length, 0);
	logs.add('other', line('of another pool'));
	settle();
	advance(60);
	assert.equal(told.length, 0, 'nothing of its pool');
	logs.add('p', line('a'));
	settle();
	logs.add('p', line('b'));
	settle();
	assert.equal(told.length, 0);
	advance(60);
	assert.deepEqual(told.map(texts), [['a', 'b']]);
	logs.add('p', line('c'));
	settle();
	advance(20_000);
	assert.equal(told.length, 1, 'nobody asked for it yet');
	read(told[0]?.next ?? 0, 100, 10_000);
	assert.deepEqual(texts(told[1]), ['c']);
});

test('who waits in vain is told that there is nothing, in time', () => {
	const { told, read, advance } = world();
	read(null, 100, 10_000);
	advance(9_000);
	assert.equal(told.length, 0);
	advance(1_100);
	assert.deepEqual(told, [{ type: 'engine-log-read', lines: [], gap: false, next: 1_000 }]);
});

test('a reader from before the engine thread was started again is told that lines are missing, and gets all there are', () => {
	const { logs, told, read } = world();
	logs.add('p', line('a'));
	read(900);
	assert.deepEqual([told[0]?.gap, texts(told[0])], [true, ['a']]);
});
