/**
 * What a link needs of the channel below it: batches in order, and its end. A `MessagePort` in the daemon; a queue with
 * delays and losses in a simulation.
 */
import type { MessagePort } from 'node:worker_threads';
import type { StopReason } from '../kernel/behavior.ts';

/** Address of a ref that crosses: an id, and whose. */
export interface WireAddress {
	/** `sender`: an actor of the thread that sends; `receiver`: one of the thread that reads. */
	readonly home: 'sender' | 'receiver';
	readonly id: number;
}

export type WireItem =
	/** A message for the exported id `to`. `urgent`: it travelled on the reserve. */
	| { readonly kind: 'tell'; readonly to: number; readonly urgent: boolean; readonly message: unknown }
	| { readonly kind: 'watch'; readonly id: number }
	| { readonly kind: 'unwatch'; readonly id: number }
	| { readonly kind: 'ended'; readonly id: number; readonly reason: StopReason }
	/** Refs by name, told once. */
	| { readonly kind: 'names'; readonly names: Readonly<Record<string, number>> };

/** All that one thread has for another at the end of a pass of its event loop. */
export interface WireBatch {
	/** Of the connection: batches of an older one are dropped. */
	readonly incarnation: number;
	readonly items: readonly WireItem[];
	/** Credits given back. */
	readonly ordinary: number;
	readonly urgent: number;
}

export interface LinkPort {
	post(batch: WireBatch): void;
	/** Set by the link before anything is posted. */
	onBatch: ((batch: WireBatch) => void) | null;
	onClosed: (() => void) | null;
	close(): void;
}

/**
 * A batch as it is cloned: items as pairs in one flat list, for the clone writes the keys of every object it meets. The first
 * of a pair is the address of a `tell`, below 0 when it is urgent, or null, and the second its message, or the whole item.
 */
type PackedBatch = readonly [incarnation: number, ordinary: number, urgent: number, items: readonly unknown[]];

function packed({ incarnation, ordinary, urgent, items }: WireBatch): PackedBatch {
	const flat: unknown[] = [];
	for (const item of items) {
		if (item.kind === 'tell') flat.push(item.urgent ? -1 - item.to : item.to, item.message);
		else flat.push(null, item);
	}
	return [incarnation, ordinary, urgent, flat];
}

function unpacked([incarnation, ordinary, urgent, flat]: PackedBatch): WireBatch {
	const items: WireItem[] = [];
	for (let at = 0; at < flat.length; at += 2) {
		const to = flat[at] as number | null;
		if (to === null) items.push(flat[at + 1] as WireItem);
		else items.push({ kind: 'tell', to: to < 0 ? -1 - to : to, urgent: to < 0, message: flat[at + 1] });
	}
	return { incarnation, items, ordinary, urgent };
}

export function messagePortLink(port: MessagePort): LinkPort {
	const link: LinkPort = {
		post: (batch) => port.postMessage(packed(batch)),
		onBatch: null,
		onClosed: null,
		close: () => port.close(),
	};
	port.on('message', (batch: PackedBatch) => link.onBatch?.(unpacked(batch)));
	port.on('close', () => link.onClosed?.());
	return link;
}
