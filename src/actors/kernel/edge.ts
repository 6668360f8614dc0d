/**
 * A ref for code that is not an actor: an HTTP handler, a link, a test. Its messages are handed over one by one in the
 * system's turn. Whoever makes one closes it.
 */
import { LocalAddress } from './address.ts';
import type { StopReason } from './behavior.ts';
import type { ActorRef, Delivery } from './ref.ts';
import { Ring } from './ring.ts';
import type { Runnable } from './scheduler.ts';
import type { SystemCore } from './system-core.ts';
import { errorFields } from './telemetry.ts';

export interface EdgeRef<in M> extends ActorRef<M> {
	/** What waits is dropped, uncounted; later messages are answered `closed`. Idempotent. */
	close(): void;
}

export interface EdgeOptions {
	/** Messages that may wait; above it `tell` answers `full`. Default 1 024. */
	readonly mailboxMax?: number;
}

const mailboxDefault = 1024;
const closed: StopReason = { kind: 'stopped' };

export class Edge<M> extends LocalAddress<M> implements EdgeRef<M>, Runnable {
	scheduled = false;
	readonly #core: SystemCore;
	readonly #onMessage: (message: M) => void;
	readonly #inbox: Ring<M>;
	#open = true;

	constructor(core: SystemCore, onMessage: (message: M) => void, options: EdgeOptions) {
		super();
		this.#core = core;
		this.#onMessage = onMessage;
		this.#inbox = new Ring(options.mailboxMax ?? mailboxDefault);
		core.edges += 1;
	}

	tell(message: M): Delivery {
		if (!this.#open) return 'closed';
		if (!this.#inbox.push(message)) return 'full';
		if (!this.scheduled) this.#core.scheduler.schedule(this);
		return 'accepted';
	}

	close(): void {
		if (!this.#open) return;
		this.#open = false;
		this.#inbox.clear();
		this.#core.edges -= 1;
		this.end(closed);
	}

	get hasWork(): boolean {
		return this.#inbox.length > 0;
	}

	/** An edge that throws loses that message and is reported; it stays open, for its owner is not ours to end. */
	run(max: number): number {
		let handled = 0;
		while (handled < max && this.#inbox.length > 0) {
			const message = this.#inbox.shift() as M;
			handled += 1;
			if (this.#core.trace !== undefined) this.#core.trace('edge', 'message', message);
			try {
				this.#onMessage(message);
			} catch (error) {
				this.#core.host.telemetry.log('error', 'edge-failed', errorFields(error));
			}
		}
		return handled;
	}
}
