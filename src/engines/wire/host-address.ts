/** Where an engine host listens and what it must be shown, and how both stand in the opaque `address` of `ReplicaFacts`. */
import { secretBytes } from './host-protocol.ts';

/** Never logged whole. */
export interface HostAddress {
	readonly socketPath: string;
	/** 32 bytes. */
	readonly secret: Buffer;
}

/** `unix:<path>#<secret, hex>` */
export function formatAddress(address: HostAddress): string {
	return `unix:${address.socketPath}#${address.secret.toString('hex')}`;
}

export function parseAddress(address: string): HostAddress {
	const hash = address.lastIndexOf('#');
	const secret = Buffer.from(address.slice(hash + 1), 'hex');
	if (!address.startsWith('unix:') || hash < 0 || secret.length !== secretBytes) throw new Error('not the address of an engine host');
	return { socketPath: address.slice('unix:'.length, hash), secret };
}
