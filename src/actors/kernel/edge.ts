/**
 * A ref for code that is not an actor: an HTTP handler, a link, a test. Its messages are handed over one by one in the
 * system's turn. Whoever makes one closes it.
 */
import { Address, type Watcher, Watchers } from './address.ts';
import type { StopReason } from './behavior.ts';
import type { ActorRef, Delivery } from './ref.ts';
import { Ring } from './ring.ts';
import type { Runnable } from './scheduler.ts';
import type { SystemCore } from './system-core.ts';

export interface EdgeRef<in M> extends ActorRef<M> {
	/** What waits is dropped, uncounted; later messages are answered `closed`. Idempotent. */
	close(): void;
}

const edgeMailboxMax = 1024;
const closed: StopReason = { kind: 'stopped' };

export class Edge<M> extends Address<M> implements EdgeRef<M>, Runnable {
	scheduled = false;
	readonly #system: SystemCore;
	readonly #onMessage: (message: M) => void;
	readonly #inbox = new Ring<M>(edgeMailboxMax);
	readonly #watchers = new Watchers();
	#open = true;

	constructor(system: SystemCore, onMessage: (message: M) => void) {
		super();
		this.#system = system;
		this.#onMessage = onMessage;
		system.edges += 1;
	}

	tell(message: M): Delivery {
		if (!this.#open) return 'closed';
		if (!this.#inbox.push(message)) return 'full';
		if (!this.scheduled) this.#system.scheduler.schedule(this);
		return 'accepted';
	}

	close(): void {
		if (!this.#open) return;
		this.#open = false;
		this.#inbox.clear();
		this.#system.edges -= 1;
		this.#system.exports.remove(this);
		this.#watchers.end(this, closed);
	}

	get hasWork(): boolean {
		return this.#inbox.length > 0;
	}

	run(max: number): number {
		let handled = 0;
		while (handled < max) {
			const message = this.#inbox.shift();
			if (message === undefined) break;
			handled += 1;
			try {
				this.#onMessage(message);
			} catch (error) {
				const words = error instanceof Error ? { message: error.message, stack: error.stack } : { message: String(error) };
				this.#system.host.telemetry.log('error', 'edge-failed', words);
			}
		}
		return handled;
	}

	addWatcher(watcher: Watcher): void {
		this.#watchers.add(watcher, this);
	}

	removeWatcher(watcher: Watcher): void {
		this.#watchers.remove(watcher);
	}
}
