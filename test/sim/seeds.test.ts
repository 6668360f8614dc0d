/** The first half of the simulated runs of `npm test`; in two files, so that two processes share the work. */
import { test } from 'node:test';
import { keepEveryPromise } from './seed-runs.ts';

const seeds = 150;

test(`${seeds} simulated runs of the whole daemon keep every promise, each the same when it is run again`, () =>
	keepEveryPromise(1, seeds));
