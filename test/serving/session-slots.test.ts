/** Slots of a replica by name, for the sessions whose prompts they hold. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LeaseLedger } from '../../src/actors/serving/lease-ledger.ts';
import type { Lease } from '../../src/actors/serving/messages.ts';

class Books {
	readonly ledger = new LeaseLedger('pool', 1);
	#tasks = 0;

	constructor(slots: number) {
		this.ledger.addReplica('r', slots);
	}

	begin(session: string | null, exclusive = false): Lease {
		this.#tasks += 1;
		const lease = this.ledger.grant('r', `task-${this.#tasks}`, exclusive, session);
		assert.equal(this.ledger.drift(), null);
		return lease;
	}

	end(lease: Lease): void {
		this.ledger.release(lease);
		assert.equal(this.ledger.drift(), null);
	}

	run(session: string | null): number | undefined {
		const lease = this.begin(session);
		this.end(lease);
		return lease.slot;
	}
}

test('each session has a slot of its own as long as there are enough, whatever else begins in the same words', () => {
	const books = new Books(3);
	assert.deepEqual(
		['a', 'b', 'c', 'b', 'c', 'a', 'a'].map((session) => books.run(session)),
		[0, 1, 2, 1, 2, 0, 0],
	);
	assert.equal(books.run('d'), 1, 'the slot that was used longest ago');
	assert.equal(books.run('a'), 0);
	assert.equal(books.run('b'), 2, 'its own is gone');
});

test('a slot that is busy is not asked for: a second task of the session, or another one, has one that is idle', () => {
	const books = new Books(2);
	const first = books.begin('a');
	const second = books.begin('a');
	assert.deepEqual([first.slot, second.slot], [0, 1]);
	books.ledger.quarantine(second);
	books.end(first);
	assert.equal(books.begin('b').slot, 0, 'nobody knows whether the engine is done with the other');
});

test('no slot is named while the engine has chosen one, nor soon after', () => {
	const books = new Books(2);
	assert.equal(books.run('a'), 0);
	const chosen = books.begin(null);
	assert.equal(chosen.slot, undefined);
	assert.equal(books.run('a'), undefined, 'that may be its slot');
	books.end(chosen);
	const named = Array.from({ length: 8 }, () => books.run('a'));
	assert.deepEqual(named, [...Array.from({ length: 6 }, () => undefined), 0, 0], 'four times its two slots, the one beside it counted');
	const strict = books.begin(null, true);
	assert.equal(strict.slot, undefined);
	books.end(strict);
	assert.equal(books.run('a'), 0, 'a strict task has the engine alone');
});

test('leases that another control thread has granted keep their slots', () => {
	const books = new Books(2);
	const adopted: Lease = { epoch: 0, id: 4, poolId: 'pool', replicaId: 'r', exclusive: false, slot: 0 };
	assert.ok(books.ledger.adopt(adopted, 'old'));
	assert.equal(books.begin('a').slot, 1);
	books.end(adopted);
	assert.ok(books.ledger.adopt({ ...adopted, id: 5, slot: 7 }, 'of a larger engine'));
	assert.equal(books.ledger.drift(), null);
});
