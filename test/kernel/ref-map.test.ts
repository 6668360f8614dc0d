/** The map by ref, against a plain one: few refs, many, and back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EndedAddress } from '../../src/actors/kernel/address.ts';
import { RefMap } from '../../src/actors/kernel/ref-map.ts';

const addresses = Array.from({ length: 3_000 }, () => new EndedAddress({ kind: 'stopped' }));

test('a map by ref holds what a plain one does, before and after it is shared out', () => {
	const step = fc.record({ kind: fc.constantFrom('set', 'delete'), from: fc.nat(2_999), count: fc.nat(2_000) });
	fc.assert(
		fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
			const map = new RefMap<number>();
			const plain = new Map<EndedAddress, number>();
			for (const { kind, from, count } of steps) {
				for (const address of addresses.slice(from, from + count)) {
					if (kind === 'set') {
						map.set(address, count);
						plain.set(address, count);
					} else assert.equal(map.delete(address), plain.delete(address));
				}
				assert.equal(map.size, plain.size);
				for (const address of addresses) {
					assert.equal(map.get(address), plain.get(address));
					assert.equal(map.has(address), plain.has(address));
				}
				assert.deepEqual(new Set(map.keys()), new Set(plain.keys()));
			}
		}),
		{ numRuns: 30 },
	);
});

test('a map of few refs tells them in the order in which they came', () => {
	const map = new RefMap<true>();
	const some = [5, 2, 9, 1].map((at) => addresses[at] as EndedAddress);
	for (const address of some) map.set(address, true);
	assert.deepEqual([...map.keys()], some);
});
