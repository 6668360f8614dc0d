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

/** How messages look while they cross. Made for one link and side: what it packs, in that order, its peer unpacks. */
export interface Forms {
	/** What is cloned instead of `message`, whose ref is an address already. */
	pack(message: unknown): unknown;
	unpack(packed: unknown): unknown;
}

const asTheyAre: Forms = { pack: (message) => message, unpack: (packed) => packed };

/**
 * A batch as it is cloned: items as pairs in one flat list, for the clone writes the keys of every object it meets. The first
 * of a pair is the address of a `tell`, below 0 when it is urgent, and the second its message; or it is one of the words below and the second
 * an id; or null, and the second the whole item.
 */
type PackedBatch = readonly [incarnation: number, ordinary: number, urgent: number, items: readonly unknown[]];

const watchWord = 'w';
const unwatchWord = 'u';
const stoppedWord = 's';

function packed({ incarnation, ordinary, urgent, items }: WireBatch, forms: Forms): PackedBatch {
	const flat: unknown[] = [];
	for (const item of items) {
		if (item.kind === 'tell') flat.push(item.urgent ? -1 - item.to : item.to, forms.pack(item.message));
		else if (item.kind === 'watch') flat.push(watchWord, item.id);
		else if (item.kind === 'unwatch') flat.push(unwatchWord, item.id);
		else if (item.kind === 'ended' && item.reason.kind === 'stopped') flat.push(stoppedWord, item.id);
		else flat.push(null, item);
	}
	return [incarnation, ordinary, urgent, flat];
}

function unpacked([incarnation, ordinary, urgent, flat]: PackedBatch, forms: Forms): WireBatch {
	const items: WireItem[] = [];
	for (let at = 0; at < flat.length; at += 2) items.push(itemOf(flat[at], flat[at + 1], forms));
	return { incarnation, items, ordinary, urgent };
}

function itemOf(first: unknown, second: unknown, forms: Forms): WireItem {
	if (typeof first === 'number')
		return { kind: 'tell', to: first < 0 ? -1 - first : first, urgent: first < 0, message: forms.unpack(second) };
	switch (first) {
		case watchWord:
			return { kind: 'watch', id: second as number };
		case unwatchWord:
			return { kind: 'unwatch', id: second as number };
		case stoppedWord:
			return { kind: 'ended', id: second as number, reason: { kind: 'stopped' } };
		default:
			return second as WireItem;
	}
}

export function messagePortLink(port: MessagePort, forms: Forms = asTheyAre): LinkPort {
	const link: LinkPort = {
		post: (batch) => port.postMessage(packed(batch, forms)),
		onBatch: null,
		onClosed: null,
		close: () => port.close(),
	};
	port.on('message', (batch: PackedBatch) => link.onBatch?.(unpacked(batch, forms)));
	port.on('close', () => link.onClosed?.());
	return link;
}
