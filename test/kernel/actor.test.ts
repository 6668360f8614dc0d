/** What an actor may rely on: order, bounds, the two lanes, becoming another behaviour, names and paths. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { ActorContext, Behavior } from '../../src/actors/kernel/behavior.ts';
import { assertAtRest, idle, make, recorder } from './small-actors.ts';

describe('an actor', () => {
	it('gets the messages of one sender in order, never inside tell', () => {
		const made = make();
		const seen: number[] = [];
		const ref = made.system.spawn('a', recorder(seen));
		for (let n = 0; n < 1000; n += 1) assert.equal(ref.tell(n), 'accepted');
		assert.equal(seen.length, 0);
		made.host.run();
		assert.deepEqual(
			seen,
			Array.from({ length: 1000 }, (_, n) => n),
		);
		assertAtRest(made);
	});

	it('keeps the order of each pair, however many tell whom in whatever turns', () => {
		interface Said {
			readonly from: number;
			readonly n: number;
		}
		const script = fc.array(fc.record({ from: fc.nat(3), to: fc.nat(3), run: fc.boolean() }), { maxLength: 200 });
		fc.assert(
			fc.property(script, fc.integer({ min: 1, max: 5 }), (steps, activationMax) => {
				const made = make({ activationMax, turnMessagesMax: 7 });
				const heard: Said[][] = [[], [], [], []];
				const listeners = heard.map((seen, index) => made.system.spawn(`listener-${index}`, recorder(seen)));
				const speakers = heard.map((_, from) =>
					made.system.spawn<{ readonly to: number; readonly n: number }>(`speaker-${from}`, () => ({
						onMessage(_ctx, { to, n }) {
							assert.equal(listeners[to]?.tell({ from, n }), 'accepted');
							return 'same';
						},
					})),
				);
				for (const [n, { from, to, run }] of steps.entries()) {
					speakers[from]?.tell({ to, n });
					if (run) made.host.step();
				}
				made.host.run();
				assert.equal(heard.flat().length, steps.length);
				for (const seen of heard) {
					for (let from = 0; from < 4; from += 1) {
						const own = seen.filter((said) => said.from === from).map((said) => said.n);
						assert.deepEqual(
							own,
							own.toSorted((a, b) => a - b),
						);
					}
				}
				assertAtRest(made);
			}),
			{ numRuns: 50 },
		);
	});

	it('answers full at its bound, has room again after reading, and closed after its end', () => {
		const made = make();
		const seen: number[] = [];
		const ref = made.system.spawn('a', recorder(seen), { mailboxMax: 2 });
		assert.deepEqual([ref.tell(1), ref.tell(2), ref.tell(3)], ['accepted', 'accepted', 'full']);
		made.host.run();
		assert.equal(ref.tell(4), 'accepted');
		made.host.run();
		made.system.stop(ref);
		made.host.run();
		assert.equal(ref.tell(5), 'closed');
		assert.deepEqual(seen, [1, 2, 4]);
		assertAtRest(made);
	});

	it('takes any value as a message, undefined and null too', () => {
		const made = make();
		const seen: unknown[] = [];
		const edgeSeen: unknown[] = [];
		const ref = made.system.spawn<unknown>('a', recorder(seen));
		const edge = made.system.edge<unknown>((message) => edgeSeen.push(message));
		const values = [undefined, null, 0, '', false, undefined, 'last'];
		for (const value of values) {
			ref.tell(value);
			edge.tell(value);
		}
		made.host.run();
		assert.deepEqual(seen, values);
		assert.deepEqual(edgeSeen, values);
		edge.close();
		assertAtRest(made);
	});

	it('reads lifecycle news before all waiting messages, and a full inbox does not refuse it', () => {
		const made = make();
		const order: string[] = [];
		const victim = made.system.spawn('victim', idle);
		const watcher = made.system.spawn<string>(
			'watcher',
			(ctx) => {
				ctx.watch(victim);
				return {
					onMessage(_ctx, message) {
						order.push(message);
						return 'same';
					},
					onSignal(_ctx, signal) {
						order.push(signal.type);
						return 'same';
					},
				};
			},
			{ mailboxMax: 2 },
		);
		made.host.run();
		// The victim's activation comes first, so that both lanes of the watcher hold something when its own comes.
		made.system.stop(victim);
		assert.deepEqual([watcher.tell('one'), watcher.tell('two'), watcher.tell('three')], ['accepted', 'accepted', 'full']);
		made.host.run();
		assert.deepEqual(order, ['terminated', 'one', 'two']);
		assertAtRest(made);
	});

	it('becomes another behaviour, and ends by itself', () => {
		const made = make();
		const said: string[] = [];
		const second: Behavior<string> = { onMessage: (_ctx, message) => (said.push(`second ${message}`), 'stopped') };
		const first: Behavior<string> = { onMessage: (_ctx, message) => (said.push(`first ${message}`), second) };
		const ref = made.system.spawn('a', () => first);
		for (const message of ['x', 'y', 'z']) ref.tell(message);
		made.host.run();
		assert.deepEqual(said, ['first x', 'second y']);
		assert.equal(ref.tell('late'), 'closed');
		assertAtRest(made);
	});

	it('knows its path, and its name is free again when its end can be heard', () => {
		const made = make({ name: 'control' });
		const paths: string[] = [];
		const parent = made.system.spawn<'again'>('pools', (ctx) => {
			const spawn = (): void => {
				const child = ctx.spawn<'end'>('default', (own) => {
					paths.push(own.path);
					return { onMessage: () => 'stopped' };
				});
				ctx.watch(child);
				if (paths.length === 0) child.tell('end');
			};
			spawn();
			assert.throws(spawn, /has a child named default already/);
			return {
				onMessage: () => 'same',
				onSignal(_ctx, signal) {
					if (signal.type === 'terminated') spawn();
					return 'same';
				},
			};
		});
		made.host.run();
		assert.deepEqual(paths, ['/control/pools/default', '/control/pools/default']);
		assert.throws(() => made.system.spawn('pools', idle), /there is an actor \/control\/pools already/);
		made.system.stop(parent);
		made.host.run();
		made.system.spawn('pools', idle);
		assertAtRest(made);
	});

	it('may stop and drain its own children only', () => {
		const made = make();
		const stranger = made.system.spawn('stranger', idle);
		const problems: string[] = [];
		made.system.spawn<never>('parent', (ctx) => {
			const child = ctx.spawn('child', idle);
			ctx.stop(child);
			for (const end of [() => ctx.stop(stranger), () => ctx.drain(stranger), () => ctx.stop({ tell: () => 'accepted' })]) {
				try {
					end();
				} catch (error) {
					problems.push(String(error));
				}
			}
			return { onMessage: () => 'same' };
		});
		made.host.run();
		assert.equal(problems.length, 3);
		assert.match(problems[0] ?? '', /\/parent can stop or drain its own children only/);
		assert.equal(stranger.tell('x'), 'accepted');
		assert.equal(made.system.stats.actors, 2);
		assertAtRest(made);
	});

	it('does not end a child by the ref of another that had the same name', () => {
		const made = make();
		const parent = made.system.spawn<'stop the old one'>('parent', (ctx) => {
			const old = ctx.spawn<'end'>('child', () => ({ onMessage: () => 'stopped' }));
			ctx.watch(old);
			old.tell('end');
			return {
				onMessage(context) {
					context.stop(old);
					context.drain(old);
					return 'same';
				},
				onSignal(context, signal) {
					if (signal.type === 'terminated') context.spawn('child', idle);
					return 'same';
				},
			};
		});
		made.host.run();
		parent.tell('stop the old one');
		made.host.run();
		assert.equal(made.system.stats.actors, 2);
		assertAtRest(made);
	});

	it('has a context that is of no use after its end', () => {
		const made = make();
		let kept: ActorContext<string> | null = null;
		const ref = made.system.spawn<string>('a', (ctx) => {
			kept = ctx;
			return { onMessage: () => 'same' };
		});
		made.host.run();
		made.system.stop(ref);
		made.host.run();
		const ctx = kept as ActorContext<string> | null;
		assert.ok(ctx !== null);
		assert.throws(() => ctx.setTimer('late', 1, 'x'), /\/a has ended: it cannot set a timer/);
		assert.throws(() => ctx.watch(ref), /it cannot watch/);
		assert.throws(() => ctx.spawn('child', idle), /it cannot spawn/);
		const ask = (): void =>
			ctx.ask(
				ref,
				1,
				() => 'x',
				() => 'y',
			);
		assert.throws(ask, /it cannot ask/);
		ctx.cancelTimer('late');
		ctx.unwatch(ref);
		assertAtRest(made);
	});
});
