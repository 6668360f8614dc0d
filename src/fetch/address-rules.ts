/**
 * Where a fetch may be led to. Pure. A source on the network must not be able to make the daemon ask the machines behind it: a redirect
 * never leads to a nearer kind of address than its origin has, never away from TLS, and to another host only where the bytes are known
 * beforehand by their digest, or where the two belong together.
 */
import { BlockList, isIPv6 } from 'node:net';

/** The higher, the further away. */
export const reach = { loopback: 0, private: 1, public: 2 } as const;
export type Reach = (typeof reach)[keyof typeof reach];

const loopback = listOf([
	['127.0.0.0', 8],
	['::1', 128],
]);
const near = listOf([
	['0.0.0.0', 8],
	['10.0.0.0', 8],
	['100.64.0.0', 10],
	['169.254.0.0', 16],
	['172.16.0.0', 12],
	['192.0.0.0', 24],
	['192.168.0.0', 16],
	['198.18.0.0', 15],
	['224.0.0.0', 3],
	['::', 128],
	['fc00::', 7],
	['fe80::', 10],
	['ff00::', 8],
]);

function listOf(subnets: readonly (readonly [string, number])[]): BlockList {
	const list = new BlockList();
	for (const [net, prefix] of subnets) list.addSubnet(net, prefix, isIPv6(net) ? 'ipv6' : 'ipv4');
	return list;
}

/** Of an address as `net` writes it. One of version 4 in the clothes of version 6 is what it is inside. */
export function reachOf(address: string): Reach {
	const inner = embeddedV4(address);
	if (inner !== null) return reachOf(inner);
	const family = isIPv6(address) ? 'ipv6' : 'ipv4';
	if (loopback.check(address, family)) return reach.loopback;
	return near.check(address, family) ? reach.private : reach.public;
}

/** Mapped, compatible, or translated by NAT64. */
function embeddedV4(address: string): string | null {
	if (!isIPv6(address)) return null;
	const { hostname } = new URL(`http://[${address}]`);
	const [, high, low] = /^\[(?:::|::ffff:|64:ff9b::)([0-9a-f]{1,4}):([0-9a-f]{1,4})\]$/.exec(hostname) ?? [];
	if (high === undefined || low === undefined) return null;
	const word = Number.parseInt(high, 16) * 65_536 + Number.parseInt(low, 16);
	return [24, 16, 8, 0].map((shift) => (word >>> shift) & 255).join('.');
}

/** Hosts that send to others of the same owner. */
const together: readonly (readonly [RegExp, RegExp])[] = [
	[/^(.+\.)?(huggingface\.co|hf\.co)$/, /^(.+\.)?(huggingface\.co|hf\.co)$/],
	[/^(.+\.)?(github\.com|ghcr\.io)$/, /^(.+\.)?(github\.com|githubusercontent\.com)$/],
];

export interface RedirectRules {
	/** The digest of the bytes is known already. */
	readonly known: boolean;
	readonly redirectHosts: readonly string[];
}

/** Why `to` may not follow `from`; null: it may, if its address may. */
export function redirectProblem(from: URL, to: URL, { known, redirectHosts }: RedirectRules): string | null {
	if (to.protocol !== 'https:' && to.protocol !== 'http:') return `it leads to ${to.protocol}, which is no way to fetch`;
	if (from.protocol === 'https:' && to.protocol !== 'https:') return 'it leads from https to http';
	if (to.username !== '' || to.password !== '') return 'it leads to an address with a password';
	if (from.hostname === to.hostname) return null;
	if (to.protocol === 'http:') return 'it leads over http to another host';
	if (known || related(from.hostname, to.hostname)) return null;
	if (redirectHosts.some((pattern) => isHost(to.hostname, pattern))) return null;
	return `it leads to ${to.hostname}, another host, and the digest of the file is not known: give the model a digest, or name the host in catalog.redirect_hosts`;
}

/** One is the other's domain, or they are known to belong together. */
function related(from: string, to: string): boolean {
	if (from.includes('.') && (to.endsWith(`.${from}`) || (from.endsWith(`.${to}`) && to.includes('.')))) return true;
	return together.some(([a, b]) => a.test(from) && b.test(to));
}

/** `pattern` is a name, or `*.` and a domain. */
export function isHost(host: string, pattern: string): boolean {
	return pattern.startsWith('*.') ? host.endsWith(pattern.slice(1)) : host === pattern;
}
