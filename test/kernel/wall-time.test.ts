/** The time of day of instants of a host's clock, over system clocks that tick coarsely, are set, and over processes. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WallTime, wallOffset } from '../../src/actors/kernel/wall-time.ts';

describe('the time of day', () => {
	it('of one instant is one, whenever it is asked for, and what it was over another process', () => {
		let host = 1_000.25;
		// It ticks by whole milliseconds, not where the other does.
		const system = (): number => Math.floor(1_700_000_000_000.6 + host);
		const wall = new WallTime(
			() => host,
			system,
			wallOffset(() => host, system),
		);
		const at = 1_000.1;
		const told = wall.wallOf(at);
		for (; host < 1_010; host += 0.1) assert.equal(wall.wallOf(at), told);
		const next = new WallTime(
			() => host + 123.4,
			system,
			wallOffset(() => host + 123.4, system),
		);
		assert.equal(next.wallOf(next.hostOf(told)), told);
	});

	it('follows a system clock that is set', () => {
		let system = 5_000;
		const wall = new WallTime(
			() => 1_000,
			() => system,
			4_000,
		);
		assert.equal(wall.wallOf(900), 4_900);
		system = 95_000;
		assert.equal(wall.wallOf(900), 94_900);
		assert.equal(wall.hostOf(94_900), 900);
	});
});
