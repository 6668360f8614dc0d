/** When models are in memory, and how much of that there is: the part of the configuration. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { load, refusal } from './loading.ts';

test('a model is always in memory unless it is said otherwise, and one that is loaded on demand has bounds of its own', () => {
	const [usual, onDemand] = load([], 'pools: [{ id: a }, { id: b, residency: on_demand, pinned: true, memory_bytes: 3GiB }]').pools;
	assert.deepEqual([usual?.residency, usual?.memoryBytes], [{ kind: 'always' }, null]);
	assert.deepEqual(onDemand?.residency, { kind: 'on_demand', idleMs: 300_000, minResidentMs: 5_000, pinned: true });
	assert.equal(onDemand?.memoryBytes, 3 * 1024 ** 3);
	assert.deepEqual(load([]).memory, { ramBytesMax: null, vramBytesMax: null });
	assert.deepEqual(load([], 'memory: { vram_bytes_max: 20GiB }').memory, { ramBytesMax: null, vramBytesMax: 20 * 1024 ** 3 });
});

test('what only models on demand have is refused for others, and models elsewhere are not loaded on demand', () => {
	assert.match(
		refusal([], 'pools: [{ id: a, pinned: true }]'),
		/^pools\[0\]\.pinned is true, but pools\[0\]\.residency is always; it belongs to residency: on_demand$/,
	);
	assert.match(
		refusal([], 'pools: [{ id: a, engine: openai, provider: external, url: "http://127.0.0.1:1", residency: on_demand }]'),
		/^pools\[0\]\.residency is on_demand, but pools\[0\]\.provider is external; only engines that are run here/,
	);
	assert.match(
		refusal([], 'memory: { ram_bytes_max: most }'),
		/^memory\.ram_bytes_max is "most"; it must be auto, or bytes as a whole number, or a size such as 512KiB/,
	);
});
