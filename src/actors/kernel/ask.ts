/**
 * The reply slot of one ask: the ref that the target answers to, the timer, and the watch on the target. Ends exactly once,
 * with the first of reply, timeout and death; what comes later is answered `closed`.
 */
import { Address, addressOf, type Watcher, Watchers } from './address.ts';
import type { StopReason } from './behavior.ts';
import type { TimerHandle } from './host.ts';
import type { ActorRef, AskOutcome, Delivery } from './ref.ts';
import type { SystemCore } from './system-core.ts';

const answered: StopReason = { kind: 'stopped' };

export class AskSlot<in R> extends Address<R> implements Watcher {
	readonly #system: SystemCore;
	readonly #settle: (outcome: AskOutcome<R>) => void;
	readonly #watchers = new Watchers();
	#target: Address<never> | null = null;
	#timer: TimerHandle | null = null;
	#open = true;

	constructor(system: SystemCore, settle: (outcome: AskOutcome<never>) => void) {
		super();
		this.#system = system;
		this.#settle = settle as (outcome: AskOutcome<R>) => void;
		system.asks += 1;
	}

	begin<Q>(target: ActorRef<Q>, timeoutMs: number, build: (replyTo: ActorRef<R>) => Q): void {
		const delivery = target.tell(build(this));
		if (delivery !== 'accepted') {
			this.#end({ ok: false, reason: delivery, began: 'no' });
			return;
		}
		if (!this.#open) return;
		this.#timer = this.#system.host.setTimer(timeoutMs, () => this.#end({ ok: false, reason: 'timeout', began: 'maybe' }));
		if (target instanceof Address) {
			this.#target = addressOf(target);
			this.#target.addWatcher(this);
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

	/** The asker has ended: nobody waits any more. */
	abandon(): void {
		this.#close();
	}

	addWatcher(watcher: Watcher): void {
		this.#watchers.add(watcher, this);
	}

	removeWatcher(watcher: Watcher): void {
		this.#watchers.remove(watcher);
	}

	#end(outcome: AskOutcome<R>): void {
		if (!this.#open) return;
		this.#close();
		this.#settle(outcome);
	}

	#close(): void {
		if (!this.#open) return;
		this.#open = false;
		this.#system.asks -= 1;
		if (this.#timer !== null) this.#system.host.clearTimer(this.#timer);
		this.#target?.removeWatcher(this);
		this.#target = null;
		this.#system.exports.remove(this);
		this.#watchers.end(this, answered);
	}
}
