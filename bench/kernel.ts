/**
 * The actor kernel on one core, in messages a second. An operation is one message told and handled:
 * - `flood`: one actor gets batches that fit its mailbox, told from outside between turns
 * - `ring`: 1 000 actors hand 1 000 messages round, one step a message: the scheduler at its worst
 * - `ask`: one actor asks another, one question at a time, answered in the same turn; one question is one operation
 * - `spawn`: one actor spawns a child, which ends at once, and hears of its end; one life is one operation
 * - `timer`: one actor sets the same timer again with each message, as an idle watchdog does
 * Not measured: anything between threads, and what behaviours do. Each is run once to warm up, then `runs` times.
 *
 *   node dist/bench/kernel.js [runs]
 */
import type { Behavior, Setup } from '../src/actors/kernel/behavior.ts';
import { RealHost } from '../src/actors/kernel/real-host.ts';
import type { ActorRef, AskOutcome } from '../src/actors/kernel/ref.ts';
import { ActorSystem } from '../src/actors/kernel/system.ts';
import { silentTelemetry } from '../src/actors/kernel/telemetry.ts';

interface Work {
	readonly name: string;
	readonly operations: number;
	run(system: ActorSystem, done: () => void): void;
}

interface Ping {
	readonly type: 'ping';
	readonly left: number;
}

const flood: Work = {
	name: 'flood',
	operations: 4_000_000,
	run(system, done) {
		const message: Ping = { type: 'ping', left: 0 };
		let seen = 0;
		const behavior: Behavior<Ping> = {
			onMessage() {
				seen += 1;
				return 'same';
			},
		};
		const ref = system.spawn<Ping>('sink', () => behavior);
		const feed = (): void => {
			while (ref.tell(message) === 'accepted');
		};
		const unsubscribe = system.onTurnEnd(() => {
			if (seen < flood.operations) return feed();
			unsubscribe();
			done();
		});
		feed();
	},
};

const ring: Work = {
	name: 'ring',
	operations: 4_000_000,
	run(system, done) {
		const size = 1_000;
		const rounds = ring.operations / size;
		let finished = 0;
		const refs: ActorRef<Ping>[] = [];
		const member =
			(index: number): Setup<Ping> =>
			() => ({
				onMessage(_ctx, message) {
					if (message.left > 1) refs[(index + 1) % size]?.tell({ type: 'ping', left: message.left - 1 });
					else {
						finished += 1;
						if (finished === size) done();
					}
					return 'same';
				},
			});
		for (let index = 0; index < size; index += 1) refs.push(system.spawn(`member-${index}`, member(index)));
		for (const ref of refs) ref.tell({ type: 'ping', left: rounds });
	},
};

interface Question {
	readonly type: 'question';
	readonly replyTo: ActorRef<number>;
}

const ask: Work = {
	name: 'ask',
	operations: 500_000,
	run(system, done) {
		const target = system.spawn<Question>('target', () => ({
			onMessage(_ctx, question) {
				question.replyTo.tell(1);
				return 'same';
			},
		}));
		let left = ask.operations;
		const build = (replyTo: ActorRef<number>): Question => ({ type: 'question', replyTo });
		const answered = (outcome: AskOutcome<number>): AskOutcome<number> => outcome;
		system.spawn<AskOutcome<number>>('asker', (ctx) => {
			ctx.ask(target, 10_000, build, answered);
			return {
				onMessage(context, outcome) {
					if (!outcome.ok) throw new Error(`not answered: ${outcome.reason}`);
					left -= 1;
					if (left > 0) context.ask(target, 10_000, build, answered);
					else done();
					return 'same';
				},
			};
		});
	},
};

const timer: Work = {
	name: 'timer',
	operations: 1_000_000,
	run(system, done) {
		let left = timer.operations;
		const ref = system.spawn<Ping>('watched', () => ({
			onMessage(ctx, message) {
				ctx.setTimer('idle', 30_000, message);
				left -= 1;
				if (left > 0) ref.tell(message);
				else done();
				return 'same';
			},
		}));
		ref.tell({ type: 'ping', left: 0 });
	},
};

const spawn: Work = {
	name: 'spawn',
	operations: 200_000,
	run(system, done) {
		let left = spawn.operations;
		const ephemeral: Setup<Ping> = () => ({ onMessage: () => 'stopped' });
		system.spawn<Ping>('parent', (ctx) => {
			const next = (): void => {
				const child = ctx.spawn('child', ephemeral);
				ctx.watch(child);
				child.tell({ type: 'ping', left });
			};
			next();
			return {
				onMessage: () => 'same',
				onSignal(_ctx, signal) {
					if (signal.type !== 'terminated') return 'same';
					left -= 1;
					if (left > 0) next();
					else done();
					return 'same';
				},
			};
		});
	},
};

const works = [flood, ring, ask, timer, spawn];

function once(work: Work): Promise<number> {
	return new Promise((resolve) => {
		const system = new ActorSystem(new RealHost(silentTelemetry));
		const startedAt = system.host.now();
		work.run(system, () => {
			const perSecond = (work.operations / (system.host.now() - startedAt)) * 1_000;
			setImmediate(() => {
				system.shutdown();
				resolve(perSecond);
			});
		});
	});
}

const runs = Number(process.argv[2] ?? 5);
const results = works.map(({ name }) => ({ name, perSecond: [] as number[] }));
for (let run = 0; run <= runs; run += 1) {
	for (const [index, work] of works.entries()) {
		const perSecond = await once(work);
		if (run > 0) results[index]?.perSecond.push(perSecond);
	}
}
for (const { name, perSecond } of results) {
	const sorted = perSecond.toSorted((a, b) => a - b).map((each) => Math.round(each));
	const median = sorted[Math.floor(sorted.length / 2)];
	console.log(JSON.stringify({ bench: 'kernel', work: name, unit: 'operations/s', median, least: sorted[0], most: sorted.at(-1), runs }));
}
