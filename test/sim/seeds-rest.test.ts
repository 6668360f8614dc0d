/** The second half of the simulated runs of `npm test`: see `seeds.test.ts`. */
import { test } from 'node:test';
import { keepEveryPromise } from './seed-runs.ts';

test('150 more simulated runs keep every promise, each the same when it is run again', () => keepEveryPromise(151, 300));
