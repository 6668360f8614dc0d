/**
 * Durable tasks of a simulated front over a journal whose disk fails as a seed says: commits that fail, a full disk, slow syncs, a daemon that is
 * lost in the middle of a commit, which is then there as a whole or not at all, and nobody was told which. Over many lives on one store: what was
 * answered is on disk in the moment that it is, and holds in every later life.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/actors/kernel/seeded-random.ts';
import type { CancelDone, Opening } from '../../src/actors/serving/task-directory.ts';
import { eventsOf, FrontWorld } from '../serving/front-world.ts';
import { MemoryStore } from '../serving/memory-store.ts';
import type { ScriptedGeneration } from '../serving/scripted-decode.ts';
import { taskRequest } from '../serving/task-requests.ts';

const seeds = 40;
const lives = 8;
const stepsMax = 60;

/** What was told of a task, by any life. */
interface Told {
	accepted: boolean;
	refused: boolean;
	cancelled: boolean;
	/** Its events, once its end was there to be read. */
	end: string | null;
}

class Life {
	readonly front: FrontWorld;
	readonly #store: MemoryStore;
	readonly #told: Map<string, Told>;
	readonly #random: SeededRandom;
	/** Waits in the queue of the pool. */
	readonly #waiting = new Set<string>();
	readonly #running = new Map<string, ScriptedGeneration>();

	constructor(store: MemoryStore, told: Map<string, Told>, random: SeededRandom, seed: number) {
		this.#store = store;
		this.#told = told;
		this.#random = random;
		this.front = new FrontWorld(seed, {}, undefined, undefined, store);
		const { control, decode } = this.front;
		control.onCommand = (command) => {
			if (command.type === 'submit') this.#waiting.add(command.summary.taskId);
			if (command.type !== 'withdraw') return;
			this.#waiting.delete(command.taskId);
			control.tell(command.taskId, { type: 'withdrawn' });
		};
		for (const command of control.of('submit')) this.#waiting.add(command.summary.taskId);
		decode.onStart = (generation) => {
			generation.started();
		};
		this.front.run();
		this.#checkTold();
	}

	step(): void {
		const random = this.#random;
		switch (random.below(9)) {
			case 0:
			case 1:
				this.#open(`t${this.#told.size}`);
				break;
			case 2:
				this.grant();
				break;
			case 3:
				for (const generation of this.#running.values()) if (!generation.over) generation.pieces({ text: 'secret' });
				break;
			case 4:
				this.endOne();
				break;
			case 5: {
				const id = this.#anyOf([...this.#told.keys()]);
				if (id !== null) this.#cancel(id);
				break;
			}
			case 6:
				this.#store.problem =
					[null, null, { kind: 'full', words: 'no space' } as const, { kind: 'failed', words: 'I/O error' } as const][random.below(4)] ??
					null;
				break;
			case 7:
				this.#store.slow = random.below(2) === 0;
				this.#store.release();
				break;
			default:
				this.front.host.advance(random.below(1_500));
		}
		this.front.run();
		this.#see();
	}

	/** The disk is well again, and all that was accepted comes to its end. */
	settle(): void {
		this.#store.problem = null;
		this.#store.slow = false;
		this.#store.release();
		for (let round = 0; round < 200; round += 1) {
			this.front.run();
			this.#see();
			if ([...this.#told.values()].every(({ accepted, end }) => !accepted || end !== null)) return;
			this.grant();
			this.endOne();
			this.front.host.advance(1_000);
		}
	}

	grant(): void {
		const id = this.#anyOf([...this.#waiting]);
		if (id === null) return;
		this.#waiting.delete(id);
		const before = this.front.decode.generations.length;
		this.front.control.queue(id, 0);
		this.front.control.grant(id);
		this.front.run();
		const generation = this.front.decode.generations[before];
		if (generation !== undefined) this.#running.set(id, generation);
	}

	endOne(): void {
		const id = this.#anyOf([...this.#running.keys()]);
		if (id === null) return;
		const generation = this.#running.get(id);
		this.#running.delete(id);
		if (generation !== undefined && !generation.over) generation.end();
	}

	#open(id: string): void {
		const told: Told = { accepted: false, refused: false, cancelled: false, end: null };
		this.#told.set(id, told);
		const edge = this.front.system.edge<Opening>((answer) => {
			edge.close();
			if (answer.type === 'task-refused') told.refused = true;
			if (answer.type !== 'task-opened') return;
			told.accepted = true;
			assert.ok(this.#onDisk(id), `${id} was accepted, and is not on disk`);
		});
		this.front.tasks.tell({ type: 'open-task', request: taskRequest(id, { durable: true, priority: 'batch' }), replyTo: edge });
		this.front.run();
		if (this.#waiting.has(id)) this.front.control.queue(id, 0);
	}

	#cancel(id: string): void {
		const found = this.front.registry.lookup(id);
		if (found.found !== 'task') return;
		const edge = this.front.system.edge<CancelDone>((answer) => {
			edge.close();
			if (answer.failure !== undefined) return;
			const told = this.#told.get(id);
			if (told?.accepted !== true) return;
			told.cancelled = true;
			assert.ok(this.#store.keys('ended').includes(id), `${id} was cancelled, and its end is not on disk`);
		});
		if (found.task.ref.tell({ type: 'cancel', reason: 'client', replyTo: edge }) === 'closed') edge.close();
	}

	/** Ends that can be read by now. */
	#see(): void {
		for (const [id, told] of this.#told) {
			const found = this.front.registry.lookup(id);
			if (told.end !== null || !told.accepted || found.found !== 'task' || !found.task.log.ended) continue;
			assert.ok(this.#store.keys('ended').includes(id), `the end of ${id} can be read, and is not on disk`);
			told.end = JSON.stringify([found.task.state, eventsOf(found.task)]);
			const ends = eventsOf(found.task).filter(({ name }) => name === 'end' || name === 'error');
			assert.equal(ends.length, 1, `${id} ends once`);
		}
	}

	/** As a later life has it. */
	#checkTold(): void {
		for (const [id, { accepted, refused, cancelled, end }] of this.#told) {
			const found = this.front.registry.lookup(id);
			if (accepted) assert.equal(found.found, 'task', `${id} was accepted`);
			if (refused) assert.equal(found.found, 'nothing', `${id} was refused`);
			if (found.found !== 'task') continue;
			if (end !== null) assert.equal(JSON.stringify([found.task.state, eventsOf(found.task)]), end, `${id} is as it ended`);
			if (cancelled) assert.ok(found.task.log.ended, `${id} was cancelled, and runs again`);
		}
	}

	#onDisk(id: string): boolean {
		return this.#store.keys('live').includes(id) || this.#store.keys('ended').includes(id);
	}

	#anyOf(ids: readonly string[]): string | null {
		return ids[this.#random.below(Math.max(1, ids.length))] ?? null;
	}
}

test(`over ${seeds} seeds of failing disks and lost daemons nothing is told that is not on disk, and each accepted task ends once`, () => {
	let accepted = 0;
	let refused = 0;
	let cancelled = 0;
	for (let seed = 1; seed <= seeds; seed += 1) {
		const random = new SeededRandom(seed);
		const store = new MemoryStore();
		const told = new Map<string, Told>();
		try {
			for (let life = 0; life < lives; life += 1) {
				const each = new Life(store, told, random, seed * lives + life);
				for (let steps = random.below(stepsMax); steps > 0; steps -= 1) each.step();
				store.lose(random.below(2) === 0);
				// A new daemon finds a disk that works, at first: it does not start on another.
				store.problem = null;
				store.slow = false;
			}
			const last = new Life(store, told, random, seed);
			last.settle();
			for (const [id, each] of told) assert.ok(!each.accepted || each.end !== null, `${id} has no end`);
		} catch (error) {
			throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
		}
		for (const each of told.values()) {
			accepted += Number(each.accepted);
			refused += Number(each.refused);
			cancelled += Number(each.cancelled);
		}
	}
	assert.ok(
		accepted > seeds * 20 && refused > seeds && cancelled > seeds,
		`${accepted} accepted, ${refused} refused, ${cancelled} cancelled`,
	);
});
