/** The simulated world: its clock, its generator, its threads; and that a run of actors is a function of the seed. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Setup } from '../../src/actors/kernel/behavior.ts';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import { SeededRandom } from '../../src/actors/kernel/seeded-random.ts';
import { SimHost, SimWorld } from '../../src/actors/kernel/sim-host.ts';
import { type SimTimer, SimTimers } from '../../src/actors/kernel/sim-timers.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';
import { idle, quick } from './small-actors.ts';

describe('the seeded generator', () => {
	it('repeats with its seed, differs with another, and stays in its range', () => {
		const draw = (seed: number): number[] => {
			const random = new SeededRandom(seed);
			return Array.from({ length: 1000 }, () => random.next());
		};
		assert.deepEqual(draw(42), draw(42));
		assert.notDeepEqual(draw(42), draw(43));
		const drawn = draw(0);
		assert.ok(drawn.every((each) => each >= 0 && each < 1));
		const mean = drawn.reduce((sum, each) => sum + each, 0) / drawn.length;
		assert.ok(mean > 0.45 && mean < 0.55, `mean ${mean}`);
		const random = new SeededRandom(7);
		const seen = new Set(Array.from({ length: 200 }, () => random.below(6)));
		assert.deepEqual(seen, new Set([0, 1, 2, 3, 4, 5]));
	});
});

describe('simulated timers', () => {
	it('agree with a sorted list, whatever is set and removed', () => {
		const step = fc.oneof(
			{ weight: 5, arbitrary: fc.record({ act: fc.constant('set' as const), at: fc.nat(1_000) }) },
			{ weight: 2, arbitrary: fc.record({ act: fc.constant('remove' as const), which: fc.nat(400) }) },
			{ weight: 1, arbitrary: fc.record({ act: fc.constant('next' as const) }) },
		);
		fc.assert(
			fc.property(fc.array(step, { maxLength: 200, size: 'max' }), (steps) => {
				const timers = new SimTimers();
				const owners = [{}, {}];
				const made: SimTimer[] = [];
				let model: SimTimer[] = [];
				const first = (): SimTimer | undefined => model.toSorted((a, b) => a.at - b.at || a.order - b.order)[0];
				const remove = (timer: SimTimer | undefined): void => {
					if (timer === undefined) return;
					timers.remove(timer);
					model = model.filter((each) => each !== timer);
				};
				for (const each of steps) {
					if (each.act === 'set') {
						const timer = timers.set(each.at, owners[made.length % 2] ?? {}, () => {});
						made.push(timer);
						model.push(timer);
					} else if (each.act === 'remove') remove(made[each.which % Math.max(1, made.length)]);
					else remove(timers.next);
					assert.equal(timers.next, first());
					assert.equal(timers.size, model.length);
				}
				timers.removeOf(owners[0] ?? {});
				model = model.filter((each) => each.owner !== owners[0]);
				assert.equal(timers.next, first());
				assert.equal(timers.size, model.length);
			}),
		);
	});
});

describe('a simulated host', () => {
	it('lets time pass from timer to timer, in the order they were set where the time is the same', () => {
		const host = new SimHost(1);
		const fired: string[] = [];
		host.setTimer(20, () => fired.push(`b@${host.now()}`));
		host.setTimer(10, () => {
			fired.push(`a@${host.now()}`);
			host.setTimer(10, () => fired.push(`c@${host.now()}`));
		});
		const cleared = host.setTimer(15, () => fired.push('cleared'));
		host.clearTimer(cleared);
		host.advance(5);
		assert.deepEqual(fired, []);
		host.advance(30);
		assert.deepEqual(fired, ['a@10', 'b@20', 'c@20']);
		assert.equal(host.now(), 35);
	});

	it('runs until nothing is left, or says that something is', () => {
		const host = new SimHost(1);
		let rounds = 0;
		const again = (): void => {
			rounds += 1;
			if (rounds < 5) host.setTimer(1_000, again);
		};
		again();
		assert.equal(host.runUntilIdle(2_500), false);
		assert.equal(rounds, 3);
		assert.equal(host.runUntilIdle(), true);
		assert.equal(rounds, 5);
		assert.equal(host.world.timers, 0);
	});

	it('that is killed runs nothing more, and leaves the others alone', () => {
		const world = new SimWorld(1);
		const [dead, alive] = [new SimHost(world), new SimHost(world)];
		const ran: string[] = [];
		for (const [name, host] of [
			['dead', dead],
			['alive', alive],
		] as const) {
			host.defer(() => ran.push(`turn ${name}`));
			host.setTimer(10, () => ran.push(`timer ${name}`));
		}
		dead.kill();
		dead.defer(() => ran.push('turn of the dead'));
		dead.yieldThen(() => ran.push('turn of the dead'));
		dead.clearTimer(dead.setTimer(1, () => ran.push('timer of the dead')));
		assert.ok(world.runUntilIdle());
		assert.deepEqual(ran, ['turn alive', 'timer alive']);
	});
});

/** A little world of threads whose actors tell, ask, fail and restart at random; its whole trace as lines. */
function traceOf(seed: number): string[] {
	const world = new SimWorld(seed);
	const lines: string[] = [];
	world.onEvent = ({ at, host, actor, kind, content }) => {
		const what = typeof content === 'object' && content !== null && 'type' in content ? String(content.type) : String(content);
		lines.push(`${at.toFixed(3)} ${host}${actor} ${kind} ${what}`);
	};
	const refs: ActorRef<string>[] = [];
	const wanderer: Setup<string> = (ctx) => {
		ctx.setTimer('again', 1 + ctx.random() * 50, 'again');
		return {
			onMessage(context, message) {
				const drawn = context.random();
				const other = refs[Math.floor(context.random() * refs.length)];
				if (drawn < 0.05) throw new Error('a bug at random');
				if (message === 'again' || drawn < 0.3) context.setTimer('again', 1 + context.random() * 20, 'again');
				if (message === 'again' && other !== undefined) {
					context.watch(other);
					other.tell(`from ${context.path}`);
					context.ask(
						other,
						10,
						() => 'asked',
						(outcome) => (outcome.ok ? 'answered' : outcome.reason),
					);
				}
				return 'same';
			},
			onSignal: () => 'same',
		};
	};
	const supervision = { ...quick, intensity: { restarts: 30, withinMs: 10_000 }, backoff: { firstMs: 5, maxMs: 50, jitter: 0.5 } };
	const systems = [0, 1, 2].map((index) => new ActorSystem(new SimHost(world), { name: `thread-${index}`, turnMessagesMax: 8 }));
	for (const system of systems) for (let n = 0; n < 4; n += 1) refs.push(system.spawn(`actor-${n}`, wanderer, { supervision }));
	world.advance(500);
	for (const system of systems) {
		system.shutdown();
		const { actors, timers, asks, exports } = system.stats;
		assert.deepEqual([actors, timers, asks, exports], [0, 0, 0, 0]);
	}
	world.run();
	assert.equal(world.timers, 0);
	return lines;
}

describe('a simulation', () => {
	it('has the same trace with the same seed, and another with another', () => {
		const traces = [1, 2, 3, 4, 5].map((seed) => {
			const trace = traceOf(seed);
			assert.deepEqual(traceOf(seed), trace);
			assert.ok(trace.length > 300, `${trace.length} events`);
			assert.ok(trace.some((line) => line.includes('signal')));
			return trace.join('\n');
		});
		assert.equal(new Set(traces).size, 5);
	});

	it('costs a system without a listener nothing but a call', () => {
		const host = new SimHost(1);
		const system = new ActorSystem(host);
		system.spawn('a', idle).tell('x');
		host.run();
		assert.equal(system.stats.messages, 2);
		system.shutdown();
	});
});

it('an invariant is looked at behind each message and signal of its actor, and by default one that is broken is a bug of that actor', () => {
	const world = new SimWorld(1);
	const host = new SimHost(world);
	const system = new ActorSystem(host, { name: 'one' });
	let looked = 0;
	let sum = 0;
	const counter = system.spawn<number>('counter', () => ({
		onMessage: (_ctx, by) => {
			sum += by;
			return 'same';
		},
		invariant: () => {
			looked += 1;
			return sum === 3 ? 'three' : null;
		},
	}));
	counter.tell(1);
	counter.tell(1);
	world.advance(0);
	assert.deepEqual([looked, system.stats.failures], [2, 0]);
	const heard: string[] = [];
	world.onBroken = (actor, words) => heard.push(`${actor} ${words}`);
	counter.tell(1);
	world.advance(0);
	assert.deepEqual([heard, system.stats.failures], [['/one/counter three'], 0]);
	const other = new SimWorld(1);
	const strict = new ActorSystem(new SimHost(other), { name: 'two' });
	strict.spawn<number>('broken', () => ({ onMessage: () => 'same', invariant: () => 'never' })).tell(1);
	other.advance(0);
	assert.equal(strict.stats.failures, 1);
});
