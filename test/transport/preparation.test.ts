/** What is said of a pool that is not ready: the steps to that, in their order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Value } from '@sinclair/typebox/value';
import { preparationOf } from '../../src/transport/api/preparation.ts';
import { acceptedSchema } from '../../src/transport/api/response-schemas.ts';

test('a model that is on its way is a step before the load, with its bytes and what is left of each', () => {
	const fetch = { status: 'running', bytesDone: 1, bytesTotal: 4, leftMs: 99.6, note: null } as const;
	const steps = preparationOf('p', { status: 'waiting', leftMs: 10, fetch });
	assert.ok(Value.Check(acceptedSchema.properties.preparation, { steps }));
	assert.deepEqual(
		steps.map((step) => [step.kind, step.status, step.estimated_ms, step.bytes_total]),
		[
			['model_fetch', 'running', 100, 4],
			['pool_warmup', 'waiting', 10, null],
		],
	);
	const [waiting] = preparationOf('p', { status: 'waiting', leftMs: null, fetch: { ...fetch, status: 'waiting', note: 'in line' } });
	assert.deepEqual([waiting?.status, waiting?.description], ['waiting', 'in line']);
	assert.deepEqual(preparationOf('p', null), []);
});
