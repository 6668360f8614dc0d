/** Sessions in the journal: the youngest of what any front tells, once, until its time is over, over commits that fail and daemons that end. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { nothing, unlimited } from '../../src/actors/serving/budget.ts';
import type { JournalJob } from '../../src/actors/serving/journal-commits.ts';
import { JournalSessions } from '../../src/actors/serving/journal-sessions.ts';
import type { SessionRecord } from '../../src/actors/serving/session-messages.ts';
import { MemoryStore } from './memory-store.ts';

const record = (sessionId: string, version: number, more: Partial<SessionRecord> = {}): SessionRecord => ({
	sessionId,
	born: 1,
	version,
	tenant: 'default',
	limits: { ...unlimited, tokens: 300 },
	used: { ...nothing, tokens: version },
	turns: version,
	usedAt: 1_000,
	ttlMs: 600,
	last: null,
	...more,
});

function write(store: MemoryStore, job: JournalJob | null): void {
	assert.ok(job !== null);
	store.commit(job.prepare() ?? [], (problem) => job.settle(problem?.kind ?? null));
}

describe('sessions in the journal', () => {
	it('are kept as they were told last, whatever the order, and found by the next daemon', () => {
		const store = new MemoryStore();
		const kept = new JournalSessions(store);
		write(store, kept.keep([record('a', 1), record('b', 1, { usedAt: 900 })], []));
		write(store, kept.keep([record('a', 3)], []));
		assert.equal(kept.keep([record('a', 2), record('a', 3)], []), null, 'another front tells the same, and older news');
		write(store, kept.keep([record('a', 1, { born: 2 })], []));
		assert.deepEqual(new JournalSessions(store).all(), [record('b', 1, { usedAt: 900 }), record('a', 1, { born: 2 })]);
	});

	it('are written once a commit, however often they changed before it', () => {
		const store = new MemoryStore();
		const kept = new JournalSessions(store);
		const job = kept.keep([record('a', 1)], []);
		assert.equal(kept.keep([record('a', 2)], []), null);
		assert.equal(kept.keep([record('b', 1)], ['a']), null);
		write(store, job);
		assert.deepEqual(store.commits, [['-sessions a', '+sessions b']]);
	});

	it('go once their time is over, and when they are forgotten', () => {
		const store = new MemoryStore();
		const kept = new JournalSessions(store);
		write(store, kept.keep([record('a', 1), record('b', 1, { usedAt: 1_001 }), record('c', 1, { usedAt: 2_000 })], []));
		write(store, kept.expire(1_600));
		write(store, kept.keep([], ['c']));
		assert.deepEqual(store.keys('sessions'), ['b']);
		assert.equal(kept.expire(1_600), null);
	});

	it('that could not be written are, with what changes next', () => {
		const store = new MemoryStore();
		const kept = new JournalSessions(store);
		store.problem = { kind: 'full', words: 'no room' };
		write(store, kept.keep([record('a', 1)], []));
		assert.deepEqual(store.keys('sessions'), []);
		store.problem = null;
		write(store, kept.keep([record('b', 1)], []));
		assert.deepEqual(store.keys('sessions'), ['a', 'b']);
	});
});
