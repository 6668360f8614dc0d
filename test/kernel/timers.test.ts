/** Timers as messages: at their time, once, and never after they were replaced or cancelled. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Host, TimerHandle } from '../../src/actors/kernel/host.ts';
import { SimHost } from '../../src/actors/kernel/sim-host.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';
import { silentTelemetry } from '../../src/actors/kernel/telemetry.ts';
import { assertAtRest, make, quick } from './small-actors.ts';

type Command =
	| { readonly act: 'set'; readonly key: string; readonly delayMs: number; readonly id: number }
	| { readonly act: 'cancel'; readonly key: string };
type Message = Command | { readonly act: 'fired'; readonly id: number };

/** A host whose timers fire when the test says so, all together, while turns wait: as on a thread that was late. */
class HandHost implements Host {
	readonly telemetry = silentTelemetry;
	#now = 0;
	#turns: (() => void)[] = [];
	readonly #timers = new Map<object, () => void>();

	now(): number {
		return this.#now;
	}

	random(): number {
		return 0;
	}

	defer(turn: () => void): void {
		this.#turns.push(turn);
	}

	yieldThen(turn: () => void): void {
		this.#turns.push(turn);
	}

	setTimer(_delayMs: number, fire: () => void): TimerHandle {
		const handle = {};
		this.#timers.set(handle, fire);
		return handle;
	}

	clearTimer(handle: TimerHandle): void {
		this.#timers.delete(handle);
	}

	runTurns(): void {
		for (let turn = this.#turns.shift(); turn !== undefined; turn = this.#turns.shift()) turn();
	}

	fireTimers(now: number): void {
		this.#now = now;
		const due = [...this.#timers.values()];
		this.#timers.clear();
		for (const fire of due) fire();
	}
}

describe('timers', () => {
	it('arrive as messages at their time; a replaced or cancelled one never does', () => {
		const made = make();
		const seen: string[] = [];
		const ref = made.system.spawn<string>('a', (ctx) => {
			ctx.setTimer('kept', 100, 'kept');
			ctx.setTimer('later', 50, 'old');
			ctx.setTimer('later', 70, 'new');
			ctx.setTimer('sooner', 90, 'old');
			ctx.setTimer('sooner', 30, 'soon');
			ctx.setTimer('cancelled', 60, 'cancelled');
			ctx.setTimer('at once', -5, 'at once');
			return {
				onMessage(context, message) {
					if (message === 'cancel') context.cancelTimer('cancelled');
					else seen.push(`${message}@${context.now()}`);
					return 'same';
				},
			};
		});
		ref.tell('cancel');
		made.host.advance(200);
		assert.deepEqual(seen, ['at once@0', 'soon@30', 'new@70', 'kept@100']);
		assert.equal(made.system.stats.timers, 0);
		assertAtRest(made);
	});

	it('that have fired do not arrive when they are cancelled or replaced while they wait in the inbox', () => {
		const host = new HandHost();
		const system = new ActorSystem(host);
		const seen: string[] = [];
		const ref = system.spawn<string>('a', (ctx) => {
			for (const key of ['cancelled', 'replaced', 'kept']) ctx.setTimer(key, 10, key);
			return {
				onMessage(context, message) {
					seen.push(message);
					if (message !== 'act') return 'same';
					context.cancelTimer('cancelled');
					context.setTimer('replaced', 5, 'new');
					return 'same';
				},
			};
		});
		host.runTurns();
		ref.tell('act');
		host.fireTimers(10);
		host.runTurns();
		assert.deepEqual(seen, ['act', 'kept']);
		host.fireTimers(15);
		host.runTurns();
		assert.deepEqual(seen, ['act', 'kept', 'new']);
		assert.equal(system.stats.timers, 0);
	});

	it('are never early, although the host may be', () => {
		const host = new HandHost();
		const system = new ActorSystem(host);
		const seen: string[] = [];
		system.spawn<string>('a', (ctx) => {
			ctx.setTimer('month', 30 * 86_400_000, 'month');
			return { onMessage: (_ctx, message) => (seen.push(message), 'same') };
		});
		host.runTurns();
		for (const at of [2 ** 31 - 1, 30 * 86_400_000 - 0.5]) {
			host.fireTimers(at);
			host.runTurns();
			assert.deepEqual(seen, []);
		}
		host.fireTimers(30 * 86_400_000);
		host.runTurns();
		assert.deepEqual(seen, ['month']);
	});

	it('agree with a list of deadlines, whatever is set and cancelled when', () => {
		const key = fc.constantFrom('a', 'b', 'c');
		const command = fc.oneof(
			fc.record({ act: fc.constant('set' as const), key, delayMs: fc.integer({ min: 0, max: 20 }) }),
			fc.record({ act: fc.constant('cancel' as const), key }),
			fc.record({ act: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 15 }) }),
		);
		fc.assert(
			fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
				const made = make();
				const fired: { readonly id: number; readonly at: number }[] = [];
				const ref = made.system.spawn<Message>('a', () => ({
					onMessage(ctx, message) {
						if (message.act === 'set') ctx.setTimer(message.key, message.delayMs, { act: 'fired', id: message.id });
						else if (message.act === 'cancel') ctx.cancelTimer(message.key);
						else fired.push({ id: message.id, at: ctx.now() });
						return 'same';
					},
				}));
				made.host.run();
				const due = new Map<string, { readonly id: number; readonly at: number }>();
				const expected: { readonly id: number; readonly at: number }[] = [];
				const pass = (until: number): void => {
					for (const [name, timer] of due) {
						if (timer.at > until) continue;
						expected.push(timer);
						due.delete(name);
					}
				};
				for (const [id, each] of commands.entries()) {
					if (each.act === 'wait') {
						made.host.advance(each.ms);
						pass(made.host.now());
						continue;
					}
					if (each.act === 'set') due.set(each.key, { id, at: made.host.now() + each.delayMs });
					else due.delete(each.key);
					ref.tell(each.act === 'set' ? { ...each, id } : each);
					made.host.run();
				}
				made.host.advance(100);
				pass(Number.POSITIVE_INFINITY);
				const inOrder = (list: typeof fired): typeof fired => list.toSorted((a, b) => a.at - b.at || a.id - b.id);
				assert.deepEqual(inOrder(fired), inOrder(expected));
				assert.deepEqual(
					fired.map(({ at }) => at),
					fired.map(({ at }) => at).toSorted((a, b) => a - b),
				);
				assert.equal(made.system.stats.timers, 0);
				assertAtRest(made);
			}),
		);
	});

	it('do not arrive after a restart or an end, and find room in a full inbox', () => {
		const made = make();
		const seen: string[] = [];
		let starts = 0;
		const ref = made.system.spawn<string>(
			'a',
			(ctx) => {
				starts += 1;
				if (starts === 1) ctx.setTimer('old', 10, 'old');
				else ctx.setTimer('new', 10, 'new');
				return {
					onMessage(_ctx, message) {
						if (message === 'boom') throw new Error('boom');
						seen.push(message);
						return 'same';
					},
				};
			},
			{ supervision: quick, mailboxMax: 1 },
		);
		ref.tell('boom');
		made.host.advance(100);
		assert.equal(starts, 2);
		assert.equal(made.system.stats.timers, 1);
		ref.tell('waits');
		assert.equal(ref.tell('refused'), 'full');
		made.host.advance(10);
		assert.deepEqual(seen, ['waits', 'new']);
		made.system.stop(ref);
		assert.ok(made.host.runUntilIdle());
		assert.deepEqual(seen, ['waits', 'new']);
		assertAtRest(made);
	});

	it('cost no new host timer when they are only moved back', () => {
		class CountingHost extends SimHost {
			set = 0;

			override setTimer(delayMs: number, fire: () => void): TimerHandle {
				this.set += 1;
				return super.setTimer(delayMs, fire);
			}
		}
		const host = new CountingHost(1);
		const system = new ActorSystem(host);
		const seen: number[] = [];
		const ref = system.spawn<'again' | 'idle'>('a', () => ({
			onMessage(ctx, message) {
				if (message === 'idle') seen.push(ctx.now());
				else ctx.setTimer('idle', 100, 'idle');
				return 'same';
			},
		}));
		for (let n = 0; n < 50; n += 1) {
			ref.tell('again');
			host.advance(10);
			assert.equal(host.world.timers, 1);
		}
		host.advance(1_000);
		assert.deepEqual(seen, [590]);
		assert.ok(host.set <= 7, `${host.set} host timers for one idle time of 590 ms`);
		assertAtRest({ host, system });
	});
});
