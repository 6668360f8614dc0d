/** Death watch: one notice a watch, whatever ended and whenever. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Signal } from '../../src/actors/kernel/behavior.ts';
import { assertAtRest, idle, make, watcherOf } from './small-actors.ts';

describe('death watch', () => {
	it('gives exactly one notice a watch, also of one who had ended before', () => {
		const made = make();
		const signals: Signal[] = [];
		const victim = made.system.spawn('victim', idle);
		const ref = made.system.spawn<'again'>('watcher', (ctx) => {
			ctx.watch(victim);
			ctx.watch(victim);
			return {
				onMessage(context) {
					context.watch(victim);
					context.watch(victim);
					return 'same';
				},
				onSignal(_ctx, signal) {
					signals.push(signal);
					return 'same';
				},
			};
		});
		made.host.run();
		made.system.stop(victim);
		made.host.run();
		assert.equal(signals.length, 1);
		ref.tell('again');
		made.host.run();
		assert.equal(signals.length, 2);
		assert.ok(signals.every((signal) => signal.type === 'terminated' && signal.ref === victim && signal.reason.kind === 'stopped'));
		assertAtRest(made);
	});

	it('says nothing after unwatch, even when the death was already on its way', () => {
		const made = make();
		const signals: Signal[] = [];
		const victim = made.system.spawn('victim', idle);
		const watcher = made.system.spawn<'unwatch' | 'watch-twice'>('watcher', (ctx) => {
			ctx.watch(victim);
			return {
				onMessage(context, message) {
					context.unwatch(victim);
					if (message === 'unwatch') return 'same';
					// The victim is dead: each watch puts its notice on its way at once.
					context.watch(victim);
					context.unwatch(victim);
					context.watch(victim);
					return 'same';
				},
				onSignal(_ctx, signal) {
					signals.push(signal);
					return 'same';
				},
			};
		});
		made.host.run();
		watcher.tell('unwatch');
		made.system.stop(victim);
		made.host.run();
		assert.deepEqual(signals, []);
		watcher.tell('watch-twice');
		made.host.run();
		assert.equal(signals.length, 1);
		assertAtRest(made);
	});

	it('works on edges, and refuses refs that no kernel made', () => {
		const made = make();
		const signals: Signal[] = [];
		const edge = made.system.edge<string>(() => {});
		made.system.spawn('watcher', watcherOf([edge], signals));
		made.system.spawn('wrong', watcherOf([{ tell: () => 'accepted' }], signals));
		made.host.run();
		assert.match(String(made.telemetry.of('actor-failed')[0]?.['message']), /not made by the kernel/);
		edge.close();
		edge.close();
		made.host.run();
		assert.deepEqual(signals, [{ type: 'terminated', ref: edge, reason: { kind: 'stopped' } }]);
		assertAtRest(made);
	});

	it('tells every watcher, and the reason of a bug', () => {
		const made = make();
		const signals: Signal[] = [];
		const victim = made.system.spawn<string>('victim', () => ({
			onMessage(_ctx, message) {
				throw new Error(message);
			},
		}));
		for (let n = 0; n < 5; n += 1) made.system.spawn(`watcher-${n}`, watcherOf([victim], signals));
		made.host.run();
		victim.tell('a bug');
		made.host.run();
		assert.equal(signals.length, 5);
		for (const signal of signals)
			assert.deepEqual(signal, { type: 'terminated', ref: victim, reason: { kind: 'failed', message: 'a bug' } });
		assertAtRest(made);
	});

	it('is not kept by a watcher that has ended', () => {
		const made = make();
		const signals: Signal[] = [];
		const victim = made.system.spawn('victim', idle);
		const watcher = made.system.spawn('watcher', watcherOf([victim], signals));
		made.host.run();
		made.system.stop(watcher);
		made.host.run();
		made.system.stop(victim);
		made.host.run();
		assert.deepEqual(
			signals.map((signal) => signal.type),
			['post-stop'],
		);
		assertAtRest(made);
	});
});
