/**
 * Random runs of the control thread: tasks that come, finish, are cancelled and die, engines and engine threads that end,
 * control threads that are replaced. The fake engine asserts at every step that no slot is used twice; at the end the faults
 * stop, and all must come to rest. A run is a function of its seed: `SEED=n` in a failure's message names it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/actors/kernel/sim-host.ts';
import type { PoolSpec } from '../../src/actors/serving/pool-spec.ts';
import { ControlWorld, type TestTask } from './control-world.ts';
import { placement, poolSpec } from './summaries.ts';

const seeds = 150;
const steps = 150;

function specs(random: SeededRandom): PoolSpec[] {
	return Array.from({ length: 1 + random.below(2) }, (_, index) =>
		poolSpec({
			poolId: `pool${index}`,
			replicas: 1 + random.below(3),
			settings: { slots: 1 + random.below(4) },
			queue: {
				capacity: 1 + random.below(30),
				bytesMax: 20_000,
				fullPolicy: (['reject', 'drop-lru', 'shed-low-priority'] as const)[random.below(3)] ?? 'reject',
				batchMaxWaitMs: 500,
			},
		}),
	);
}

class Run {
	readonly random: SeededRandom;
	readonly world: ControlWorld;
	readonly trace: string[] = [];
	#made = 0;

	constructor(seed: number) {
		this.random = new SeededRandom(seed);
		this.world = ControlWorld.ready(specs(this.random), seed);
		this.world.engines.loadMs = this.random.below(200);
	}

	/** One of the tasks that are open; undefined when there is none. */
	#some(): TestTask | undefined {
		const open = [...this.world.tasks.values()].filter((task) => task.open);
		return open[this.random.below(Math.max(1, open.length))];
	}

	step(): void {
		const { random, world } = this;
		const drawn = random.below(100);
		if (drawn < 40) this.#submit();
		else if (drawn < 50) this.#some()?.cancel(random.below(3) === 0 ? random.below(600) : null);
		else if (drawn < 54) this.#some()?.die(random.below(600));
		else if (drawn < 56) this.#endEngine();
		else if (drawn < 57) this.#replaceEngineThread();
		else if (drawn < 59) this.#replaceControl();
		else world.host.advance(random.below(120));
	}

	#submit(): void {
		const { random, world } = this;
		const poolId = `pool${random.below(world.pools.length)}`;
		world.submit(
			`t${this.#made++}`,
			{
				priority: random.below(3) === 0 ? 'batch' : 'interactive',
				strict: random.below(8) === 0,
				queuedBytes: random.below(3_000),
				...(random.below(3) === 0 ? placement({ pinPoolId: poolId }) : {}),
			},
			random.below(200),
		);
	}

	#endEngine(): void {
		const lives = [...this.world.engines.lives.values()];
		lives[this.random.below(Math.max(1, lives.length))]?.end();
	}

	#replaceEngineThread(): void {
		this.world.stopEngineThread();
		this.world.host.advance(this.random.below(300));
		this.world.startEngineThread();
	}

	#replaceControl(): void {
		const { random, world } = this;
		world.stopControl();
		world.host.advance(random.below(300));
		if (random.below(2) === 0) world.startControl();
		else {
			world.startControl('silent');
			world.host.advance(random.below(300));
			world.frontReports();
		}
	}

	/** No more faults: every task ends, every slot comes back, nobody is left over. */
	settleDown(): void {
		const { world } = this;
		world.host.advance(200_000);
		for (const task of world.tasks.values()) {
			assert.ok(!task.open, `${task.id} is ${task.state}`);
			assert.ok(task.all('granted').length <= 1);
		}
		world.assertQuiet(world.telemetry.total('stale_settlements_total'));
		for (const line of world.telemetry.lines) this.trace.push(`${line.level} ${line.event}`);
		this.trace.push(...world.granted, ...world.states());
		if (world.dispatcher !== null) world.system.stop(world.dispatcher);
		if (world.guardian !== null) world.system.stop(world.guardian);
		world.front.close();
		world.host.run();
		const { actors, timers, asks, edges } = world.system.stats;
		assert.deepEqual({ actors, timers, asks, edges }, { actors: 0, timers: 0, asks: 0, edges: 0 }, 'left over');
	}
}

function runOf(seed: number): Run {
	const run = new Run(seed);
	try {
		for (let index = 0; index < steps; index++) run.step();
		run.settleDown();
	} catch (error) {
		throw new Error(`SEED=${seed}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
	}
	return run;
}

test(`${seeds} random runs: no slot is used twice, every task ends, every slot comes back`, () => {
	const only = Number(process.env['SEED'] ?? 0);
	let granted = 0;
	for (let seed = 1; seed <= seeds; seed++) if (only === 0 || only === seed) granted += runOf(seed).world.granted.length;
	assert.ok(only !== 0 || granted > seeds * 20, `only ${granted} tasks ran: the runs test little`);
});

test('a run is a function of its seed', () => {
	for (const seed of [3, 14, 15]) assert.deepEqual(runOf(seed).trace, runOf(seed).trace);
});
