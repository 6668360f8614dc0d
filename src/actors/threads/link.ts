/**
 * A link between the actor systems of two threads. All that the turns of one pass of the event loop have for the other thread
 * leaves as one batch, for to wake a thread costs more than what it is told; credits bound what is under way; a ref crosses only
 * in the field `replyTo`, as an address. Lives on each of the two threads, one half each; knows nothing of what the messages mean.
 *
 * Credits: each direction has a window of ordinary messages and a reserve for urgent ones, so that what ends things (a
 * settlement, a withdrawal) is never refused because of what begins them. They come back with the next batch of the other
 * direction, or in a batch of their own once half a window is owed.
 */
import type { StopReason } from '../kernel/behavior.ts';
import type { ForeignCarrier } from '../kernel/foreign.ts';
import type { ActorRef, Delivery } from '../kernel/ref.ts';
import type { ActorSystem } from '../kernel/system.ts';
import type { LinkPort, WireAddress, WireBatch, WireItem } from './link-port.ts';

export interface LinkOptions {
	readonly incarnation: number;
	/** Refs of this side that the peer may ask for by name. */
	readonly names: Readonly<Record<string, ActorRef<never>>>;
	/** `type`s of messages that travel on the reserve. */
	readonly urgent: ReadonlySet<string>;
	/** Ordinary messages under way at most. Default 4 096. */
	readonly window?: number;
	/** Urgent messages under way at most. Default 16 384. */
	readonly reserve?: number;
	/** The peer has told its names. */
	readonly onPeer: (peer: Peer) => void;
	/** The peer is gone; its refs have ended. Once. */
	readonly onLost: () => void;
}

/** The other side, once it has introduced itself. */
export interface Peer {
	/** A ref of the peer by its name; asking for one it did not tell is a bug. */
	remote<M>(name: string): ActorRef<M>;
}

export interface Credits {
	readonly ordinary: number;
	readonly urgent: number;
}

interface Typed {
	readonly type?: unknown;
	readonly replyTo?: unknown;
}

export class Link implements ForeignCarrier {
	readonly #system: ActorSystem;
	readonly #port: LinkPort;
	readonly #options: Required<LinkOptions>;
	#items: WireItem[] = [];
	#flushDue = false;
	#lost = false;
	#ordinaryLeft: number;
	#urgentLeft: number;
	/** Credits that the peer has not had back. */
	#ordinaryOwed = 0;
	#urgentOwed = 0;
	readonly #unwatch = new Map<number, () => void>();
	/** Batches of older incarnations, messages whose actor was gone or full. */
	stale = 0;
	undelivered = 0;
	batchesSent = 0;

	constructor(system: ActorSystem, port: LinkPort, options: LinkOptions) {
		this.#system = system;
		this.#port = port;
		this.#options = { window: 4_096, reserve: 16_384, ...options };
		this.#ordinaryLeft = this.#options.window;
		this.#urgentLeft = this.#options.reserve;
		port.onBatch = (batch) => this.#onBatch(batch);
		port.onClosed = () => this.lose();
		const names = Object.fromEntries(Object.entries(options.names).map(([name, ref]) => [name, system.exportId(ref)]));
		this.#put({ kind: 'names', names });
	}

	/**
	 * Messages that may be sent now, and what the peer may send but does not know of yet. With nothing under way `left` here and
	 * `owed` there make a whole window: no credit was lost.
	 */
	get credits(): { readonly left: Credits; readonly owed: Credits } {
		return {
			left: { ordinary: this.#ordinaryLeft, urgent: this.#urgentLeft },
			owed: { ordinary: this.#ordinaryOwed, urgent: this.#urgentOwed },
		};
	}

	tell(to: number, message: unknown): Delivery {
		if (this.#lost) return 'closed';
		const { type, replyTo } = message as Typed;
		const urgent = typeof type === 'string' && this.#options.urgent.has(type);
		if (urgent ? this.#urgentLeft < 1 : this.#ordinaryLeft < 1) return 'full';
		if (urgent) this.#urgentLeft -= 1;
		else this.#ordinaryLeft -= 1;
		const crossing =
			replyTo === undefined || replyTo === null
				? message
				: { ...(message as object), replyTo: this.#addressOf(replyTo as ActorRef<never>) };
		this.#put({ kind: 'tell', to, urgent, message: crossing });
		return 'accepted';
	}

	watch(id: number): void {
		this.#put({ kind: 'watch', id });
	}

	unwatch(id: number): void {
		this.#put({ kind: 'unwatch', id });
	}

	/** The peer is gone. Idempotent. */
	lose(): void {
		if (this.#lost) return;
		this.#lost = true;
		this.#items = [];
		for (const unwatch of this.#unwatch.values()) unwatch();
		this.#unwatch.clear();
		this.#port.close();
		this.#system.foreignLost(this);
		this.#options.onLost();
	}

	#put(item: WireItem): void {
		if (this.#lost) return;
		this.#items.push(item);
		this.#flushSoon();
	}

	/** Once the other callbacks of this pass have had their turns: what they tell goes with it. */
	#flushSoon(): void {
		if (this.#flushDue) return;
		this.#flushDue = true;
		this.#system.host.yieldThen(this.#flush);
	}

	readonly #flush = (): void => {
		this.#flushDue = false;
		if (this.#lost) return;
		const batch: WireBatch = {
			incarnation: this.#options.incarnation,
			items: this.#items,
			ordinary: this.#ordinaryOwed,
			urgent: this.#urgentOwed,
		};
		this.#items = [];
		this.#ordinaryOwed = 0;
		this.#urgentOwed = 0;
		this.batchesSent += 1;
		this.#port.post(batch);
	};

	#onBatch(batch: WireBatch): void {
		if (this.#lost) return;
		if (batch.incarnation !== this.#options.incarnation) {
			this.stale += 1;
			return;
		}
		this.#ordinaryLeft += batch.ordinary;
		this.#urgentLeft += batch.urgent;
		for (const item of batch.items) this.#onItem(item);
		const { window, reserve } = this.#options;
		if (this.#ordinaryOwed * 2 >= window || this.#urgentOwed * 2 >= reserve) this.#flushSoon();
	}

	#onItem(item: WireItem): void {
		switch (item.kind) {
			case 'tell':
				this.#onTell(item.to, item.urgent, item.message);
				return;
			case 'watch':
				this.#onWatch(item.id);
				return;
			case 'unwatch':
				this.#unwatch.get(item.id)?.();
				this.#unwatch.delete(item.id);
				return;
			case 'ended':
				this.#system.foreignTerminated(this, item.id, item.reason);
				return;
			case 'names':
				this.#onNames(item.names);
				return;
		}
	}

	#onTell(to: number, urgent: boolean, message: unknown): void {
		if (urgent) this.#urgentOwed += 1;
		else this.#ordinaryOwed += 1;
		const { replyTo } = message as Typed;
		const local =
			replyTo === undefined || replyTo === null ? message : { ...(message as object), replyTo: this.#refOf(replyTo as WireAddress) };
		// An actor that has ended in the meantime is ordinary; one that is full was given too small a mailbox for its links.
		if (this.#system.deliver(to, local) === 'full') {
			this.undelivered += 1;
			const { type } = message as Typed;
			this.#system.host.telemetry.log('error', 'link-undelivered', {
				name: String(type),
				human: 'A message from another thread found its mailbox full.',
			});
		}
	}

	#onWatch(id: number): void {
		if (this.#unwatch.has(id)) return;
		let ended = false;
		const unwatch = this.#system.watchExported(id, (reason: StopReason) => {
			ended = true;
			this.#unwatch.delete(id);
			this.#put({ kind: 'ended', id, reason });
		});
		if (!ended) this.#unwatch.set(id, unwatch);
	}

	#onNames(names: Readonly<Record<string, number>>): void {
		this.#options.onPeer({
			remote: <M>(name: string): ActorRef<M> => {
				const id = names[name];
				if (id === undefined) throw new Error(`the peer has no ref named ${name}; it has ${Object.keys(names).join(', ')}`);
				return this.#system.foreign<M>(this, id);
			},
		});
	}

	#addressOf(ref: ActorRef<never>): WireAddress {
		const theirs = this.#system.foreignId(this, ref);
		return theirs === null ? { home: 'sender', id: this.#system.exportId(ref) } : { home: 'receiver', id: theirs };
	}

	#refOf(address: WireAddress): ActorRef<never> {
		if (address.home === 'sender') return this.#system.foreign<never>(this, address.id);
		return this.#system.exported<never>(address.id);
	}
}
