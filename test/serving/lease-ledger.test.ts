/** Slots as leases: what is in use is the sum of leases, whatever happens to tasks, engines and control threads. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { leaseKey } from '../../src/actors/serving/engine-life.ts';
import { LeaseLedger } from '../../src/actors/serving/lease-ledger.ts';
import type { Lease } from '../../src/actors/serving/messages.ts';

function ledgerOf(slots: number, epoch = 1): LeaseLedger {
	const ledger = new LeaseLedger('pool', epoch);
	ledger.addReplica('r', slots);
	return ledger;
}

const keys = (...leases: Lease[]): Set<string> => new Set(leases.map(leaseKey));

test('a slot is granted once, and comes back once', () => {
	const ledger = ledgerOf(2);
	const lease = ledger.grant('r', 'a', false);
	ledger.grant('r', 'b', false);
	assert.equal(ledger.free('r'), 0);
	assert.throws(() => ledger.grant('r', 'c', false));
	assert.equal(ledger.release(lease), true);
	assert.equal(ledger.release(lease), false);
	assert.equal(ledger.free('r'), 1);
	assert.equal(ledger.drift(), null);
});

test('an exclusive lease needs an idle replica and holds all of it', () => {
	const ledger = ledgerOf(3);
	const first = ledger.grant('r', 'a', false);
	assert.throws(() => ledger.grant('r', 'strict', true));
	ledger.release(first);
	const strict = ledger.grant('r', 'strict', true);
	assert.deepEqual([ledger.free('r'), ledger.slotsIn('r', 'granted'), ledger.isIdle('r')], [0, 3, false]);
	ledger.quarantine(strict);
	assert.deepEqual([ledger.free('r'), ledger.slotsIn('r', 'quarantined')], [0, 3]);
	ledger.asked('r');
	ledger.audited('r', keys());
	assert.deepEqual([ledger.free('r'), ledger.isIdle('r'), ledger.drift()], [3, true, null]);
});

test('a quarantined slot is free when the engine shows it idle, and only by an answer to a later question', () => {
	const ledger = ledgerOf(2);
	const lease = ledger.grant('r', 'a', false);
	ledger.asked('r');
	ledger.quarantine(lease);
	assert.deepEqual(ledger.audited('r', keys()), [], 'the question was asked before');
	ledger.asked('r');
	assert.deepEqual(ledger.audited('r', keys(lease)), [], 'the engine is busy with it');
	ledger.asked('r');
	assert.deepEqual(ledger.audited('r', keys()), [leaseKey(lease)]);
	assert.deepEqual([ledger.free('r'), ledger.get(lease)], [2, undefined]);
});

test('an engine that is gone takes its slots along: granted leases are void, and never granted anew by its successor', () => {
	const ledger = ledgerOf(1);
	const lease = ledger.grant('r', 'a', false);
	assert.deepEqual(
		ledger.dropReplica('r').map((held) => held.lease),
		[lease],
	);
	ledger.addReplica('r', 1);
	assert.equal(ledger.adopt(lease, 'a'), false);
	const next = ledger.grant('r', 'b', false);
	assert.equal(ledger.release(lease), true);
	assert.deepEqual([ledger.free('r'), ledger.drift()], [0, null]);
	ledger.release(next);
	assert.deepEqual([ledger.free('r'), ledger.drift()], [1, null]);
});

test('after a control restart reported leases are held as they are, and unreported work of the engine is quarantined', () => {
	const before = ledgerOf(3, 1);
	const reported = before.grant('r', 'a', false);
	const lost = before.grant('r', 'b', false);
	const after = ledgerOf(3, 2);
	assert.equal(after.adopt(reported, 'a'), true);
	assert.equal(after.adopt(reported, 'a'), true);
	after.quarantineUnknown('r', keys(reported, lost));
	assert.deepEqual([after.free('r'), after.slotsIn('r', 'granted'), after.slotsIn('r', 'quarantined')], [1, 1, 1]);
	const fresh = after.grant('r', 'c', false);
	assert.equal(fresh.epoch, 2);
	assert.equal(after.release({ epoch: 1, id: 99 }), false);
	after.asked('r');
	after.audited('r', keys(reported));
	after.release(reported);
	after.release(fresh);
	assert.deepEqual([after.free('r'), after.drift()], [3, null]);
});

test('a lease of a replica that is not there cannot be adopted', () => {
	const ledger = new LeaseLedger('pool', 2);
	assert.equal(ledger.adopt({ epoch: 1, id: 1, poolId: 'pool', replicaId: 'r', exclusive: false }, 'a'), false);
	assert.throws(() => ledger.grant('r', 'a', false));
});

test('the same replica cannot be added over itself: its leases would be forgotten', () => {
	const ledger = ledgerOf(1);
	ledger.grant('r', 'a', false);
	assert.throws(() => ledger.addReplica('r', 1));
});

test('in use is the sum of leases after any sequence of steps', () => {
	const step = fc.record({
		what: fc.constantFrom('grant', 'strict', 'release', 'quarantine', 'audit', 'engine lost', 'engine back', 'adopt'),
		replica: fc.constantFrom('r', 's'),
		which: fc.nat(),
	});
	fc.assert(
		fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
			const ledger = ledgerOf(3);
			ledger.addReplica('s', 2);
			const made: Lease[] = [];
			for (const { what, replica, which } of steps) {
				const lease = made[which % Math.max(1, made.length)];
				switch (what) {
					case 'grant':
						if (ledger.free(replica) > 0) made.push(ledger.grant(replica, 't', false));
						break;
					case 'strict':
						if (ledger.isIdle(replica)) made.push(ledger.grant(replica, 't', true));
						break;
					case 'release':
						if (lease !== undefined) ledger.release(lease);
						break;
					case 'quarantine':
						if (lease !== undefined) ledger.quarantine(lease);
						break;
					case 'audit':
						ledger.asked(replica);
						ledger.audited(replica, keys(...made.filter((_, index) => index % 3 === which % 3)));
						break;
					case 'engine lost':
						ledger.dropReplica(replica);
						break;
					case 'engine back':
						if (!ledger.has(replica)) ledger.addReplica(replica, replica === 'r' ? 3 : 2);
						break;
					case 'adopt':
						// Only what the ledger does not know is reported to it.
						if (lease !== undefined && ledger.get(lease) !== undefined) ledger.adopt(lease, 't');
						break;
				}
				assert.equal(ledger.drift(), null);
				for (const id of ['r', 's']) assert.ok(ledger.free(id) >= 0);
			}
		}),
		{ numRuns: 300 },
	);
});
