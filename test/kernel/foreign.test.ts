/** Refs to other systems over a carrier, and the ids under which they know ours. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Signal, StopReason } from '../../src/actors/kernel/behavior.ts';
import type { ForeignCarrier } from '../../src/actors/kernel/foreign.ts';
import type { ActorRef, AskOutcome, Delivery } from '../../src/actors/kernel/ref.ts';
import { SimHost, SimWorld } from '../../src/actors/kernel/sim-host.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';
import { assertAtRest, idle, make, recorder, watcherOf } from './small-actors.ts';

class FakeCarrier implements ForeignCarrier {
	readonly sent: [number, unknown][] = [];
	readonly calls: string[] = [];
	answer: Delivery = 'accepted';

	tell(id: number, message: unknown): Delivery {
		this.sent.push([id, message]);
		return this.answer;
	}

	watch(id: number): void {
		this.calls.push(`watch ${id}`);
	}

	unwatch(id: number): void {
		this.calls.push(`unwatch ${id}`);
	}
}

function reasons(signals: readonly Signal[]): string[] {
	return signals.map((signal) => (signal.type === 'terminated' ? signal.reason.kind : signal.type));
}

describe('a foreign ref', () => {
	it('carries messages, and answers what the carrier answers', () => {
		const made = make();
		const carrier = new FakeCarrier();
		const far = made.system.foreign<string>(carrier, 7);
		assert.equal(far.tell('hello'), 'accepted');
		carrier.answer = 'full';
		assert.equal(far.tell('again'), 'full');
		assert.deepEqual(carrier.sent, [
			[7, 'hello'],
			[7, 'again'],
		]);
		assert.equal(made.system.foreignId(carrier, far), 7);
		assert.equal(made.system.foreignId(new FakeCarrier(), far), null);
		assert.equal(made.system.foreignId(carrier, made.system.spawn('local', idle)), null);
		assertAtRest(made);
	});

	it('is the same object as long as anybody holds it', () => {
		const made = make();
		const carrier = new FakeCarrier();
		const held = Array.from({ length: 500 }, (_, id) => made.system.foreign(carrier, id));
		for (const [id, ref] of held.entries()) assert.equal(made.system.foreign(carrier, id), ref);
		assert.notEqual(made.system.foreign(new FakeCarrier(), 1), held[1]);
		assertAtRest(made);
	});

	it('is watched once over the carrier, however many watch it, and unwatched with the last of them', () => {
		const made = make();
		const carrier = new FakeCarrier();
		const signals: Signal[] = [];
		const watchers = ['a', 'b'].map((name) => made.system.spawn(name, watcherOf([made.system.foreign(carrier, 7)], signals)));
		made.host.run();
		assert.deepEqual(carrier.calls, ['watch 7']);
		assert.equal(made.system.stats.foreignWatched, 1);
		for (const watcher of watchers) made.system.stop(watcher);
		made.host.run();
		assert.deepEqual(carrier.calls, ['watch 7', 'unwatch 7']);
		made.system.foreignTerminated(carrier, 7, { kind: 'stopped' });
		made.host.run();
		assert.deepEqual(reasons(signals), ['post-stop', 'post-stop']);
		assertAtRest(made);
	});

	it('tells its watchers of its end once; what has ended is closed, and known to have ended without asking again', () => {
		const made = make();
		const carrier = new FakeCarrier();
		const signals: Signal[] = [];
		const far = made.system.foreign<string>(carrier, 7);
		made.system.spawn('early', watcherOf([far], signals));
		made.host.run();
		made.system.foreignTerminated(carrier, 7, { kind: 'failed', message: 'far away' });
		made.system.foreignTerminated(carrier, 7, { kind: 'stopped' });
		made.host.run();
		assert.deepEqual(signals, [{ type: 'terminated', ref: far, reason: { kind: 'failed', message: 'far away' } }]);
		assert.equal(far.tell('late'), 'closed');
		made.system.spawn('late', watcherOf([far], signals));
		made.host.run();
		assert.equal(signals.length, 2);
		assert.deepEqual(carrier.calls, ['watch 7']);
		assertAtRest(made);
	});

	it('is lost with its carrier: closed, its watchers told, later ones too', () => {
		const made = make();
		const carrier = new FakeCarrier();
		const signals: Signal[] = [];
		const far = made.system.foreign<string>(carrier, 7);
		made.system.spawn('watcher', watcherOf([far, made.system.foreign(carrier, 8)], signals));
		made.host.run();
		made.system.foreignLost(carrier);
		made.system.foreignLost(carrier);
		made.system.foreignTerminated(carrier, 7, { kind: 'stopped' });
		made.host.run();
		assert.deepEqual(reasons(signals), ['lost', 'lost']);
		assert.equal(far.tell('late'), 'closed');
		assert.equal(made.system.foreign<string>(carrier, 9).tell('later'), 'closed');
		made.system.spawn('too-late', watcherOf([made.system.foreign(carrier, 9)], signals));
		made.host.run();
		assert.deepEqual(reasons(signals), ['lost', 'lost', 'lost']);
		assert.deepEqual(carrier.sent, []);
		assert.deepEqual(carrier.calls, ['watch 7', 'watch 8']);
		assertAtRest(made);
	});

	it('is watched by an ask no longer than that waits', () => {
		const made = make();
		const carrier = new FakeCarrier();
		made.system.spawn<AskOutcome<string>>('asker', (ctx) => {
			ctx.ask(
				made.system.foreign<{ readonly replyTo: ActorRef<string> }>(carrier, 7),
				1_000,
				(replyTo: ActorRef<string>) => ({ replyTo }),
				(outcome) => outcome,
			);
			return { onMessage: () => 'same' };
		});
		made.host.run();
		const [, question] = carrier.sent[0] ?? [];
		(question as { readonly replyTo: ActorRef<string> }).replyTo.tell('yes');
		assert.deepEqual(carrier.calls, ['watch 7', 'unwatch 7']);
		assertAtRest(made);
	});

	it('ends an ask that waits for it when it ends or is lost: the work may have begun', () => {
		for (const end of ['terminated', 'lost'] as const) {
			const made = make();
			const carrier = new FakeCarrier();
			const outcomes: AskOutcome<string>[] = [];
			made.system.spawn<AskOutcome<string>>('asker', (ctx) => {
				ctx.ask(
					made.system.foreign<{ readonly replyTo: ActorRef<string> }>(carrier, 7),
					1_000,
					(replyTo: ActorRef<string>) => ({ replyTo }),
					(outcome) => outcome,
				);
				return { onMessage: (_ctx, outcome) => (outcomes.push(outcome), 'same') };
			});
			made.host.run();
			if (end === 'terminated') made.system.foreignTerminated(carrier, 7, { kind: 'stopped' });
			else made.system.foreignLost(carrier);
			made.host.run();
			assert.deepEqual(outcomes, [{ ok: false, reason: 'terminated', began: 'maybe' }]);
			assertAtRest(made);
		}
	});
});

describe('an exported id', () => {
	it('is the same for the same ref, delivers to it, and lives as long', () => {
		const made = make();
		const seen: string[] = [];
		const ref = made.system.spawn<string>('a', recorder(seen));
		const edge = made.system.edge<string>((message) => seen.push(`edge ${message}`));
		const id = made.system.exportId(ref);
		assert.equal(made.system.exportId(ref), id);
		assert.equal(made.system.exported<string>(id), ref);
		assert.equal(made.system.deliver(id, 'x'), 'accepted');
		assert.equal(made.system.deliver(made.system.exportId(edge), 'y'), 'accepted');
		assert.equal(made.system.stats.exports, 2);
		made.host.run();
		assert.deepEqual(seen.toSorted(), ['edge y', 'x']);
		made.system.stop(ref);
		edge.close();
		made.host.run();
		assert.equal(made.system.stats.exports, 0);
		assert.equal(made.system.deliver(id, 'z'), 'closed');
		assert.equal(made.system.stats.deadLetters, 1);
		assertAtRest(made);
	});

	it('of one who has ended is known to nobody, and its ref is closed and terminated', () => {
		const made = make();
		const ref = made.system.spawn<string>('a', recorder<string>([]));
		made.system.stop(ref);
		made.host.run();
		const id = made.system.exportId(ref);
		assert.equal(made.system.stats.exports, 0);
		assert.equal(made.system.deliver(id, 'x'), 'closed');
		const back = made.system.exported<string>(id);
		assert.equal(back.tell('x'), 'closed');
		const signals: Signal[] = [];
		made.system.spawn('watcher', watcherOf([back], signals));
		made.host.run();
		assert.deepEqual(reasons(signals), ['stopped']);
		assertAtRest(made);
	});

	it('can be watched from outside: one notice, also for an unknown id, none after leaving', () => {
		const made = make();
		const ref = made.system.spawn<string>('a', recorder<string>([]));
		const other = made.system.spawn<string>('b', recorder<string>([]));
		const id = made.system.exportId(ref);
		const heard: StopReason[] = [];
		made.system.watchExported(id, (reason) => heard.push(reason));
		made.system.watchExported(id, () => {
			throw new Error('a bug in a link');
		});
		const leave = made.system.watchExported(made.system.exportId(other), (reason) => heard.push(reason));
		leave();
		made.host.run();
		made.system.stop(ref);
		made.system.stop(other);
		made.host.run();
		assert.deepEqual(heard, [{ kind: 'stopped' }]);
		made.system.watchExported(id, (reason) => heard.push(reason));
		made.system.watchExported(12_345, (reason) => heard.push(reason));
		assert.equal(heard.length, 3);
		assertAtRest(made);
	});

	it('of a reply slot is gone with its answer', () => {
		const made = make();
		const ids: number[] = [];
		const target = made.system.spawn<{ readonly replyTo: ActorRef<string> }>('target', () => ({
			onMessage(_ctx, asked) {
				ids.push(made.system.exportId(asked.replyTo));
				return 'same';
			},
		}));
		const outcomes: AskOutcome<string>[] = [];
		made.system.spawn<AskOutcome<string>>('asker', (ctx) => {
			ctx.ask(
				target,
				1_000,
				(replyTo: ActorRef<string>) => ({ replyTo }),
				(outcome) => outcome,
			);
			return { onMessage: (_ctx, outcome) => (outcomes.push(outcome), 'same') };
		});
		made.host.run();
		assert.equal(made.system.stats.exports, 1);
		assert.equal(made.system.deliver(ids[0] ?? 0, 'from afar'), 'accepted');
		assert.equal(made.system.stats.exports, 0);
		assert.equal(made.system.deliver(ids[0] ?? 0, 'twice'), 'closed');
		made.host.run();
		assert.deepEqual(outcomes, [{ ok: true, reply: 'from afar' }]);
		assertAtRest(made);
	});

	it('is never given to a ref of a third system', () => {
		const made = make();
		assert.throws(() => made.system.exportId(made.system.foreign(new FakeCarrier(), 7)), /third thread/);
	});
});

describe('two systems', () => {
	/** The least that a link does, without threads: everything arrives in a turn of the other's, in order, ends behind answers. */
	class Wire implements ForeignCarrier {
		readonly #there: ActorSystem;
		readonly #back: () => Wire;
		readonly #here: ActorSystem;

		constructor(here: ActorSystem, there: ActorSystem, back: () => Wire) {
			this.#here = here;
			this.#there = there;
			this.#back = back;
		}

		tell(id: number, message: unknown): Delivery {
			const { replyTo, ...rest } = message as { readonly replyTo: ActorRef<never> };
			const replyId = this.#here.exportId(replyTo);
			this.#there.host.defer(() => this.#there.deliver(id, { ...rest, replyTo: this.#there.foreign(this.#back(), replyId) }));
			return 'accepted';
		}

		watch(id: number): void {
			const ended = (reason: StopReason): void => this.#here.host.defer(() => this.#here.foreignTerminated(this, id, reason));
			this.#there.host.defer(() => this.#there.watchExported(id, ended));
		}

		unwatch(): void {}
	}

	it('ask each other as if they were one', () => {
		const world = new SimWorld(1);
		const near = new ActorSystem(new SimHost(world), { name: 'near' });
		const far = new ActorSystem(new SimHost(world), { name: 'far' });
		const toFar: Wire = new Wire(near, far, () => toNear);
		const answers: string[] = [];
		/** Replies cross without a `replyTo` of their own. */
		const toNear: Wire = new (class extends Wire {
			override tell(id: number, message: unknown): Delivery {
				near.host.defer(() => near.deliver(id, message));
				return 'accepted';
			}
		})(far, near, () => toFar);
		const target = far.spawn<{ readonly n: number; readonly replyTo: ActorRef<number> }>('doubler', () => ({
			onMessage(_ctx, { n, replyTo }) {
				replyTo.tell(n * 2);
				return n === 3 ? 'stopped' : 'same';
			},
		}));
		const doubler = near.foreign<{ readonly n: number; readonly replyTo: ActorRef<number> }>(toFar, far.exportId(target));
		near.spawn<{ readonly n: number; readonly outcome: AskOutcome<number> }>('asker', (ctx) => {
			for (let n = 1; n <= 5; n += 1) {
				ctx.ask(
					doubler,
					100,
					(replyTo: ActorRef<number>) => ({ n, replyTo }),
					(outcome) => ({ n, outcome }),
				);
			}
			return {
				onMessage(_ctx, { n, outcome }) {
					answers.push(`${n}: ${outcome.ok ? outcome.reply : outcome.reason}`);
					return 'same';
				},
			};
		});
		world.advance(200);
		assert.deepEqual(answers.toSorted(), ['1: 2', '2: 4', '3: 6', '4: terminated', '5: terminated']);
		for (const system of [near, far]) {
			system.shutdown();
			assert.deepEqual([system.stats.actors, system.stats.asks, system.stats.exports, system.stats.foreignWatched], [0, 0, 0, 0]);
		}
		assert.equal(world.timers, 0);
	});
});
