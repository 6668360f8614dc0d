/** When a failing actor is started again, how fast, when it is given up, and what a restart keeps. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Setup, Signal } from '../../src/actors/kernel/behavior.ts';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import { decideRestart, noFailures, type RestartHistory, type SupervisionSpec } from '../../src/actors/kernel/supervision.ts';
import { assertAtRest, idle, make, quick, recorder, watcherOf } from './small-actors.ts';

/** The delays of failures at these times, until it is given up. */
function delays(spec: SupervisionSpec, failures: readonly number[], random = 0.5): (number | 'stop')[] {
	let history: RestartHistory = noFailures;
	return failures.map((at) => {
		const verdict = decideRestart(spec, history, at, random);
		if (verdict.decision === 'stop') return 'stop';
		history = verdict.history;
		return verdict.delayMs;
	});
}

describe('the decision about a restart', () => {
	const spec: SupervisionSpec = {
		onFailure: 'restart',
		intensity: { restarts: 3, withinMs: 1_000 },
		backoff: { firstMs: 10, maxMs: 35, jitter: 0 },
		shutdownMs: 0,
	};

	it('doubles the delay up to its bound, and gives up above the intensity', () => {
		assert.deepEqual(delays(spec, [0, 100, 200, 300]), [10, 20, 35, 'stop']);
		assert.deepEqual(delays({ ...spec, onFailure: 'stop' }, [0]), ['stop']);
	});

	it('forgets failures that are older than the window', () => {
		assert.deepEqual(delays(spec, [0, 100, 200, 1_150, 1_160, 1_170]), [10, 20, 35, 35, 35, 'stop']);
	});

	it('begins a new row after it has run stable, and grows beyond the window of intensity until then', () => {
		const patient: SupervisionSpec = { ...spec, backoff: { firstMs: 1_000, maxMs: 60_000, jitter: 0, stableMs: 300_000 } };
		assert.deepEqual(delays(patient, [0, 1_100, 3_200, 7_300, 15_400]), [1_000, 2_000, 4_000, 8_000, 16_000]);
		// Started at 1 000, it ran until 300 999: one less than stable. The next one ran long enough.
		assert.deepEqual(delays(patient, [0, 300_999, 302_999 + 300_000]), [1_000, 2_000, 1_000]);
	});

	it('spreads the delay by the jitter, and stays a finite number for ever', () => {
		const jittered: SupervisionSpec = { ...spec, backoff: { firstMs: 10, maxMs: 10, jitter: 0.5 } };
		assert.deepEqual(
			[0, 0.5, 0.75].map((random) => delays(jittered, [0], random)[0]),
			[5, 10, 12.5],
		);
		const endless: SupervisionSpec = {
			...spec,
			intensity: { restarts: Number.POSITIVE_INFINITY, withinMs: 1 },
			backoff: { firstMs: 0.001, maxMs: Number.POSITIVE_INFINITY, jitter: 0.1, stableMs: Number.POSITIVE_INFINITY },
		};
		fc.assert(
			fc.property(fc.nat(2_000), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (inRow, random) => {
				const verdict = decideRestart(endless, { failedAt: [], inRow, startedAt: 0 }, 5, random);
				assert.ok(verdict.decision === 'restart' && Number.isFinite(verdict.delayMs) && verdict.delayMs >= 0);
			}),
		);
	});

	it('never allows more restarts in a window than the intensity, and changes nothing it was given', () => {
		fc.assert(
			fc.property(fc.array(fc.nat(400), { maxLength: 40 }), fc.integer({ min: 0, max: 5 }), (gaps, restarts) => {
				const limited: SupervisionSpec = { ...spec, intensity: { restarts, withinMs: 1_000 } };
				const granted: number[] = [];
				let history = noFailures;
				let now = 0;
				for (const gap of gaps) {
					now += gap;
					const before = structuredClone(history);
					const verdict = decideRestart(limited, history, now, 0.5);
					assert.deepEqual(history, before);
					if (verdict.decision === 'stop') return;
					history = verdict.history;
					granted.push(now);
					assert.ok(granted.filter((at) => now - at <= 1_000).length <= restarts);
				}
			}),
		);
	});
});

describe('supervision', () => {
	it('starts a failing child again after a growing delay, keeps its ref and inbox, and gives it up at the limit', () => {
		const made = make();
		const starts: number[] = [];
		const failed: string[] = [];
		const got: string[] = [];
		const ended: Signal[] = [];
		let child: ActorRef<string> | null = null;
		made.system.spawn<never>('parent', (ctx) => {
			child = ctx.spawn<string>(
				'child',
				(own) => {
					starts.push(own.now());
					return {
						onMessage(_ctx, message) {
							if (message === 'boom') throw new Error('boom');
							got.push(message);
							return 'same';
						},
					};
				},
				{ supervision: quick },
			);
			ctx.watch(child);
			return {
				onMessage: () => 'same',
				onSignal(_ctx, signal) {
					if (signal.type === 'child-failed') failed.push(`${signal.name}: ${signal.message}, ${signal.decision}`);
					if (signal.type === 'terminated') ended.push(signal);
					return 'same';
				},
			};
		});
		made.host.run();
		const ref = child as ActorRef<string> | null;
		assert.ok(ref !== null);
		ref.tell('boom');
		ref.tell('waits');
		made.host.advance(99);
		assert.deepEqual(got, []);
		made.host.advance(1);
		assert.deepEqual(got, ['waits']);
		ref.tell('boom');
		made.host.advance(200);
		assert.deepEqual(starts, [0, 100, 300]);
		assert.deepEqual(ended, []);
		ref.tell('boom');
		made.host.run();
		assert.deepEqual(failed, ['child: boom, restart', 'child: boom, restart', 'child: boom, stop']);
		assert.deepEqual(ended, [{ type: 'terminated', ref, reason: { kind: 'failed', message: 'boom' } }]);
		assertAtRest(made);
	});

	it('reports a bug with path and stack, and costs nobody else anything', () => {
		const made = make();
		const seen: string[] = [];
		const bad = made.system.spawn<string>('bad', () => ({
			onMessage() {
				throw new Error('bug');
			},
		}));
		const good = made.system.spawn<string>('good', recorder(seen));
		bad.tell('x');
		good.tell('y');
		made.host.run();
		assert.deepEqual(seen, ['y']);
		assert.equal(bad.tell('z'), 'closed');
		const line = made.telemetry.of('actor-failed')[0];
		assert.ok(line !== undefined);
		assert.deepEqual([line['actor'], line['message'], line['decision']], ['/bad', 'bug', 'stop']);
		assert.match(String(line['stack']), /supervision\.test/);
		assertAtRest(made);
	});

	it('takes anything that is thrown, from a message, a signal, a setup', () => {
		const made = make();
		const throwing = (what: unknown): never => {
			throw what;
		};
		const victim = made.system.spawn('victim', idle);
		made.system.spawn<string>('in-setup', () => throwing('a string')).tell('never read');
		made.system.spawn<string>('in-message', () => ({ onMessage: () => throwing(undefined) })).tell('x');
		made.system.spawn<never>('in-signal', (ctx) => {
			ctx.watch(victim);
			return { onMessage: () => 'same', onSignal: (_ctx, signal) => (signal.type === 'terminated' ? throwing({ odd: true }) : 'same') };
		});
		made.host.run();
		made.system.stop(victim);
		made.host.run();
		assert.deepEqual(
			made.telemetry.of('actor-failed').map((line) => [line['actor'], line['message']]),
			[
				['/in-setup', 'a string'],
				['/in-message', 'undefined'],
				['/in-signal', '[object Object]'],
			],
		);
		assert.equal(made.system.stats.actors, 0);
		assertAtRest(made);
	});

	it('ends the children of a failing actor before its last words and its next start', () => {
		const made = make();
		const order: string[] = [];
		const child: Setup<never> = () => ({
			onMessage: () => 'same',
			onSignal(_ctx, signal) {
				if (signal.type === 'post-stop') order.push(`child ${signal.reason.kind}`);
				return 'same';
			},
		});
		const ref = made.system.spawn<'boom'>(
			'parent',
			(ctx) => {
				order.push('setup');
				ctx.spawn('child', child);
				return {
					onMessage() {
						throw new Error('boom');
					},
					onSignal(_ctx, signal) {
						if (signal.type === 'post-stop') order.push(`parent ${signal.reason.kind}`);
						return 'same';
					},
				};
			},
			{ supervision: quick },
		);
		made.host.run();
		ref.tell('boom');
		made.host.run();
		assert.deepEqual(order, ['setup', 'child stopped', 'parent failed']);
		made.host.advance(100);
		assert.deepEqual(order, ['setup', 'child stopped', 'parent failed', 'setup']);
		assertAtRest(made);
	});

	it('lets a restarting actor be stopped, once and for all', () => {
		const made = make();
		let starts = 0;
		const ends: Signal[] = [];
		const ref = made.system.spawn<'boom'>(
			'a',
			() => {
				starts += 1;
				return {
					onMessage() {
						throw new Error('boom');
					},
				};
			},
			{ supervision: quick },
		);
		made.system.spawn('watcher', watcherOf([ref], ends));
		made.host.run();
		ref.tell('boom');
		made.host.run();
		assert.equal(ref.tell('boom'), 'accepted');
		made.system.stop(ref);
		made.host.advance(1_000);
		assert.equal(starts, 1);
		assert.deepEqual(ends, [{ type: 'terminated', ref, reason: { kind: 'stopped' } }]);
		assert.equal(made.system.stats.deadLetters, 1);
		assertAtRest(made);
	});

	it('starts again one whose setup throws, and gives that up as well', () => {
		const made = make();
		let starts = 0;
		made.system.spawn<never>(
			'a',
			(ctx) => {
				starts += 1;
				ctx.spawn(`half-done-${starts}`, idle);
				ctx.setTimer('half-done', 10, undefined as never);
				throw new Error('not today');
			},
			{ supervision: quick },
		);
		made.host.advance(5_000);
		assert.equal(starts, 3);
		assert.equal(made.system.stats.actors, 0);
		assertAtRest(made);
	});

	it('keeps a bug in last words from stopping the end', () => {
		const made = make();
		const ends: Signal[] = [];
		const ref = made.system.spawn<never>('a', () => ({
			onMessage: () => 'same',
			onSignal() {
				throw new Error('last words');
			},
		}));
		made.system.spawn('watcher', watcherOf([ref], ends));
		made.host.run();
		made.system.stop(ref);
		made.host.run();
		assert.equal(ends.length, 1);
		assert.equal(made.telemetry.of('actor-failed')[0]?.['during'], 'post-stop');
		assertAtRest(made);
	});
});
