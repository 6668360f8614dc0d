/** The decisions that can be asked for: each as it was made, however it is kept, and the oldest forgotten. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { DecisionRecord } from '../../src/actors/serving/decision-messages.ts';
import { DecisionRecords } from '../../src/actors/serving/decision-records.ts';
import { failure } from '../../src/actors/serving/failure.ts';

const poolId = fc.constantFrom('a', 'b', 'c', 'd');
const stage = fc.nat(1_000_000);
const record: fc.Arbitrary<DecisionRecord> = fc
	.record({
		at: fc.double({ min: 0, max: 1e9, noNaN: true }),
		outcome: fc.constant('assigned' as const),
		poolId,
		decidedBy: fc.constantFrom('only_one' as const, 'predicted_end' as const, 'pool_id' as const),
		fallback: fc.boolean(),
		considered: fc.array(
			fc.record({
				poolId,
				passed: fc.nat(10),
				refusedFor: fc.oneof(
					{ weight: 20, arbitrary: fc.constant(null) },
					{ weight: 1, arbitrary: fc.constant(failure('POOL_UNREADY', 'no')) },
				),
				predictedStartMs: fc.double({ min: 0, max: 1e9, noNaN: true }),
				predictedEndMs: fc.double({ min: 0, max: 1e9, noNaN: true }),
			}),
			{ maxLength: 20 },
		),
		stages: fc.record({ admission: stage, feasibility: stage, ranking: stage, handover: stage }),
	})
	.map((made) => structuredClone(made));

test('a decision is read as it was made, the last one of a task that was decided again', () => {
	fc.assert(
		fc.property(fc.array(fc.tuple(fc.nat(20), record), { maxLength: 60 }), (made) => {
			const records = new DecisionRecords();
			const last = new Map<string, DecisionRecord>();
			for (const [task, decision] of made) {
				records.put(`t${task}`, decision);
				last.set(`t${task}`, decision);
			}
			for (const [taskId, decision] of last) assert.deepEqual(records.get(taskId), decision);
			assert.equal(records.get('none'), null);
		}),
	);
});

test('the last 4 096 are kept', () => {
	const records = new DecisionRecords();
	const [decision] = fc.sample(record, { numRuns: 1, seed: 1 });
	assert.ok(decision);
	for (let task = 0; task < 10_000; task += 1) records.put(`t${task}`, { ...decision, at: task });
	assert.equal(records.get('t5903'), null);
	assert.equal(records.get('t5904')?.at, 5904);
	assert.equal(records.get('t9999')?.at, 9999);
});
