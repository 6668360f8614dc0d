/**
 * The channel below a link, in a simulation: two ports, each direction in order, every batch under way for a while, and what
 * is under way when a thread dies arrives up to some point and no further. What crosses is copied, and must be plain data.
 */
import type { SimHost } from '../../src/actors/kernel/sim-host.ts';
import { MessageForms } from '../../src/actors/serving/crossing.ts';
import type { LinkPort, WireBatch } from '../../src/actors/threads/link-port.ts';

type Item = { readonly batch: WireBatch } | 'closed';

export class SimPort implements LinkPort {
	onBatch: ((batch: WireBatch) => void) | null = null;
	onClosed: (() => void) | null = null;
	/** Batches that this side has sent and that have not arrived. */
	readonly #underWay: { dropped: boolean }[] = [];
	readonly #wires: SimHost;
	readonly #lag: () => number;
	readonly #forms = new MessageForms();
	/** Arrived before the thread had the port. */
	#early: Item[] = [];
	#host: SimHost | null = null;
	#peer: SimPort | null = null;
	#arrivesAt = 0;
	#closed = false;

	private constructor(wires: SimHost, lag: () => number) {
		this.#wires = wires;
		this.#lag = lag;
	}

	/** `wires` never dies; `lag` says how long the next batch takes. */
	static pair(wires: SimHost, lag: () => number): readonly [SimPort, SimPort] {
		const pair = [new SimPort(wires, lag), new SimPort(wires, lag)] as const;
		pair[0].#peer = pair[1];
		pair[1].#peer = pair[0];
		return pair;
	}

	/** The thread `host` has this port from now on. */
	open(host: SimHost): void {
		this.#host = host;
		for (const item of this.#early.splice(0)) this.#arrive(item);
	}

	post(batch: WireBatch): void {
		if (!this.#closed) this.#send({ batch: crossing(inForm(batch, (message) => this.#forms.pack(message))) as WireBatch });
	}

	close(): void {
		if (this.#closed) return;
		this.#closed = true;
		this.#send('closed');
	}

	/** The thread that had this port is dead. Of what it had sent, the first `kept` batches arrive. */
	die(kept: (underWay: number) => number): void {
		for (const item of this.#underWay.slice(kept(this.#underWay.length))) item.dropped = true;
		this.#host = null;
		this.close();
	}

	#send(item: Item): void {
		const sent = { dropped: false };
		this.#arrivesAt = Math.max(this.#wires.now() + this.#lag(), this.#arrivesAt);
		this.#underWay.push(sent);
		this.#wires.setTimer(this.#arrivesAt - this.#wires.now(), () => {
			this.#underWay.shift();
			if (!sent.dropped && this.#peer !== null) this.#peer.#arrive(item);
		});
	}

	#arrive(item: Item): void {
		if (this.#closed) return;
		if (this.#host === null) this.#early.push(item);
		else this.#host.defer(() => this.#read(item));
	}

	#read(item: Item): void {
		if (this.#closed) return;
		if (item === 'closed') this.onClosed?.();
		else this.onBatch?.(inForm(item.batch, (message) => this.#forms.unpack(message)));
	}
}

/** The copy that structured clone would make; what it would change or refuse is a bug of the sender. */
export function crossing(value: unknown): unknown {
	if (typeof value === 'function' || typeof value === 'symbol') throw new Error(`a ${typeof value} cannot cross to another thread`);
	if (typeof value !== 'object' || value === null) return value;
	if (Array.isArray(value)) return value.map(crossing);
	if (value instanceof Uint8Array || value instanceof Float32Array) return value.slice();
	if (Object.getPrototypeOf(value) !== Object.prototype) throw new Error(`a ${value.constructor.name} cannot cross to another thread`);
	const copy: Record<string, unknown> = {};
	for (const key in value) copy[key] = crossing((value as Readonly<Record<string, unknown>>)[key]);
	return copy;
}

/** As the messages of a real link cross. */
function inForm(batch: WireBatch, of: (message: unknown) => unknown): WireBatch {
	return { ...batch, items: batch.items.map((item) => (item.kind === 'tell' ? { ...item, message: of(item.message) } : item)) };
}
