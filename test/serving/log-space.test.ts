/** The ledger of log space against a plain model of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { LogLease } from '../../src/actors/serving/log-space.ts';
import { LogSpace, logBytesFor } from '../../src/actors/serving/log-space.ts';
import { taskRequest } from './task-requests.ts';

test('log space is conserved, running tasks keep theirs, and finished ones make room oldest first', () => {
	const step = fc.record({ act: fc.constantFrom('reserve', 'resize', 'finish', 'release'), bytes: fc.nat(600), pick: fc.nat() });
	fc.assert(
		fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
			const running = new Map<LogLease, number>();
			const finished = new Map<LogLease, number>();
			const forgotten: LogLease[] = [];
			const space = new LogSpace(1000, () => {
				const oldest = [...finished.keys()][0];
				if (oldest === undefined) return false;
				finished.delete(oldest);
				forgotten.push(oldest);
				space.release(oldest);
				return true;
			});
			const sum = (leases: Map<LogLease, number>): number => [...leases.values()].reduce((bytes, held) => bytes + held, 0);
			for (const { act, bytes, pick } of steps) {
				const lease = [...running.keys()][pick % Math.max(running.size, 1)];
				const finishedBefore = [...finished.keys()];
				forgotten.length = 0;
				if (act === 'reserve') {
					const fits = sum(running) + bytes <= 1000;
					const made = space.reserve(bytes);
					assert.equal(made !== null, fits);
					if (made !== null) running.set(made, bytes);
				} else if (lease !== undefined && act === 'resize') {
					const fits = bytes <= (running.get(lease) ?? 0) || sum(running) - (running.get(lease) ?? 0) + bytes <= 1000;
					assert.equal(space.resize(lease, bytes), fits);
					if (fits) running.set(lease, bytes);
				} else if (lease !== undefined && act === 'finish') {
					const kept = Math.min(bytes, running.get(lease) ?? 0);
					running.delete(lease);
					space.finish(lease, kept);
					finished.set(lease, kept);
				} else if (lease !== undefined) {
					running.delete(lease);
					space.release(lease);
				}
				assert.deepEqual(forgotten, finishedBefore.slice(0, forgotten.length));
				space.check();
				assert.equal(space.inUse, sum(running) + sum(finished));
				assert.ok(space.inUse <= 1000);
			}
		}),
	);
});

test('nothing is forgotten for a reservation that would not fit even then', () => {
	let forgotten = 0;
	const space = new LogSpace(100, () => {
		forgotten++;
		return false;
	});
	const done = space.reserve(40) as LogLease;
	space.reserve(50);
	space.finish(done, 30);
	assert.equal(space.reserve(51), null);
	assert.equal(forgotten, 0);
});

test('a lease that is released or finished twice is a bug', () => {
	const space = new LogSpace(100, () => false);
	const lease = space.reserve(10) as LogLease;
	space.finish(lease, 5);
	assert.throws(() => space.finish(lease, 5));
	assert.throws(() => space.resize(lease, 5));
	space.release(lease);
	assert.throws(() => space.release(lease));
	assert.equal(space.inUse, 0);
});

test('log-probabilities and vectors reserve more', () => {
	const plain = taskRequest('a');
	const flagged = taskRequest('a', { sampling: { ...plain.sampling, logprobs: true } });
	const vectors = taskRequest('a', { workload: 'embedding', input: { kind: 'inputs', inputs: ['x', 'y'], query: null } });
	assert.ok(logBytesFor(flagged, 100) > logBytesFor(plain, 100));
	assert.ok(logBytesFor(plain, 100) > logBytesFor(plain, 0));
	assert.ok(logBytesFor(vectors, 0) > logBytesFor(plain, 0) + 4096);
});
