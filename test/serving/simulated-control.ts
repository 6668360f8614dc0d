/** A control thread for random runs: it queues, grants, refuses, drops and loses replicas, answers late, and keeps its own ledger. */
import assert from 'node:assert/strict';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import type { SeededRandom, SimHost } from '../../src/actors/kernel/sim-host.ts';
import { failure } from '../../src/actors/serving/failure.ts';
import type { DispatcherCommand, Lease, PlacementNews } from '../../src/actors/serving/messages.ts';
import { type PlayedControl, standingOf } from './front-world.ts';
import { replicaFacts } from './task-requests.ts';

interface Waiting {
	readonly taskId: string;
	readonly replyTo: ActorRef<PlacementNews>;
}
interface Held extends Waiting {
	readonly lease: Lease;
}

export const keyOf = (lease: Lease): string => `${lease.epoch}.${lease.id}`;

export class SimulatedControl {
	readonly #host: SimHost;
	readonly #random: SeededRandom;
	readonly #control: PlayedControl;
	readonly #slots: number;
	readonly #queue: Waiting[] = [];
	readonly #held = new Map<string, Held>();
	/** When the last news for a task leaves: one lane each, in order. */
	readonly #lanes = new Map<ActorRef<PlacementNews>, number>();
	readonly settled: string[] = [];
	#alive = true;
	/** Grants wait for it. */
	#reported = false;

	constructor(host: SimHost, random: SeededRandom, control: PlayedControl, slots: number) {
		this.#host = host;
		this.#random = random;
		this.#control = control;
		this.#slots = slots;
		control.onCommand = (command) => this.#onCommand(command);
	}

	get busy(): number {
		return this.#held.size;
	}

	die(): void {
		this.#alive = false;
		this.#control.edge.close();
	}

	/** A fault of the pool's own: a queued task is dropped, or a replica is lost under a running one. */
	fault(): void {
		if (this.#random.below(2) === 0) {
			const dropped = this.#queue.splice(this.#random.below(Math.max(this.#queue.length, 1)), 1)[0];
			if (dropped !== undefined) this.#send(dropped.replyTo, { type: 'refused', failure: failure('QUEUE_FULL_DROP_LRU', 'dropped') });
			return;
		}
		const held = [...this.#held.values()][this.#random.below(Math.max(this.#held.size, 1))];
		if (held !== undefined) this.#send(held.replyTo, { type: 'replica-lost', lease: held.lease, failure: failure('WORKER_RESET', 'gone') });
	}

	#onCommand(command: DispatcherCommand): void {
		assert.ok(this.#alive);
		switch (command.type) {
			case 'front-joined':
			case 'engine-joined':
			case 'preview':
				return;
			case 'front-reported':
				assert.equal(this.#reported, false);
				this.#reported = true;
				return this.#pump();
			case 'report-lease':
				assert.equal(this.#reported, false, 'a lease was reported after front-reported');
				assert.ok(!this.#held.has(keyOf(command.lease)));
				this.#held.set(keyOf(command.lease), { taskId: command.summary.taskId, replyTo: command.replyTo, lease: command.lease });
				return;
			case 'submit':
				return this.#onSubmit({ taskId: command.summary.taskId, replyTo: command.replyTo });
			case 'withdraw': {
				const at = this.#queue.findIndex((waiting) => waiting.taskId === command.taskId);
				const gone = at < 0 ? undefined : this.#queue.splice(at, 1)[0];
				if (gone !== undefined) this.#send(gone.replyTo, { type: 'withdrawn' });
				return;
			}
			case 'settle': {
				const key = keyOf(command.lease);
				assert.ok(this.#held.has(key), `lease ${key} was settled and is not held`);
				this.settled.push(key);
				if (command.settlement.slot === 'free') this.#free(key);
				// Quarantined until the engine shows it idle.
				else this.#host.setTimer(40, () => this.#free(key));
				return;
			}
		}
	}

	#onSubmit(task: Waiting): void {
		assert.ok(!this.#queue.some((waiting) => waiting.taskId === task.taskId));
		if (this.#random.below(12) === 0) {
			return this.#send(task.replyTo, { type: 'refused', failure: failure('ADMISSION_REJECT', 'full', { policyLabel: 'reject' }) });
		}
		const standing = standingOf(this.#queue.length);
		this.#queue.push(task);
		// A grant may be the first that a task hears.
		if (this.#random.below(8) !== 0) {
			this.#send(task.replyTo, { type: 'queued', poolId: 'pool', engine: 'scripted', standing, onTimeProbability: null });
		}
		this.#pump();
	}

	#free(key: string): void {
		assert.ok(this.#held.delete(key));
		this.#pump();
	}

	#pump(): void {
		if (!this.#reported || !this.#alive) return;
		while (this.#queue.length > 0 && this.#held.size < this.#slots) {
			const next = this.#queue.shift() as Waiting;
			const lease = this.#control.newLease();
			this.#held.set(keyOf(lease), { ...next, lease });
			this.#send(next.replyTo, {
				type: 'granted',
				lease,
				replica: replicaFacts,
				ctx: 512,
				maxTokensOut: 32,
				timeouts: { firstTokenMs: 400, idleMs: 150, wallMs: 2000 },
				standing: standingOf(0),
			});
		}
		this.#queue.forEach((waiting, position) => this.#send(waiting.replyTo, { type: 'standing-changed', standing: standingOf(position) }));
	}

	/** Late by up to 30 ms, in order; lost with this control thread. */
	#send(to: ActorRef<PlacementNews>, news: PlacementNews): void {
		const at = Math.max(this.#host.now() + this.#random.below(4) * 10, this.#lanes.get(to) ?? 0);
		this.#lanes.set(to, at);
		this.#host.setTimer(at - this.#host.now(), () => {
			if (this.#alive) to.tell(news);
		});
	}
}
