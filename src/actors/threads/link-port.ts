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

/** All that one thread has for another at the end of a turn. */
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

export function messagePortLink(port: MessagePort): LinkPort {
	const link: LinkPort = {
		post: (batch) => port.postMessage(batch),
		onBatch: null,
		onClosed: null,
		close: () => port.close(),
	};
	port.on('message', (batch: WireBatch) => link.onBatch?.(batch));
	port.on('close', () => link.onClosed?.());
	return link;
}
