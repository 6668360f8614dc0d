/** The ring under every lane, against an array as its model. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Ring } from '../../src/actors/kernel/ring.ts';

type Step = { readonly act: 'push' | 'pushBeyond'; readonly item: number | undefined } | { readonly act: 'shift' | 'clear' };

const item = fc.option(fc.integer(), { nil: undefined });
const step: fc.Arbitrary<Step> = fc.oneof(
	{ weight: 8, arbitrary: fc.record({ act: fc.constant('push' as const), item }) },
	{ weight: 2, arbitrary: fc.record({ act: fc.constant('pushBeyond' as const), item }) },
	{ weight: 6, arbitrary: fc.record({ act: fc.constant('shift' as const) }) },
	{ weight: 1, arbitrary: fc.record({ act: fc.constant('clear' as const) }) },
);

test('a ring is a queue that refuses at its bound, whatever is done to it', () => {
	const bound = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.constant(Number.POSITIVE_INFINITY));
	fc.assert(
		fc.property(bound, fc.array(step, { maxLength: 300 }), (max, steps) => {
			const ring = new Ring<number | undefined>(max);
			let model: (number | undefined)[] = [];
			for (const each of steps) {
				switch (each.act) {
					case 'push':
						assert.equal(ring.push(each.item), model.length < max);
						if (model.length < max) model.push(each.item);
						break;
					case 'pushBeyond':
						ring.pushBeyond(each.item);
						model.push(each.item);
						break;
					case 'shift':
						assert.equal(ring.shift(), model.shift());
						break;
					case 'clear':
						ring.clear();
						model = [];
						break;
				}
				assert.equal(ring.length, model.length);
			}
			while (model.length > 0) assert.equal(ring.shift(), model.shift());
			assert.equal(ring.shift(), undefined);
		}),
	);
});

test('a ring that wraps around while it grows keeps its order', () => {
	const ring = new Ring<number>(Number.POSITIVE_INFINITY);
	let next = 0;
	let expected = 0;
	for (let round = 0; round < 200; round += 1) {
		for (let n = 0; n < 7; n += 1) ring.push(next++);
		for (let n = 0; n < 3; n += 1) assert.equal(ring.shift(), expected++);
	}
	while (ring.length > 0) assert.equal(ring.shift(), expected++);
	assert.equal(expected, next);
});
