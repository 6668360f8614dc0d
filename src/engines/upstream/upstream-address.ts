/** How an engine over HTTP stands in the opaque `address` of `ReplicaFacts`. Holds a key: never logged. */
import type { UpstreamTarget } from './adapter.ts';

const prefix = 'upstream:';

export function formatUpstream(target: UpstreamTarget): string {
	return prefix + JSON.stringify(target);
}

export function isUpstream(address: string): boolean {
	return address.startsWith(prefix);
}

/** Of an address that `formatUpstream` made. */
export function parseUpstream(address: string): UpstreamTarget {
	return JSON.parse(address.slice(prefix.length)) as UpstreamTarget;
}
