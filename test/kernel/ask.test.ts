/** Every way an ask can end, and that it ends once. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Setup } from '../../src/actors/kernel/behavior.ts';
import type { ActorRef, AskOutcome } from '../../src/actors/kernel/ref.ts';
import { assertAtRest, type Made, make, quick, recorder } from './small-actors.ts';

interface Question {
	readonly type: 'question';
	readonly replyTo: ActorRef<string>;
}

type Outcome = AskOutcome<string>;

const askMs = 50;
const question = (replyTo: ActorRef<string>): Question => ({ type: 'question', replyTo });
const asItIs = (outcome: Outcome): Outcome => outcome;

/** Asks once at its start and writes down every outcome it hears of. */
function asker(target: ActorRef<Question>, outcomes: Outcome[]): Setup<Outcome> {
	return (ctx) => {
		ctx.ask(target, askMs, question, asItIs);
		return { onMessage: (_ctx, outcome) => (outcomes.push(outcome), 'same') };
	};
}

/** Keeps what it was asked with, and never answers by itself. */
function keeper(kept: Question[]): Setup<Question> {
	return () => ({ onMessage: (_ctx, asked) => (kept.push(asked), 'same') });
}

function outcomesOf(target: (made: Made) => ActorRef<Question>): Outcome[] {
	const made = make();
	const outcomes: Outcome[] = [];
	const asked = target(made);
	made.host.run();
	made.system.spawn('asker', asker(asked, outcomes));
	made.host.advance(askMs * 2);
	assert.equal(made.system.stats.asks, 0);
	assertAtRest(made);
	return outcomes;
}

describe('an ask', () => {
	it('brings the reply, once; a second answer is told closed', () => {
		const deliveries: string[] = [];
		const outcomes = outcomesOf((made) =>
			made.system.spawn('answers', () => ({
				onMessage(_ctx, asked: Question) {
					deliveries.push(asked.replyTo.tell('yes'), asked.replyTo.tell('twice'));
					return 'stopped';
				},
			})),
		);
		assert.deepEqual(outcomes, [{ ok: true, reply: 'yes' }]);
		assert.deepEqual(deliveries, ['accepted', 'closed']);
	});

	it('says that nothing began when the target is closed or full', () => {
		const closed = outcomesOf((made) => {
			const ref = made.system.spawn<Question>('gone', keeper([]));
			made.system.stop(ref);
			return ref;
		});
		assert.deepEqual(closed, [{ ok: false, reason: 'closed', began: 'no' }]);
		const full = outcomesOf((made) => made.system.spawn<Question>('full', keeper([]), { mailboxMax: 0 }));
		assert.deepEqual(full, [{ ok: false, reason: 'full', began: 'no' }]);
	});

	it('says that work may have begun at a timeout, and closes the slot to the late answer', () => {
		const kept: Question[] = [];
		const outcomes = outcomesOf((made) => made.system.spawn('silent', keeper(kept)));
		assert.deepEqual(outcomes, [{ ok: false, reason: 'timeout', began: 'maybe' }]);
		assert.equal(kept[0]?.replyTo.tell('late'), 'closed');
	});

	it('says that work may have begun when the target dies of it', () => {
		const outcomes = outcomesOf((made) => made.system.spawn<Question>('dies', () => ({ onMessage: () => 'stopped' })));
		assert.deepEqual(outcomes, [{ ok: false, reason: 'terminated', began: 'maybe' }]);
	});

	it('says that nothing began when the target dies with the question unread', () => {
		const made = make();
		const outcomes: Outcome[] = [];
		const kept: Question[] = [];
		const target = made.system.spawn<Question | 'end'>('target', () => ({
			onMessage(_ctx, message) {
				if (message === 'end') return 'stopped';
				kept.push(message);
				return 'same';
			},
		}));
		made.host.run();
		made.system.spawn('asker', asker(target, outcomes));
		// The asker's activation comes first: its question waits behind `end` when the target has its own.
		target.tell('end');
		made.host.run();
		assert.deepEqual(kept, []);
		assert.deepEqual(outcomes, [{ ok: false, reason: 'terminated', began: 'no' }]);
		assertAtRest(made);
	});

	it('is answered although the asker has no room for anything else', () => {
		const made = make();
		const outcomes: Outcome[] = [];
		const kept: Question[] = [];
		const target = made.system.spawn('target', keeper(kept));
		const ref = made.system.spawn('asker', asker(target, outcomes), { mailboxMax: 1 });
		made.host.run();
		const other: Outcome = { ok: true, reply: 'told by somebody' };
		assert.equal(ref.tell(other), 'accepted');
		assert.equal(ref.tell(other), 'full');
		assert.equal(kept[0]?.replyTo.tell('yes'), 'accepted');
		made.host.run();
		assert.deepEqual(outcomes, [other, { ok: true, reply: 'yes' }]);
		assertAtRest(made);
	});

	it('keeps the order in which the target told and answered', () => {
		const made = make();
		const heard: string[] = [];
		const target = made.system.spawn<{ readonly teller: ActorRef<string>; readonly replyTo: ActorRef<string> }>('target', () => ({
			onMessage(_ctx, asked) {
				asked.teller.tell('before');
				asked.replyTo.tell('answer');
				asked.teller.tell('after');
				return 'same';
			},
		}));
		made.system.spawn<string>('asker', (ctx) => {
			ctx.ask(
				target,
				askMs,
				(replyTo: ActorRef<string>) => ({ teller: ctx.self, replyTo }),
				(outcome) => (outcome.ok ? outcome.reply : outcome.reason),
			);
			return { onMessage: (_ctx, message) => (heard.push(message), 'same') };
		});
		made.host.run();
		assert.deepEqual(heard, ['before', 'answer', 'after']);
		assertAtRest(made);
	});

	it('costs the asker, not the one who answers, when the outcome cannot be made a message', () => {
		const made = make();
		const deliveries: string[] = [];
		const target = made.system.spawn<Question>('target', () => ({
			onMessage(_ctx, asked) {
				deliveries.push(asked.replyTo.tell('yes'));
				return 'same';
			},
		}));
		made.system.spawn<never>('asker', (ctx) => {
			ctx.ask(target, askMs, question, () => {
				throw new Error('no message of that');
			});
			return { onMessage: () => 'same' };
		});
		made.host.run();
		assert.deepEqual(deliveries, ['accepted']);
		assert.deepEqual(
			made.telemetry.of('actor-failed').map((fields) => [fields['actor'], fields['message']]),
			[['/asker', 'no message of that']],
		);
		assert.equal(made.system.stats.actors, 1);
		assertAtRest(made);
	});

	it('leaves nothing behind when the question cannot be built', () => {
		const made = make();
		const target = made.system.spawn('target', keeper([]));
		made.system.spawn<Outcome>('asker', (ctx) => {
			const build = (): Question => {
				throw new Error('no question');
			};
			ctx.ask(target, askMs, build, asItIs);
			return { onMessage: () => 'same' };
		});
		made.host.run();
		assert.equal(made.system.stats.failures, 1);
		assert.equal(made.system.stats.asks, 0);
		assertAtRest(made);
	});

	it('is forgotten when its asker starts afresh, even an answer that waited unread', () => {
		const made = make();
		const kept: Question[] = [];
		const outcomes: Outcome[] = [];
		const target = made.system.spawn('target', keeper(kept));
		let starts = 0;
		const ref = made.system.spawn<Outcome | 'boom'>(
			'asker',
			(ctx) => {
				starts += 1;
				if (starts === 1) for (let n = 0; n < 2; n += 1) ctx.ask(target, askMs, question, asItIs);
				return {
					onMessage(_ctx, message) {
						if (message === 'boom') throw new Error('boom');
						outcomes.push(message);
						return 'same';
					},
				};
			},
			{ supervision: quick },
		);
		made.host.run();
		ref.tell('boom');
		assert.equal(kept[0]?.replyTo.tell('behind the bug'), 'accepted');
		made.host.run();
		assert.equal(kept[1]?.replyTo.tell('while it restarts'), 'closed');
		made.host.advance(100);
		assert.equal(starts, 2);
		assert.deepEqual(outcomes, []);
		assertAtRest(made);
	});

	it('goes to refs that no kernel made, and to edges', () => {
		const deliveries: string[] = [];
		const plain = outcomesOf(() => ({
			tell(asked) {
				deliveries.push(asked.replyTo.tell('at once'));
				return 'accepted';
			},
		}));
		assert.deepEqual(plain, [{ ok: true, reply: 'at once' }]);
		const made = make();
		const outcomes: Outcome[] = [];
		const edge = made.system.edge<Question>((asked) => {
			asked.replyTo.tell('edge');
		});
		made.system.spawn('asker', asker(edge, outcomes));
		made.host.run();
		edge.close();
		made.system.spawn('too-late', asker(edge, outcomes));
		made.host.run();
		assert.deepEqual(outcomes, [
			{ ok: true, reply: 'edge' },
			{ ok: false, reason: 'closed', began: 'no' },
		]);
		assertAtRest(made);
	});

	it('has a reply slot that may be told as a message itself', () => {
		const made = make();
		const refs: ActorRef<string>[] = [];
		const collector = made.system.spawn<ActorRef<string>>('collector', recorder(refs));
		const outcomes: Outcome[] = [];
		const target = made.system.spawn<Question>('target', () => ({
			onMessage(_ctx, asked) {
				collector.tell(asked.replyTo);
				return 'same';
			},
		}));
		made.system.spawn('asker', asker(target, outcomes));
		made.host.run();
		assert.equal(refs[0]?.tell('through another'), 'accepted');
		made.host.run();
		assert.deepEqual(outcomes, [{ ok: true, reply: 'through another' }]);
		assertAtRest(made);
	});
});
