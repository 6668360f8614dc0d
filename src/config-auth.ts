/**
 * `auth`, `tls` and the addresses that go with them: the keys in their final form, and what may be bound and shared without them. Pure;
 * part of loading the configuration.
 */
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import type { ConfigFile, KeyFile } from './config-schema.ts';

export interface KeyConfig {
	readonly name: string;
	/** Lower case hex. */
	readonly sha256: string;
	readonly tenant: string;
	readonly roles: readonly ('client' | 'operator' | 'worker')[];
	readonly rate: {
		readonly requestsPerMinute: number | null;
		readonly burst: number;
		readonly tokensPerMinute: number | null;
	};
	readonly budgets: {
		readonly tokens: number | null;
		readonly timeMs: number | null;
		readonly cost: number | null;
		readonly gpuMs: number | null;
	};
}

export interface AuthConfig {
	readonly keys: readonly KeyConfig[];
	readonly publicMetrics: boolean;
}

export function resolveAuth({ keys, public_metrics: publicMetrics }: ConfigFile['auth'], problems: string[]): AuthConfig {
	const resolved = keys.map(keyConfig);
	for (const field of ['name', 'sha256'] as const) {
		for (const [index, key] of resolved.entries()) {
			const first = resolved.findIndex((other) => other[field] === key[field]);
			if (first !== index) problems.push(`auth.keys[${index}].${field} is that of auth.keys[${first}] too; keys must differ`);
		}
	}
	return { keys: resolved, publicMetrics };
}

function keyConfig({ name, sha256, tenant, roles, rate, budgets }: KeyFile): KeyConfig {
	const requestsPerMinute = rate.requests_per_minute ?? null;
	return {
		name,
		sha256: sha256.toLowerCase(),
		tenant,
		roles,
		rate: {
			requestsPerMinute,
			burst: rate.burst ?? Math.max(1, Math.ceil(requestsPerMinute ?? 1)),
			tokensPerMinute: rate.tokens_per_minute ?? null,
		},
		budgets: {
			tokens: budgets.tokens ?? null,
			timeMs: budgets.time_ms ?? null,
			cost: budgets.cost ?? null,
			gpuMs: budgets.gpu_ms ?? null,
		},
	};
}

/** Paths are those of the working directory. */
export function resolveTls({ cert, key }: ConfigFile['tls'], cwd: string, problems: string[]): { cert: string; key: string } | null {
	if (cert !== '' && key !== '') return { cert: resolve(cwd, cert), key: resolve(cwd, key) };
	const [given, missing] = cert === '' ? ['key', 'cert'] : ['cert', 'key'];
	if (cert !== key) problems.push(`tls.${given} is given, but tls.${missing} is not; TLS needs both`);
	return null;
}

/** What is open to others needs keys. */
export function openWithoutKeys(addr: string, hostname: string, origins: readonly string[]): string[] {
	const problems: string[] = [];
	if (!isLoopback(hostname)) {
		const words = 'which other machines can reach; that needs auth.keys: `orchestratord keys new` makes one';
		problems.push(`listen.addr is ${JSON.stringify(addr)}, ${words}`);
	}
	if (origins.includes('*')) problems.push('listen.cors_origins is *, so that any web page could use the daemon; that needs auth.keys');
	return problems;
}

function isLoopback(hostname: string): boolean {
	if (hostname === 'localhost') return true;
	return isIP(hostname) === 4 ? hostname.startsWith('127.') : hostname === '::1';
}
