/** Turns: their budgets, who runs when, and what leaves at their end. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Setup } from '../../src/actors/kernel/behavior.ts';
import { SimHost } from '../../src/actors/kernel/sim-host.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';
import { silentTelemetry } from '../../src/actors/kernel/telemetry.ts';
import { assertAtRest, make, recorder } from './small-actors.ts';

/** Tells itself for ever. */
function flooder(told: { count: number }): Setup<number> {
	return () => ({
		onMessage(ctx, n) {
			told.count += 1;
			ctx.self.tell(n + 1);
			return 'same';
		},
	});
}

describe('a turn', () => {
	it('lets a quiet actor have its activation beside one that floods itself', () => {
		const made = make({ activationMax: 8, turnMessagesMax: 64 });
		const told = { count: 0 };
		const flood = made.system.spawn('flood', flooder(told));
		const seen: string[] = [];
		const quiet = made.system.spawn<string>('quiet', recorder(seen));
		flood.tell(0);
		assert.ok(made.host.step());
		const before = told.count;
		quiet.tell('now');
		assert.ok(made.host.step());
		assert.deepEqual(seen, ['now']);
		assert.ok(told.count - before <= 64, `${told.count - before} messages in a turn`);
		assertAtRest(made);
	});

	it('gives each of two busy actors as much as the other', () => {
		const made = make({ activationMax: 8, turnMessagesMax: 1_000 });
		const counts = [{ count: 0 }, { count: 0 }];
		for (const [index, told] of counts.entries()) made.system.spawn(`flood-${index}`, flooder(told)).tell(0);
		for (let turn = 0; turn < 5; turn += 1) assert.ok(made.host.step());
		const [a, b] = counts;
		assert.ok(a !== undefined && b !== undefined && Math.abs(a.count - b.count) <= 8, JSON.stringify(counts));
		assertAtRest(made);
	});

	it('gives way to the host when its messages or its time are spent', () => {
		class TickingHost extends SimHost {
			yields = 0;
			ms = 0;

			override now(): number {
				return this.ms;
			}

			override yieldThen(turn: () => void): void {
				this.yields += 1;
				super.yieldThen(turn);
			}
		}
		const byMessages = new TickingHost(1);
		const told = { count: 0 };
		new ActorSystem(byMessages, { activationMax: 4, turnMessagesMax: 100 }).spawn('flood', flooder(told)).tell(0);
		byMessages.step();
		assert.ok(told.count >= 96 && told.count <= 104, `${told.count} messages`);
		assert.deepEqual([byMessages.yields, byMessages.waiting], [1, 1]);

		const byTime = new TickingHost(1, silentTelemetry);
		const slow = new ActorSystem(byTime, { turnMs: 4 });
		let handled = 0;
		const ref = slow.spawn<string>('slow', () => ({
			onMessage() {
				handled += 1;
				byTime.ms += 1;
				return 'same';
			},
		}));
		for (let n = 0; n < 200; n += 1) ref.tell('x');
		byTime.step();
		assert.ok(handled < 64, `${handled} messages of a millisecond each in a turn of four`);
		assert.deepEqual([byTime.yields, byTime.waiting], [1, 1]);
		byTime.run();
		assert.equal(handled, 200);
	});

	it('calls its end once for all that happened in it, and not after the hook has left', () => {
		const made = make();
		let ends = 0;
		const ref = made.system.spawn<number>('a', recorder<number>([]));
		made.host.run();
		const leave = made.system.onTurnEnd(() => {
			ends += 1;
		});
		for (let n = 0; n < 100; n += 1) ref.tell(n);
		made.host.run();
		assert.equal(ends, 1);
		leave();
		ref.tell(0);
		made.host.run();
		assert.equal(ends, 1);
		assertAtRest(made);
	});

	it('lets the host in before it handles what its end hooks tell, for ever though they may', () => {
		class CountingHost extends SimHost {
			defers = 0;
			yields = 0;

			override defer(turn: () => void): void {
				this.defers += 1;
				super.defer(turn);
			}

			override yieldThen(turn: () => void): void {
				this.yields += 1;
				super.yieldThen(turn);
			}
		}
		const host = new CountingHost(1);
		const system = new ActorSystem(host);
		const ref = system.spawn<string>('a', recorder<string>([]));
		host.run();
		const before = host.defers;
		system.onTurnEnd(() => {
			ref.tell('again');
		});
		ref.tell('first');
		for (let turn = 0; turn < 5; turn += 1) assert.ok(host.step());
		assert.deepEqual([host.defers - before, host.yields], [1, 5]);
	});

	it('goes on after a hook that throws', () => {
		const made = make();
		const ends: string[] = [];
		made.system.onTurnEnd(() => {
			throw new Error('a bug in the hook');
		});
		made.system.onTurnEnd(() => ends.push('second'));
		const seen: string[] = [];
		const ref = made.system.spawn<string>('a', recorder(seen));
		made.host.run();
		ref.tell('x');
		made.host.run();
		assert.deepEqual(seen, ['x']);
		assert.deepEqual(ends, ['second', 'second']);
		assert.equal(made.telemetry.of('turn-end-failed').length, 2);
		assertAtRest(made);
	});
});

describe('an edge', () => {
	it('hands messages over in the turn, in order, within its bound, until it is closed', () => {
		const made = make();
		const seen: number[] = [];
		const edge = made.system.edge<number>(
			(message) => {
				seen.push(message);
				if (message === 2) edge.close();
			},
			{ mailboxMax: 3 },
		);
		assert.deepEqual(
			[1, 2, 3, 4].map((n) => edge.tell(n)),
			['accepted', 'accepted', 'accepted', 'full'],
		);
		assert.deepEqual(seen, []);
		made.host.run();
		assert.deepEqual(seen, [1, 2]);
		assert.equal(edge.tell(5), 'closed');
		assertAtRest(made);
	});

	it('that throws is reported, loses that message, and stays open', () => {
		const made = make();
		const seen: number[] = [];
		const edge = made.system.edge<number>((message) => {
			if (message === 1) throw new Error('a bug at the edge');
			seen.push(message);
		});
		edge.tell(1);
		edge.tell(2);
		made.host.run();
		assert.deepEqual(seen, [2]);
		assert.equal(made.telemetry.of('edge-failed')[0]?.['message'], 'a bug at the edge');
		edge.close();
		assertAtRest(made);
	});

	it('counts as a leak while nobody closes it', () => {
		const made = make();
		const edge = made.system.edge<number>(() => {});
		made.system.shutdown();
		assert.equal(made.system.stats.edges, 1);
		edge.close();
		assertAtRest(made);
	});
});

describe('the depths of mailboxes', () => {
	it('are told for every actor that has messages waiting, by path', () => {
		const made = make({ name: 'front-0' });
		const child = { tell: (_message: string): unknown => undefined };
		const parent = made.system.spawn<string>('parent', (ctx) => {
			const ref = ctx.spawn<string>('child', recorder<string>([]));
			child.tell = (message) => ref.tell(message);
			return { onMessage: () => 'same' };
		});
		made.host.run();
		parent.tell('x');
		child.tell('y');
		child.tell('z');
		assert.deepEqual(Object.fromEntries(made.system.mailboxDepths()), { '/front-0/parent': 1, '/front-0/parent/child': 2 });
		made.host.run();
		assert.equal(made.system.mailboxDepths().size, 0);
		assertAtRest(made);
	});

	it('are told under one name for actors of a kind, the largest of them, and for idle ones as 0', () => {
		const made = make();
		const tells: ((message: string) => unknown)[] = [];
		made.system.spawn<string>('parent', (ctx) => {
			for (const name of ['1', '2', '3']) {
				const ref = ctx.spawn<string>(name, recorder<string>([]), { kind: '*' });
				tells.push((message) => ref.tell(message));
			}
			return { onMessage: () => 'same' };
		});
		made.host.run();
		tells[0]?.('x');
		for (const message of ['x', 'y', 'z']) tells[2]?.(message);
		assert.deepEqual(Object.fromEntries(made.system.mailboxDepthsByKind()), { '/parent': 0, '/parent/*': 3 });
		made.host.run();
		assert.deepEqual(Object.fromEntries(made.system.mailboxDepthsByKind()), { '/parent': 0, '/parent/*': 0 });
		assertAtRest(made);
	});
});
