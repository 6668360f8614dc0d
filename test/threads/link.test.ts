/** Links between two actor systems, over a port whose batches take simulated time: order, credits, refs, watches, loss. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import type { Signal } from '../../src/actors/kernel/behavior.ts';
import { RealHost } from '../../src/actors/kernel/real-host.ts';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import { SimHost, SimWorld } from '../../src/actors/kernel/sim-host.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';
import { Link, type LinkOptions, type Peer } from '../../src/actors/threads/link.ts';
import type { LinkPort, WireBatch } from '../../src/actors/threads/link-port.ts';

type Note =
	| { readonly type: 'note' | 'urgent-note'; readonly n: number }
	| { readonly type: 'question'; readonly n: number; readonly replyTo: ActorRef<Note> };

/** Two ports whose batches arrive `delayMs` later, copied as structured clone would. */
function portPair(
	hosts: readonly [SimHost, SimHost],
	delayMs: number,
): { readonly ports: [LinkPort, LinkPort]; readonly posted: [WireBatch[], WireBatch[]] } {
	const posted: [WireBatch[], WireBatch[]] = [[], []];
	const make = (side: 0 | 1): LinkPort => ({
		post(batch) {
			posted[side].push(batch);
			const copy = structuredClone(batch);
			hosts[side === 0 ? 1 : 0].setTimer(delayMs, () => ports[side === 0 ? 1 : 0].onBatch?.(copy));
		},
		onBatch: null,
		onClosed: null,
		close() {},
	});
	const ports: [LinkPort, LinkPort] = [make(0), make(1)];
	return { ports, posted };
}

interface Side {
	readonly system: ActorSystem;
	readonly link: Link;
	readonly got: Note[];
	readonly sink: ActorRef<Note>;
	peer: Peer | null;
	lost: number;
}

interface Pair {
	readonly world: SimWorld;
	readonly a: Side;
	readonly b: Side;
	readonly posted: [WireBatch[], WireBatch[]];
	toB(): ActorRef<Note>;
}

function pair(options: { window?: number; reserve?: number; delayMs?: number; incarnations?: [number, number] } = {}): Pair {
	const world = new SimWorld(7);
	const hosts: [SimHost, SimHost] = [new SimHost(world), new SimHost(world)];
	const { ports, posted } = portPair(hosts, options.delayMs ?? 1);
	const side = (index: 0 | 1): Side => {
		const system = new ActorSystem(hosts[index]);
		const got: Note[] = [];
		const sink = system.spawn<Note>('sink', () => ({ onMessage: (_ctx, note) => (got.push(note), 'same') }), { mailboxMax: 100_000 });
		const linkOptions: LinkOptions = {
			incarnation: options.incarnations?.[index] ?? 1,
			names: { sink },
			urgent: new Set(['urgent-note']),
			...(options.window === undefined ? {} : { window: options.window }),
			...(options.reserve === undefined ? {} : { reserve: options.reserve }),
			onPeer: (peer) => {
				made.peer = peer;
			},
			onLost: () => {
				made.lost += 1;
			},
		};
		const made: Side = { system, got, sink, link: new Link(system, ports[index], linkOptions), peer: null, lost: 0 };
		return made;
	};
	const a = side(0);
	const b = side(1);
	world.advance(10);
	return { world, a, b, posted, toB: () => (a.peer as Peer).remote<Note>('sink') };
}

const numbers = (notes: readonly Note[]): number[] => notes.map((note) => note.n);

describe('a link', () => {
	it('carries all messages of one turn as one batch, in order, and leaves the sender’s object alone', () => {
		const { world, a, b, posted, toB } = pair();
		const before = posted[0].length;
		const question: Note = { type: 'question', n: 0, replyTo: a.sink };
		const ref = toB();
		assert.equal(ref.tell(question), 'accepted');
		for (let n = 1; n < 50; n += 1) ref.tell({ type: 'note', n });
		world.advance(10);
		assert.equal(posted[0].length - before, 1);
		assert.deepEqual(
			numbers(b.got),
			Array.from({ length: 50 }, (_, n) => n),
		);
		assert.deepEqual(question, { type: 'question', n: 0, replyTo: a.sink });
	});

	it('carries what several callbacks of one pass of the event loop tell as one batch', async () => {
		const posted: WireBatch[] = [];
		const port: LinkPort = { post: (batch) => posted.push(batch), onBatch: null, onClosed: null, close() {} };
		const peers: Peer[] = [];
		new Link(new ActorSystem(new RealHost()), port, {
			incarnation: 1,
			names: {},
			urgent: new Set(),
			onPeer: (peer) => peers.push(peer),
			onLost() {},
		});
		const names: WireBatch = { incarnation: 1, items: [{ kind: 'names', names: { sink: 5 } }], ordinary: 0, urgent: 0 };
		port.onBatch?.(names);
		const sink = (peers[0] as Peer).remote<Note>('sink');
		await turn();
		posted.length = 0;
		for (let n = 0; n < 5; n += 1) {
			sink.tell({ type: 'note', n });
			// All that a callback has deferred runs before the next one begins.
			await Promise.resolve();
			await new Promise<void>((resolve) => process.nextTick(resolve));
		}
		assert.equal(posted.length, 0);
		await turn();
		assert.deepEqual(
			posted.map(({ items }) => items.length),
			[5],
		);
	});

	it('refuses at its window, gives credit back, and loses or reorders nothing over any bursts', () => {
		fc.assert(
			fc.property(
				fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 }),
				fc.integer({ min: 2, max: 16 }),
				(bursts, window) => {
					const { world, b, toB } = pair({ window });
					const ref = toB();
					const accepted: number[] = [];
					let n = 0;
					for (const burst of bursts) {
						let taken = 0;
						for (let index = 0; index < burst; index += 1, n += 1) {
							const delivery = ref.tell({ type: 'note', n });
							if (delivery === 'accepted') {
								accepted.push(n);
								taken += 1;
							} else assert.equal(delivery, 'full');
						}
						assert.ok(taken <= window);
						assert.ok(taken > 0, 'credit came back');
						world.advance(10);
					}
					assert.deepEqual(numbers(b.got), accepted);
				},
			),
			{ numRuns: 50 },
		);
	});

	it('lets urgent messages through when ordinary credit is used up, behind what was told before', () => {
		const { world, b, toB } = pair({ window: 2 });
		const ref = toB();
		assert.deepEqual(
			[1, 2, 3].map((n) => ref.tell({ type: 'note', n })),
			['accepted', 'accepted', 'full'],
		);
		assert.equal(ref.tell({ type: 'urgent-note', n: 4 }), 'accepted');
		world.advance(10);
		assert.deepEqual(numbers(b.got), [1, 2, 4]);
	});

	it('takes a ref in replyTo across, and home again as itself', () => {
		const { world, a, b, toB } = pair();
		toB().tell({ type: 'question', n: 1, replyTo: a.sink });
		world.advance(10);
		const question = b.got[0];
		assert.ok(question?.type === 'question');
		assert.equal(question.replyTo.tell({ type: 'note', n: 2 }), 'accepted');
		// The ref that came from A goes back to A as the field of a message.
		(b.peer as Peer).remote<Note>('sink').tell({ type: 'question', n: 3, replyTo: question.replyTo });
		world.advance(10);
		assert.equal(a.got[0]?.n, 2);
		const home = a.got[1];
		assert.ok(home?.type === 'question');
		assert.equal(home.replyTo, a.sink);
	});

	it('refuses the ref of a third thread', () => {
		const { a, toB } = pair();
		const third = a.system.foreign<Note>({ tell: () => 'accepted', watch() {}, unwatch() {} }, 1);
		assert.throws(() => toB().tell({ type: 'question', n: 1, replyTo: third }), /third thread/);
	});

	it('tells of an end across it, exactly once, also of one that had ended before', () => {
		const { world, a, b, toB } = pair();
		const signals: Signal[] = [];
		const far = toB();
		const watch = (name: string): void => {
			a.system.spawn<never>(name, (ctx) => {
				ctx.watch(far);
				return {
					onMessage: () => 'same',
					onSignal(_ctx, signal) {
						if (signal.type === 'terminated') signals.push(signal);
						return 'same';
					},
				};
			});
		};
		watch('early');
		world.advance(10);
		b.system.stop(b.sink);
		world.advance(10);
		assert.equal(signals.length, 1);
		watch('late');
		world.advance(10);
		assert.equal(signals.length, 2);
		assert.equal(far.tell({ type: 'note', n: 1 }), 'closed');
	});

	it('ends all watched refs as lost when the peer is gone, and answers closed from then on', () => {
		const { world, a, toB } = pair();
		const signals: Signal[] = [];
		const far = toB();
		a.system.spawn<never>('watcher', (ctx) => {
			ctx.watch(far);
			return {
				onMessage: () => 'same',
				onSignal(_ctx, signal) {
					signals.push(signal);
					return 'same';
				},
			};
		});
		world.advance(10);
		a.link.lose();
		a.link.lose();
		world.advance(10);
		assert.deepEqual(
			signals.map((signal) => signal.type === 'terminated' && signal.reason.kind),
			['lost'],
		);
		assert.equal(far.tell({ type: 'note', n: 1 }), 'closed');
		assert.equal(a.lost, 1);
	});

	it('drops batches of another incarnation, and counts them', () => {
		const { a, b } = pair({ incarnations: [1, 2] });
		assert.ok(a.link.stale > 0);
		assert.ok(b.link.stale > 0);
		assert.equal(a.peer, null);
	});
});
