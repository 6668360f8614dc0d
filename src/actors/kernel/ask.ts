/**
 * The reply slot of one ask: the ref that the target answers to, the timer, and the watch on the target. Ends exactly once,
 * with the first of reply, timeout and death; what comes later is answered `closed`. The outcome goes to the asker's inbox
 * and is made a message there, so that a bug in that costs the asker, not the one who answered.
 */
import { Address, LocalAddress, type Watcher } from './address.ts';
import type { StopReason } from './behavior.ts';
import type { TimerHandle } from './host.ts';
import type { ActorRef, AskOutcome, Delivery } from './ref.ts';
import { Reserved } from './reserved.ts';
import type { SystemCore } from './system-core.ts';

/** The asker, as its slots see it. */
export interface AskOwner<M> {
	arrived(item: Reserved<M>): void;
	/** True when the asker still wants the outcome of this slot; it is used up by asking. */
	takeAsk(slot: AskSlot<never, M>): boolean;
}

const answered: StopReason = { kind: 'stopped' };

export class AskSlot<in R, M> extends LocalAddress<R> implements Watcher {
	readonly #core: SystemCore;
	readonly #owner: AskOwner<M>;
	readonly #toMessage: (outcome: AskOutcome<R>) => M;
	#target: Address<never> | null = null;
	#timer: TimerHandle | null = null;
	#open = true;

	constructor(core: SystemCore, owner: AskOwner<M>, toMessage: (outcome: AskOutcome<R>) => M) {
		super();
		this.#core = core;
		this.#owner = owner;
		this.#toMessage = toMessage;
	}

	/** Sends the question. Once, by the asker. */
	begin<Q>(target: ActorRef<Q>, question: Q, timeoutMs: number): void {
		this.#core.asks += 1;
		const delivery = target.tell(question);
		if (delivery !== 'accepted') {
			this.#end({ ok: false, reason: delivery, began: 'no' });
			return;
		}
		if (!this.#open) return;
		this.#timer = this.#core.host.setTimer(timeoutMs, () => this.#end({ ok: false, reason: 'timeout', began: 'maybe' }));
		if (target instanceof Address) {
			this.#target = target;
			target.addWatcher(this);
		}
	}

	tell(reply: R): Delivery {
		if (!this.#open) return 'closed';
		this.#end({ ok: true, reply });
		return 'accepted';
	}

	watchedEnded(): void {
		this.#end({ ok: false, reason: 'terminated', began: 'maybe' });
	}

	/** The target ended with the question unread in its mailbox. */
	neverBegan(): void {
		this.#end({ ok: false, reason: 'terminated', began: 'no' });
	}

	/** The asker has ended or starts afresh: nobody waits any more. */
	abandon(): void {
		if (this.#open) this.#close();
	}

	#end(outcome: AskOutcome<R>): void {
		if (!this.#open) return;
		this.#close();
		this.#owner.arrived(new Answer(this.#owner, this, outcome, this.#toMessage));
	}

	#close(): void {
		this.#open = false;
		this.#core.asks -= 1;
		if (this.#timer !== null) this.#core.host.clearTimer(this.#timer);
		this.#timer = null;
		this.#target?.removeWatcher(this);
		this.#target = null;
		this.end(answered);
	}
}

/** The outcome of an ask on its way through the asker's inbox. */
class Answer<R, M> extends Reserved<M> {
	readonly #owner: AskOwner<M>;
	readonly #slot: AskSlot<R, M>;
	readonly #outcome: AskOutcome<R>;
	readonly #toMessage: (outcome: AskOutcome<R>) => M;

	constructor(owner: AskOwner<M>, slot: AskSlot<R, M>, outcome: AskOutcome<R>, toMessage: (outcome: AskOutcome<R>) => M) {
		super();
		this.#owner = owner;
		this.#slot = slot;
		this.#outcome = outcome;
		this.#toMessage = toMessage;
	}

	claim(): boolean {
		return this.#owner.takeAsk(this.#slot);
	}

	open(): M {
		return this.#toMessage(this.#outcome);
	}
}

/** Of a message that will never be read: tells the one who asked by it, if any, that its work has not begun. */
export function answerUnread(message: unknown): void {
	if (typeof message !== 'object' || message === null || !('replyTo' in message)) return;
	if (message.replyTo instanceof AskSlot) message.replyTo.neverBegan();
}
