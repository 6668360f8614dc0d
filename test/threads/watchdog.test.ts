/** The watchdog's judgement over heartbeats: which threads are stuck, and what follows from it. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Watchdog } from '../../src/actors/threads/watchdog.ts';

const limits = { stuckMs: 1_000, graceMs: 2_000 };

it('kills a silent thread at its limit, once, and leaves one that beats alone', () => {
	const watchdog = new Watchdog(limits);
	watchdog.expect('control', 0);
	watchdog.expect('engine', 0);
	let beats = 0;
	for (let now = 100; now < 1_000; now += 100) {
		beats += 1;
		assert.deepEqual(
			watchdog.judge(
				[
					{ name: 'control', beats: 0, mayKill: true },
					{ name: 'engine', beats, mayKill: true },
				],
				now,
			),
			[],
		);
	}
	const stuck = [{ name: 'control', beats: 0, mayKill: true }];
	// Silence counts from the first look that saw this number of beats.
	assert.deepEqual(watchdog.judge(stuck, 1_100), [{ name: 'control', verdict: 'kill', silentMs: 1_000 }]);
	assert.deepEqual(watchdog.judge(stuck, 5_000), []);
});

it('gives a front its grace, then ends the daemon, for a front may not be killed', () => {
	const watchdog = new Watchdog(limits);
	watchdog.expect('front', 0);
	const front = [{ name: 'front', beats: 3, mayKill: false }];
	assert.deepEqual(watchdog.judge(front, 10), []);
	assert.deepEqual(watchdog.judge(front, 2_900), []);
	assert.deepEqual(watchdog.judge(front, 3_010), [{ name: 'front', verdict: 'end-daemon', silentMs: 3_000 }]);
});

it('counts the silence of a restarted thread from its restart, and forgets one that is gone', () => {
	const watchdog = new Watchdog(limits);
	const silent = [{ name: 'control', beats: 9, mayKill: true }];
	watchdog.expect('control', 0);
	watchdog.judge(silent, 100);
	watchdog.expect('control', 900);
	assert.deepEqual(watchdog.judge(silent, 1_200), []);
	watchdog.forget('control');
	assert.deepEqual(watchdog.judge(silent, 9_000), []);
});
