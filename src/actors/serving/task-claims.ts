/**
 * What one task has of the control thread, and owes it: a place in a queue, a lease, settlements that the link had no
 * room for. Part of the Task actor (same thread, same turn); it says nothing of the task's own state.
 *
 * A place is open from `submit` until granted, refused or withdrawn. A lease is ours from `take` until `settle`: exactly
 * once each. Both die with the control thread they were had from, except a lease that is reported to the next one.
 */
import type { ActorRef, Delivery } from '../kernel/ref.ts';
import type { TaskClaim } from './home-messages.ts';
import type { DispatcherCommand, Lease, PlacementNews, Settlement, TaskSummary } from './messages.ts';

/** The control thread, as the tasks of a front reach it. */
export interface Control {
	/** Grows with each control thread: leases of an older one are void unless reported. */
	readonly epoch: number;
	readonly dispatcher: ActorRef<DispatcherCommand>;
}

/** A withdrawal that nobody answers is repeated this often, then given up: a grant that still comes finds no one. */
const withdrawalsMax = 50;

export class TaskClaims {
	/** Null while the control thread is away. */
	#control: Control | null;
	readonly #self: ActorRef<PlacementNews>;
	readonly #correlationId: string;
	/** What the directory is to know, as it is now. */
	readonly #claim: (beforeIts202: boolean) => TaskClaim;
	/** Asks for a call of `sendAgain`, a little later. */
	readonly #sendLater: () => void;
	#placing = false;
	#withdrawal: Extract<DispatcherCommand, { type: 'withdraw' }> | null = null;
	#withdrawals = 0;
	#lease: Lease | null = null;
	#unsent: DispatcherCommand[] = [];

	constructor(
		control: Control | null,
		self: ActorRef<PlacementNews>,
		correlationId: string,
		claim: (beforeIts202: boolean) => TaskClaim,
		sendLater: () => void,
	) {
		this.#control = control;
		this.#self = self;
		this.#correlationId = correlationId;
		this.#claim = claim;
		this.#sendLater = sendLater;
	}

	get lease(): Lease | null {
		return this.#lease;
	}

	/** A submission is out that has not had its last answer. */
	get placing(): boolean {
		return this.#placing;
	}

	/** The link had no room for something. */
	get behind(): boolean {
		return this.#unsent.length > 0;
	}

	/** Something is still to come back, or to be sent: the task may not go yet. */
	get open(): boolean {
		return this.#placing || this.#lease !== null || this.#unsent.length > 0;
	}

	submit(summary: TaskSummary): Delivery {
		const sent = this.#tell({ type: 'submit', summary, claim: this.#claim(true), again: false, replyTo: this.#self });
		this.#placing = sent === 'accepted';
		return sent;
	}

	/** To a new control thread: a task that has its 202 is not refused for a full link, it waits for room. */
	submitAgain(summary: TaskSummary): void {
		this.#placing = true;
		this.#send({ type: 'submit', summary, claim: this.#claim(false), again: true, replyTo: this.#self });
	}

	/** The submission has its last answer. */
	placed(): void {
		this.#placing = false;
		this.#withdrawal = null;
	}

	/** Of a control thread that is gone: its pool and its leases are gone with it. */
	isStale(lease: Lease): boolean {
		return this.#control !== null && lease.epoch < this.#control.epoch;
	}

	take(lease: Lease): void {
		if (this.#lease !== null) throw new Error('task: took a second lease');
		this.#lease = lease;
	}

	holds(lease: Lease): boolean {
		return this.#lease !== null && lease.id === this.#lease.id && lease.epoch === this.#lease.epoch;
	}

	/** Out of the queue, if still in it. Until the pool has answered, a grant may be on its way to us. */
	withdraw(poolId: string, taskId: string, reason: string): void {
		if (!this.#placing || this.#withdrawal?.poolId === poolId) return;
		const unsent = this.#unsent.findIndex((command) => command.type === 'submit');
		if (unsent >= 0) {
			this.#unsent.splice(unsent, 1);
			this.placed();
			return;
		}
		this.#withdrawal = { type: 'withdraw', poolId, taskId, reason };
		this.#sendWithdrawal();
	}

	settle(settlement: Settlement): void {
		const lease = this.#lease;
		if (lease === null) throw new Error('task: a second settlement');
		this.#lease = null;
		this.#send({ type: 'settle', lease, settlement, correlationId: this.#correlationId });
	}

	/** A slot that came too late, or twice. */
	giveBack(lease: Lease, reason: string): void {
		const settlement = { outcome: 'unused', slot: 'free', tokensIn: 0, tokensOut: 0, prefillMs: 0, decodeMs: 0, reason } as const;
		this.#send({ type: 'settle', lease, settlement, correlationId: this.#correlationId });
	}

	/** What the link refused, in order, and a withdrawal that nobody has answered. */
	sendAgain(): void {
		while (this.#unsent.length > 0) {
			// `closed`: the ledger that the lease was in has died with its thread.
			if (this.#tell(this.#unsent[0] as DispatcherCommand) === 'full') return this.#sendLater();
			this.#unsent.shift();
		}
		this.#sendWithdrawal();
	}

	controlLost(): void {
		this.#control = null;
		this.placed();
		this.#unsent = [];
	}

	/** A new control thread, which is told of our lease. False when there is none. */
	controlBack(control: Control, summary: TaskSummary): boolean {
		this.controlLost();
		this.#control = control;
		if (this.#lease === null) return false;
		this.#send({ type: 'report-lease', lease: this.#lease, summary, claim: this.#claim(false), replyTo: this.#self });
		return true;
	}

	#sendWithdrawal(): void {
		if (this.#withdrawal === null) return;
		if (this.#tell(this.#withdrawal) === 'closed' || ++this.#withdrawals > withdrawalsMax) this.placed();
		else this.#sendLater();
	}

	#send(command: DispatcherCommand): void {
		this.#unsent.push(command);
		if (this.#unsent.length === 1) this.sendAgain();
	}

	#tell(command: DispatcherCommand): Delivery {
		return this.#control?.dispatcher.tell(command) ?? 'closed';
	}
}
