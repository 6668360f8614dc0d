/** Who leaves the memory of the devices: the decision by itself, by cases and by properties. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type DeviceRoom, type Holder, type MemoryShare, never, whoLeaves } from '../../src/actors/serving/memory-plan.ts';

const now = 1000;
const room: readonly DeviceRoom[] = [
	{ device: '0', totalBytes: 100 },
	{ device: '1', totalBytes: 100 },
	{ device: 'x', totalBytes: null },
];
const on = (device: string, bytes: number | 'whole'): readonly MemoryShare[] => [{ device, bytes }];
const holder = (poolId: string, bytes: number | 'whole', more: Partial<Holder> = {}): Holder => ({
	poolId,
	shares: on('0', bytes),
	leaves: 0,
	busy: false,
	lastUsedAt: 0,
	...more,
});

test('what fits beside the others asks nobody to leave; other devices are in nobody’s way', () => {
	assert.deepEqual(whoLeaves(on('0', 40), room, [holder('a', 60)], now), { kind: 'fits' });
	assert.deepEqual(whoLeaves(on('0', 100), room, [holder('a', 100, { shares: on('1', 100) })], now), { kind: 'fits' });
	assert.deepEqual(whoLeaves(on('0', 0), room, [holder('a', 100)], now), { kind: 'fits' });
});

test('idle pools leave before busy ones, of those the one that was used longest ago, and nobody who need not', () => {
	const holders = [
		holder('busy', 30, { busy: true, lastUsedAt: 1 }),
		holder('old', 30, { lastUsedAt: 2 }),
		holder('young', 30, { lastUsedAt: 3 }),
	];
	assert.deepEqual(whoLeaves(on('0', 40), room, holders, now), { kind: 'leave', poolIds: ['old'] });
	assert.deepEqual(whoLeaves(on('0', 70), room, holders, now), { kind: 'leave', poolIds: ['old', 'young'] });
	assert.deepEqual(whoLeaves(on('0', 71), room, holders, now), { kind: 'leave', poolIds: ['old', 'young', 'busy'] });
	// The oldest alone would not do, and with the other one it is not needed.
	const uneven = [holder('small', 10, { lastUsedAt: 1 }), holder('large', 80, { lastUsedAt: 2 })];
	assert.deepEqual(whoLeaves(on('0', 60), room, uneven, now), { kind: 'leave', poolIds: ['large'] });
});

test('nobody is asked who stays, loads, or has not been there for its least time', () => {
	assert.deepEqual(whoLeaves(on('0', 60), room, [holder('a', 60, { leaves: 'stays' })], now), { kind: 'never', ever: false, device: '0' });
	assert.deepEqual(whoLeaves(on('0', 60), room, [holder('a', 60, { leaves: never })], now), { kind: 'wait', untilAt: null });
	assert.deepEqual(whoLeaves(on('0', 60), room, [holder('a', 60, { leaves: now + 5 })], now), { kind: 'wait', untilAt: now + 5 });
	assert.deepEqual(whoLeaves(on('0', 60), room, [holder('a', 60, { leaves: 'going' })], now), { kind: 'wait', untilAt: null });
	assert.deepEqual(whoLeaves(on('0', 101), room, [], now), { kind: 'never', ever: true, device: '0' });
});

test('what nobody knows the size of is alone with its device, as is all on a device whose size nobody knows', () => {
	assert.deepEqual(whoLeaves(on('0', 'whole'), room, [], now), { kind: 'fits' });
	assert.deepEqual(whoLeaves(on('0', 'whole'), room, [holder('a', 1)], now), { kind: 'leave', poolIds: ['a'] });
	assert.deepEqual(whoLeaves(on('0', 1), room, [holder('a', 'whole')], now), { kind: 'leave', poolIds: ['a'] });
	assert.deepEqual(whoLeaves(on('x', 1), room, [holder('a', 1, { shares: on('x', 1) })], now), { kind: 'leave', poolIds: ['a'] });
	// Who is there for good is no reason never to load.
	assert.deepEqual(whoLeaves(on('0', 'whole'), room, [holder('a', 1, { leaves: 'stays' })], now), { kind: 'fits' });
});

test('whatever is held, those that leave may, suffice, and are no more than needed', () => {
	const share = fc.record({
		device: fc.constantFrom('0', '1', 'x'),
		bytes: fc.oneof(fc.integer({ min: 0, max: 90 }), fc.constant('whole' as const)),
	});
	const shares = fc.uniqueArray(share, { maxLength: 2, selector: ({ device }) => device });
	const holders = fc.array(
		fc.record({
			shares,
			leaves: fc.oneof(fc.constantFrom('stays' as const, 'going' as const, never), fc.integer({ min: 0, max: 2000 })),
			busy: fc.boolean(),
			lastUsedAt: fc.integer({ min: 0, max: 1000 }),
		}),
		{ maxLength: 6 },
	);
	fc.assert(
		fc.property(shares, holders, (wanted, drawn) => {
			const held = drawn.map((each, index): Holder => ({ ...each, poolId: `p${index}` }));
			const verdict = whoLeaves(wanted, room, held, now);
			if (verdict.kind !== 'leave') return;
			const leaving = held.filter(({ poolId }) => verdict.poolIds.includes(poolId));
			for (const { leaves } of leaving) assert.ok(typeof leaves === 'number' && leaves <= now);
			const behind = (gone: readonly Holder[]): string =>
				whoLeaves(
					wanted,
					room,
					held.filter((each) => !gone.includes(each) && each.leaves !== 'going'),
					now,
				).kind;
			assert.equal(behind(leaving), 'fits');
			for (const one of leaving) assert.notEqual(behind(leaving.filter((each) => each !== one)), 'fits');
		}),
		{ numRuns: 2_000 },
	);
});
