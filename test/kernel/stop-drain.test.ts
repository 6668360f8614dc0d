/** The two words for an end: stop, and drain. Also what becomes of messages that nobody will read. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Setup, Signal } from '../../src/actors/kernel/behavior.ts';
import type { ActorRef, AskOutcome } from '../../src/actors/kernel/ref.ts';
import { assertAtRest, idle, make, quick, recorder, watcherOf } from './small-actors.ts';

function leaf(name: string, order: string[]): Setup<never> {
	return () => ({
		onMessage: () => 'same',
		onSignal(_ctx, signal) {
			if (signal.type === 'post-stop') order.push(name);
			return 'same';
		},
	});
}

describe('stop', () => {
	it('ends children before their parent, all the way down', () => {
		const made = make();
		const order: string[] = [];
		const root = made.system.spawn<never>('root', (ctx) => {
			ctx.spawn<never>('branch', (own) => {
				own.spawn('leaf', leaf('leaf', order));
				return leaf('branch', order)(own);
			});
			ctx.spawn('twig', leaf('twig', order));
			return leaf('root', order)(ctx);
		});
		made.host.run();
		made.system.stop(root);
		made.host.run();
		assert.deepEqual(order.toSorted(), ['branch', 'leaf', 'root', 'twig']);
		assert.ok(order.indexOf('leaf') < order.indexOf('branch'));
		assert.equal(order.at(-1), 'root');
		assertAtRest(made);
	});

	it('finishes the message at hand, reads no other, and lets last words be told', () => {
		const made = make();
		const seen: string[] = [];
		const heard: string[] = [];
		const friend = made.system.spawn<string>('friend', recorder(heard));
		const ref = made.system.spawn<string>('a', () => ({
			onMessage(_ctx, message) {
				seen.push(message);
				made.system.stop(ref);
				return 'same';
			},
			onSignal(ctx, signal) {
				if (signal.type !== 'post-stop') return 'same';
				friend.tell('last words');
				ctx.setTimer('late', 1, 'late');
				ctx.ask(
					friend,
					1,
					() => 'asked in last words',
					() => 'late',
				);
				return 'same';
			},
		}));
		for (const message of ['one', 'two', 'three']) ref.tell(message);
		made.host.advance(10);
		assert.deepEqual(seen, ['one']);
		assert.deepEqual(heard, ['last words', 'asked in last words']);
		assert.equal(made.system.stats.deadLetters, 2);
		assertAtRest(made);
	});

	it('may be asked for twice, of one who has ended, and before the first activation', () => {
		const made = make();
		const ends: Signal[] = [];
		let starts = 0;
		const ref = made.system.spawn<string>('a', (ctx) => {
			starts += 1;
			return recorder<string>([])(ctx);
		});
		made.system.spawn('watcher', watcherOf([ref], ends));
		made.system.stop(ref);
		made.system.stop(ref);
		made.host.run();
		made.system.stop(ref);
		made.system.drain(ref);
		made.host.run();
		assert.equal(ends.length, 1);
		assert.equal(starts, 1);
		assertAtRest(made);
	});
});

describe('drain', () => {
	it('lets a simple actor read what waits and hear what it asked, refuses more, and ends it', () => {
		const made = make();
		const seen: string[] = [];
		const kept: ActorRef<string>[] = [];
		const target = made.system.spawn<ActorRef<string>>('target', recorder(kept));
		const plain = made.system.spawn<string>('plain', () => ({
			onMessage(ctx, message) {
				seen.push(message);
				if (message !== 'ask') return 'same';
				ctx.ask(
					target,
					1_000,
					(replyTo: ActorRef<string>) => replyTo,
					(outcome: AskOutcome<string>) => (outcome.ok ? outcome.reply : outcome.reason),
				);
				return 'same';
			},
		}));
		plain.tell('ask');
		plain.tell('waiting');
		made.system.drain(plain);
		made.host.run();
		assert.deepEqual(seen, ['ask', 'waiting']);
		assert.equal(plain.tell('after'), 'closed');
		assert.equal(made.system.stats.actors, 2);
		kept[0]?.tell('answer');
		made.host.run();
		assert.deepEqual(seen, ['ask', 'waiting', 'answer']);
		assert.equal(made.system.stats.actors, 1);
		assert.equal(made.system.stats.deadLetters, 0);
		assertAtRest(made);
	});

	it('leaves it to an actor that hears signals when to end, within its bound', () => {
		const made = make();
		const signals: Signal[] = [];
		const willing = made.system.spawn<string>('willing', recorder<string>([], signals));
		const stubborn = made.system.spawn<string>('stubborn', () => ({ onMessage: () => 'same', onSignal: () => 'same' }), {
			supervision: quick,
		});
		made.host.run();
		made.system.drain(willing);
		made.system.drain(stubborn);
		made.host.advance(200);
		assert.deepEqual(
			signals.map((signal) => signal.type),
			['drain', 'post-stop'],
		);
		made.system.drain(stubborn);
		made.host.advance(299);
		assert.equal(stubborn.tell('still there'), 'accepted');
		made.host.advance(1);
		assert.equal(stubborn.tell('gone'), 'closed');
		assertAtRest(made);
	});

	it('reaches an actor that is starting or restarting; a bug while draining ends it', () => {
		const made = make();
		const heard: string[] = [];
		let starts = 0;
		const ref = made.system.spawn<'boom'>(
			'a',
			() => {
				starts += 1;
				return {
					onMessage() {
						throw new Error('boom');
					},
					onSignal(_ctx, signal) {
						heard.push(`${signal.type} in life ${starts}`);
						return 'same';
					},
				};
			},
			{ supervision: { ...quick, shutdownMs: 5_000 } },
		);
		made.host.run();
		ref.tell('boom');
		made.host.run();
		made.system.drain(ref);
		made.host.run();
		assert.deepEqual(heard, ['post-stop in life 1']);
		made.host.advance(100);
		assert.deepEqual(heard, ['post-stop in life 1', 'drain in life 2']);
		ref.tell('boom');
		made.host.advance(1_000);
		assert.deepEqual(heard, ['post-stop in life 1', 'drain in life 2', 'post-stop in life 2']);
		assert.equal(starts, 2);
		assert.equal(ref.tell('boom'), 'closed');
		assertAtRest(made);
	});

	it('is said once, however often it is asked for', () => {
		const made = make();
		const signals: Signal[] = [];
		const ref = made.system.spawn<never>(
			'a',
			() => ({ onMessage: () => 'same', onSignal: (_ctx, signal) => (signals.push(signal), 'same') }),
			{ supervision: quick },
		);
		made.system.drain(ref);
		made.system.drain(ref);
		made.host.run();
		made.system.drain(ref);
		made.host.run();
		assert.deepEqual(signals, [{ type: 'drain' }]);
		assert.equal(made.host.world.timers, 1);
		assertAtRest(made);
	});

	it('is a word of the parent to its child', () => {
		const made = make();
		const signals: Signal[] = [];
		made.system.spawn<never>('parent', (ctx) => {
			ctx.drain(ctx.spawn('child', recorder([], signals)));
			return { onMessage: () => 'same' };
		});
		made.host.run();
		assert.deepEqual(
			signals.map((signal) => signal.type),
			['drain', 'post-stop'],
		);
		assertAtRest(made);
	});
});

describe('dead letters', () => {
	it('are counted, told to hooks, and logged at most once a second with what was left out', () => {
		const made = make();
		const told: string[] = [];
		const unsubscribe = made.system.onDeadLetter((path, message) => told.push(`${path} ${String(message)}`));
		const leave = (name: string, messages: readonly string[]): void => {
			const ref = made.system.spawn<string>(name, () => ({ onMessage: () => 'stopped' }));
			for (const message of ['end', ...messages]) ref.tell(message);
			made.host.run();
		};
		leave('a', ['x', 'y']);
		leave('b', ['z']);
		assert.deepEqual(told, ['/a x', '/a y', '/b z']);
		assert.equal(made.telemetry.of('dead-letters').length, 1);
		unsubscribe();
		made.host.advance(1_000);
		leave('c', ['w']);
		assert.deepEqual(told.length, 3);
		assert.deepEqual(
			made.telemetry.of('dead-letters').map(({ actor, count, total }) => ({ actor, count, total })),
			[
				{ actor: '/a', count: 2, total: 2 },
				{ actor: '/c', count: 2, total: 4 },
			],
		);
		assert.equal(made.telemetry.counts.get('dead_letters_total'), 4);
		assert.equal(made.system.stats.deadLetters, 4);
		assertAtRest(made);
	});

	it('do not include what was refused: its sender knows', () => {
		const made = make();
		const ref = made.system.spawn('a', idle, { mailboxMax: 0 });
		assert.equal(ref.tell('x'), 'full');
		made.system.stop(ref);
		made.host.run();
		assert.equal(ref.tell('x'), 'closed');
		assert.equal(made.system.stats.deadLetters, 0);
		assertAtRest(made);
	});

	it('survive a hook that throws', () => {
		const made = make();
		made.system.onDeadLetter(() => {
			throw new Error('a bug in the hook');
		});
		const ends: Signal[] = [];
		const ref = made.system.spawn<string>('a', () => ({ onMessage: () => 'stopped' }));
		made.system.spawn('watcher', watcherOf([ref], ends));
		made.host.run();
		ref.tell('end');
		ref.tell('dead');
		made.host.run();
		assert.equal(ends.length, 1);
		assert.equal(made.telemetry.of('hook-failed').length, 1);
		assertAtRest(made);
	});
});

describe('shutdown', () => {
	it('stops everything at once, also when called inside a turn', () => {
		const made = make();
		const order: string[] = [];
		made.system.spawn<never>('parent', (ctx) => {
			ctx.spawn('child', leaf('child', order));
			ctx.setTimer('later', 1_000, undefined as never);
			return leaf('parent', order)(ctx);
		});
		const edge = made.system.edge<string>(() => {
			made.system.shutdown();
			order.push('told to shut down');
		});
		made.host.run();
		edge.tell('now');
		made.host.run();
		assert.deepEqual(order, ['told to shut down', 'child', 'parent']);
		assert.equal(made.system.stats.edges, 1);
		edge.close();
		assertAtRest(made);
	});
});
