/** The kernel's promises, each under a simulated host: order, bounds, lanes, asks, timers, watches, supervision, stops. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Behavior, Setup, Signal, StopReason } from '../../src/actors/kernel/behavior.ts';
import type { ActorRef, AskOutcome } from '../../src/actors/kernel/ref.ts';
import { SimHost } from '../../src/actors/kernel/sim-host.ts';
import type { SupervisionSpec } from '../../src/actors/kernel/supervision.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';

const quick: SupervisionSpec = {
	onFailure: 'restart',
	intensity: { restarts: 2, withinMs: 10_000 },
	backoff: { firstMs: 100, maxMs: 1_000, jitter: 0 },
	shutdownMs: 500,
};

function make(): { host: SimHost; system: ActorSystem } {
	const host = new SimHost(1);
	return { host, system: new ActorSystem(host) };
}

/** An actor that writes down what it gets. */
function recorder<M>(seen: M[], signals: Signal[] = []): Setup<M> {
	const behavior: Behavior<M> = {
		onMessage(_ctx, message) {
			seen.push(message);
			return 'same';
		},
		onSignal(_ctx, signal) {
			signals.push(signal);
			return signal.type === 'drain' ? 'stopped' : 'same';
		},
	};
	return () => behavior;
}

function atRest(system: ActorSystem): void {
	system.shutdown();
	const { actors, timers, asks, edges, exports } = system.stats;
	assert.deepEqual({ actors, timers, asks, edges, exports }, { actors: 0, timers: 0, asks: 0, edges: 0, exports: 0 });
}

describe('an actor', () => {
	it('gets the messages of one sender in order, never inside tell', () => {
		const { host, system } = make();
		const seen: number[] = [];
		const ref = system.spawn('a', recorder(seen));
		for (let n = 0; n < 1000; n += 1) assert.equal(ref.tell(n), 'accepted');
		assert.equal(seen.length, 0);
		host.run();
		assert.deepEqual(
			seen,
			Array.from({ length: 1000 }, (_, n) => n),
		);
		atRest(system);
	});

	it('answers full at its bound and closed after its end', () => {
		const { host, system } = make();
		const seen: number[] = [];
		const ref = system.spawn('a', recorder(seen), { mailboxMax: 2 });
		assert.deepEqual([ref.tell(1), ref.tell(2), ref.tell(3)], ['accepted', 'accepted', 'full']);
		host.run();
		system.stop(ref);
		host.run();
		assert.equal(ref.tell(4), 'closed');
		assert.deepEqual(seen, [1, 2]);
		atRest(system);
	});

	it('hears of a death before the messages that waited, even with a full inbox', () => {
		const { host, system } = make();
		const order: string[] = [];
		const victim = system.spawn<string>('victim', recorder<string>([]));
		const watcher = system.spawn<string>(
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
			{ mailboxMax: 1 },
		);
		host.run();
		system.stop(victim);
		watcher.tell('waiting');
		assert.equal(watcher.tell('refused'), 'full');
		host.run();
		// The victim ends in the same turn; which of the two runs first does not matter to the lane.
		assert.deepEqual(order.sort(), ['terminated', 'waiting']);
		atRest(system);
	});

	it('becomes another behaviour, and ends by itself', () => {
		const { host, system } = make();
		const said: string[] = [];
		const second: Behavior<string> = { onMessage: (_ctx, message) => (said.push(`second ${message}`), 'stopped') };
		const first: Behavior<string> = { onMessage: (_ctx, message) => (said.push(`first ${message}`), second) };
		const ref = system.spawn('a', () => first);
		ref.tell('x');
		ref.tell('y');
		ref.tell('z');
		host.run();
		assert.deepEqual(said, ['first x', 'second y']);
		assert.equal(system.stats.deadLetters, 1);
		assert.equal(ref.tell('late'), 'closed');
		atRest(system);
	});
});

describe('death watch', () => {
	it('gives exactly one notice a watch, also of one who had ended before', () => {
		const { host, system } = make();
		const signals: Signal[] = [];
		const victim = system.spawn<string>('victim', recorder<string>([]));
		const watching: Setup<'again'> = (ctx) => {
			ctx.watch(victim);
			ctx.watch(victim);
			return {
				onMessage(context) {
					context.watch(victim);
					return 'same';
				},
				onSignal(_ctx, signal) {
					signals.push(signal);
					return 'same';
				},
			};
		};
		const ref = system.spawn('watcher', watching);
		host.run();
		system.stop(victim);
		host.run();
		assert.equal(signals.length, 1);
		ref.tell('again');
		host.run();
		assert.equal(signals.length, 2);
		assert.ok(signals.every((signal) => signal.type === 'terminated' && signal.ref === victim && signal.reason.kind === 'stopped'));
		atRest(system);
	});

	it('says nothing after unwatch, even when the death was already on its way', () => {
		const { host, system } = make();
		const signals: Signal[] = [];
		const victim = system.spawn<string>('victim', recorder<string>([]));
		system.spawn<'unwatch'>('watcher', (ctx) => {
			ctx.watch(victim);
			ctx.self.tell('unwatch');
			return {
				onMessage(context) {
					context.unwatch(victim);
					return 'same';
				},
				onSignal(_ctx, signal) {
					signals.push(signal);
					return 'same';
				},
			};
		});
		host.run();
		system.stop(victim);
		host.run();
		assert.deepEqual(signals, []);
		atRest(system);
	});
});

describe('ask', () => {
	type Question = { readonly type: 'question'; readonly replyTo: ActorRef<string> };

	function outcomeOf(target: (system: ActorSystem) => ActorRef<Question>, afterMs = 0): AskOutcome<string>[] {
		const { host, system } = make();
		const outcomes: AskOutcome<string>[] = [];
		const asked = target(system);
		host.run();
		system.spawn<AskOutcome<string>>('asker', (ctx) => {
			ctx.ask<Question, string>(
				asked,
				50,
				(replyTo) => ({ type: 'question', replyTo }),
				(outcome) => outcome,
			);
			return { onMessage: (_ctx, outcome) => (outcomes.push(outcome), 'same') };
		});
		host.run();
		if (afterMs > 0) host.advance(afterMs);
		atRest(system);
		return outcomes;
	}

	it('brings the reply, once', () => {
		const outcomes = outcomeOf((system) =>
			system.spawn('answers', () => ({
				onMessage(_ctx, question: Question) {
					assert.equal(question.replyTo.tell('yes'), 'accepted');
					assert.equal(question.replyTo.tell('twice'), 'closed');
					return 'same';
				},
			})),
		);
		assert.deepEqual(outcomes, [{ ok: true, reply: 'yes' }]);
	});

	it('says that nothing began when the target is closed or full', () => {
		const closed = outcomeOf((system) => {
			const ref = system.spawn<Question>('gone', recorder<Question>([]));
			system.stop(ref);
			return ref;
		});
		assert.deepEqual(closed, [{ ok: false, reason: 'closed', began: 'no' }]);
		const full = outcomeOf((system) => system.spawn<Question>('full', recorder<Question>([]), { mailboxMax: 0 }));
		assert.deepEqual(full, [{ ok: false, reason: 'full', began: 'no' }]);
	});

	it('says that work may have begun at a timeout and at a death', () => {
		assert.deepEqual(
			outcomeOf((system) => system.spawn<Question>('silent', recorder<Question>([])), 60),
			[{ ok: false, reason: 'timeout', began: 'maybe' }],
		);
		assert.deepEqual(
			outcomeOf((system) => system.spawn<Question>('dies', () => ({ onMessage: () => 'stopped' }))),
			[{ ok: false, reason: 'terminated', began: 'maybe' }],
		);
	});
});

describe('timers', () => {
	it('arrive as messages at their time; a replaced or cancelled one never does', () => {
		const { host, system } = make();
		const seen: string[] = [];
		const ref = system.spawn<string>('a', (ctx) => {
			ctx.setTimer('kept', 100, 'kept');
			ctx.setTimer('replaced', 50, 'old');
			ctx.setTimer('replaced', 70, 'new');
			ctx.setTimer('cancelled', 60, 'cancelled');
			ctx.setTimer('late', 10, 'late');
			return {
				onMessage(context, message) {
					if (message === 'cancel') context.cancelTimer('cancelled');
					else if (message === 'cancel-late') context.cancelTimer('late');
					else seen.push(`${message}@${context.now()}`);
					return 'same';
				},
			};
		});
		ref.tell('cancel');
		host.run();
		// `late` has fired and waits in the lane when its cancellation is read from the inbox: lanes decide, the lane is first.
		host.advance(200);
		assert.deepEqual(seen, ['late@10', 'new@70', 'kept@100']);
		assert.equal(system.stats.timers, 0);
		atRest(system);
	});
});

describe('supervision', () => {
	it('starts a failing child again after a delay that doubles, keeps its ref and inbox, and gives it up at the limit', () => {
		const { host, system } = make();
		const starts: number[] = [];
		const failed: string[] = [];
		const got: string[] = [];
		const ended: StopReason[] = [];
		let child: ActorRef<string> | null = null;
		system.spawn<never>('parent', (ctx) => {
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
					if (signal.type === 'child-failed') failed.push(signal.decision);
					if (signal.type === 'terminated') ended.push(signal.reason);
					return 'same';
				},
			};
		});
		host.run();
		const ref = child as ActorRef<string> | null;
		assert.ok(ref !== null);
		ref.tell('boom');
		ref.tell('waits');
		host.run();
		assert.deepEqual(got, []);
		host.advance(100);
		assert.deepEqual(got, ['waits']);
		ref.tell('boom');
		host.advance(200);
		assert.deepEqual(starts, [0, 100, 300]);
		ref.tell('boom');
		host.run();
		assert.deepEqual(failed, ['restart', 'restart', 'stop']);
		assert.deepEqual(ended, [{ kind: 'failed', message: 'boom' }]);
		atRest(system);
	});

	it('costs nobody else anything when an actor throws', () => {
		const { host, system } = make();
		const seen: string[] = [];
		const bad = system.spawn<string>('bad', () => ({
			onMessage() {
				throw new Error('bug');
			},
		}));
		const good = system.spawn<string>('good', recorder(seen));
		bad.tell('x');
		good.tell('y');
		host.run();
		assert.deepEqual(seen, ['y']);
		assert.equal(bad.tell('z'), 'closed');
		atRest(system);
	});
});

describe('stop and drain', () => {
	it('ends children before their parent', () => {
		const { host, system } = make();
		const order: string[] = [];
		const leaf =
			(name: string): Setup<never> =>
			() => ({
				onMessage: () => 'same',
				onSignal(_ctx, signal) {
					if (signal.type === 'post-stop') order.push(name);
					return 'same';
				},
			});
		const root = system.spawn<never>('root', (ctx) => {
			ctx.spawn('one', leaf('one'));
			ctx.spawn('two', leaf('two'));
			return leaf('root')(ctx);
		});
		host.run();
		system.stop(root);
		host.run();
		assert.deepEqual(order, ['one', 'two', 'root']);
		atRest(system);
	});

	it('drain lets an actor finish what waits, refuses more, and stops one that never ends', () => {
		const { host, system } = make();
		const seen: string[] = [];
		const plain = system.spawn<string>('plain', () => ({ onMessage: (_ctx, message) => (seen.push(message), 'same') }));
		plain.tell('before');
		system.drain(plain);
		host.run();
		assert.deepEqual(seen, ['before']);
		assert.equal(plain.tell('after'), 'closed');
		const stubborn = system.spawn<string>('stubborn', () => ({ onMessage: () => 'same', onSignal: () => 'same' }), { supervision: quick });
		host.run();
		system.drain(stubborn);
		host.advance(499);
		assert.equal(stubborn.tell('still there'), 'accepted');
		host.advance(1);
		assert.equal(stubborn.tell('gone'), 'closed');
		atRest(system);
	});
});

describe('the scheduler', () => {
	it('lets a quiet actor have its turn beside one that floods itself, and the host its I/O', () => {
		const host = new SimHost(1);
		const system = new ActorSystem(host, { activationMax: 8, turnMessagesMax: 64 });
		let floods = 0;
		const flood = system.spawn<number>('flood', () => ({
			onMessage(ctx, n) {
				floods += 1;
				ctx.self.tell(n + 1);
				return 'same';
			},
		}));
		const seen: string[] = [];
		const quiet = system.spawn<string>('quiet', recorder(seen));
		flood.tell(0);
		assert.ok(host.step());
		quiet.tell('now');
		assert.ok(host.step());
		assert.deepEqual(seen, ['now']);
		assert.ok(floods <= 128, `${floods} messages in two turns`);
		assert.equal(host.waiting, 1);
		system.stop(flood);
		host.run();
		atRest(system);
	});

	it('calls the end of a turn once for all that happened in it', () => {
		const { host, system } = make();
		let ends = 0;
		const ref = system.spawn<number>('a', recorder<number>([]));
		host.run();
		system.onTurnEnd(() => {
			ends += 1;
		});
		for (let n = 0; n < 100; n += 1) ref.tell(n);
		host.run();
		assert.equal(ends, 1);
		atRest(system);
	});
});

describe('foreign refs', () => {
	it('carry messages and watches; a lost carrier ends them all, once', () => {
		const { host, system } = make();
		const sent: [number, unknown][] = [];
		const calls: string[] = [];
		const carrier = {
			tell(id: number, message: unknown) {
				sent.push([id, message]);
				return 'accepted' as const;
			},
			watch: (id: number) => calls.push(`watch ${id}`),
			unwatch: (id: number) => calls.push(`unwatch ${id}`),
		};
		const signals: Signal[] = [];
		const far = system.foreign<string>(carrier, 7);
		system.spawn<never>('watcher', (ctx) => {
			ctx.watch(far);
			ctx.watch(system.foreign(carrier, 8));
			return {
				onMessage: () => 'same',
				onSignal(_ctx, signal) {
					signals.push(signal);
					return 'same';
				},
			};
		});
		host.run();
		assert.equal(system.foreign(carrier, 7), far);
		assert.equal(far.tell('hello'), 'accepted');
		system.foreignTerminated(carrier, 8, { kind: 'stopped' });
		system.foreignLost(carrier);
		system.foreignTerminated(carrier, 7, { kind: 'stopped' });
		host.run();
		assert.deepEqual(
			signals.map((signal) => (signal.type === 'terminated' ? signal.reason.kind : signal.type)),
			['stopped', 'lost'],
		);
		assert.equal(far.tell('late'), 'closed');
		assert.deepEqual(sent, [[7, 'hello']]);
		assert.deepEqual(calls, ['watch 7', 'watch 8']);
		atRest(system);
	});

	it('know local refs by ids that live as long as what they name', () => {
		const { host, system } = make();
		const seen: string[] = [];
		const ref = system.spawn<string>('a', recorder(seen));
		const edge = system.edge<string>((message) => seen.push(`edge ${message}`));
		const id = system.exportId(ref);
		assert.equal(system.exportId(ref), id);
		assert.equal(system.deliver(id, 'x'), 'accepted');
		assert.equal(system.deliver(system.exportId(edge), 'y'), 'accepted');
		const reasons: StopReason[] = [];
		system.watchExported(id, (reason) => reasons.push(reason));
		host.run();
		assert.deepEqual(seen.sort(), ['edge y', 'x']);
		system.stop(ref);
		edge.close();
		host.run();
		assert.equal(system.deliver(id, 'z'), 'closed');
		system.watchExported(id, (reason) => reasons.push(reason));
		assert.deepEqual(reasons, [{ kind: 'stopped' }, { kind: 'stopped' }]);
		atRest(system);
	});
});
