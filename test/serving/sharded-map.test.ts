/** The map in many parts, against a plain one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ShardedMap } from '../../src/actors/serving/sharded-map.ts';

test('a sharded map holds what a plain one does, whatever its keys', () => {
	const key = fc.oneof(fc.string({ maxLength: 3 }), fc.uuid(), fc.constantFrom('', '__proto__', 'a', 'b'));
	const step = fc.record({ kind: fc.constantFrom('set', 'delete', 'get'), key, value: fc.nat(9) });
	fc.assert(
		fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
			const sharded = new ShardedMap<number>();
			const plain = new Map<string, number>();
			for (const { kind, key: name, value } of steps) {
				if (kind === 'set') {
					sharded.set(name, value);
					plain.set(name, value);
				} else if (kind === 'delete') assert.equal(sharded.delete(name), plain.delete(name));
				assert.deepEqual([sharded.get(name), sharded.has(name), sharded.size], [plain.get(name), plain.has(name), plain.size]);
			}
			assert.deepEqual(new Map(sharded), plain);
			const ascending = (a: number, b: number): number => a - b;
			assert.deepEqual([...sharded.values()].sort(ascending), [...plain.values()].sort(ascending));
		}),
	);
});
