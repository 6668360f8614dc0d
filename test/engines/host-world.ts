/**
 * Engine hosts for tests and benches: real processes that boot as the daemon boots them, or the same server and backend in
 * the caller's own process, where a test can look inside.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ReplicaFacts } from '../../src/actors/serving/messages.ts';
import { type Child, type ChildExit, spawnChild } from '../../src/engines/child-process.ts';
import { ScriptedBackend } from '../../src/engines/scripted/scripted-backend.ts';
import type { ScriptedFault, ScriptedSettings } from '../../src/engines/scripted/scripted-settings.ts';
import { formatAddress, type HostAddress } from '../../src/engines/wire/host-address.ts';
import { HostConnection } from '../../src/engines/wire/host-connection.ts';
import { type HostBackend, type HostFacts, type HostStatus, secretBytes } from '../../src/engines/wire/host-protocol.ts';
import { HostServer, type HostServerOptions } from '../../src/engines/wire/host-server.ts';

const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'));

export function scriptedSettings(more: Partial<ScriptedSettings> = {}): ScriptedSettings {
	return {
		modelName: 'scripted:test',
		slots: 16,
		ctx: 4096,
		prefillTokensPerS: 1_000_000,
		decodeTokensPerS: 1_000_000,
		tokens: 64,
		loadMs: 0,
		text: 'words',
		record: null,
		faults: [],
		...more,
	};
}

export function scriptedFault(kind: ScriptedFault['kind'], more: Partial<ScriptedFault> = {}): ScriptedFault {
	return { kind, afterTokens: 0, nth: null, promptContains: null, selfTest: false, ...more };
}

/** A private folder with an address in it, as the engine's driver makes one. */
export function privateAddress(): { readonly address: HostAddress; remove(): void } {
	const folder = mkdtempSync(join(tmpdir(), 'orchd-wire-'));
	return {
		address: { socketPath: join(folder, 'host.sock'), secret: randomBytes(secretBytes) },
		remove: () => rmSync(folder, { recursive: true, force: true }),
	};
}

/** What a Replica would say of a host, once its control connection was welcomed. */
function replicaFacts(facts: HostFacts, address: HostAddress): ReplicaFacts {
	return { ...facts, replicaId: 'replica', poolId: 'pool', engine: 'scripted', address: formatAddress(address) };
}

export interface TestHost {
	readonly replica: ReplicaFacts;
	readonly address: HostAddress;
	close(): Promise<void>;
}

/** A server in this process. `trouble` collects what it said of bad connections. */
export interface InnerHost extends TestHost {
	readonly server: HostServer;
	readonly trouble: readonly string[];
}

export async function innerHost(backend: HostBackend, options: Partial<HostServerOptions> = {}): Promise<InnerHost> {
	const { address, remove } = privateAddress();
	const trouble: string[] = [];
	const server = new HostServer(backend, { ...address, onTrouble: (words) => trouble.push(words), ...options });
	await server.listen();
	return {
		server,
		address,
		trouble,
		replica: replicaFacts(backend.facts, address),
		async close() {
			await server.close();
			remove();
		},
	};
}

export interface InnerScriptedHost extends InnerHost {
	readonly backend: ScriptedBackend;
}

export async function innerScriptedHost(
	settings: Partial<ScriptedSettings> = {},
	options: Partial<HostServerOptions> = {},
): Promise<InnerScriptedHost> {
	const backend = new ScriptedBackend(scriptedSettings(settings), () => void host.server.close());
	const host: InnerHost = await innerHost(backend, { stepped: true, ...options });
	backend.onStep = () => host.server.flush();
	return { ...host, backend };
}

export interface HostProcess extends TestHost {
	readonly child: Child;
	/** Resolves when it has ended, with how. */
	readonly ended: Promise<ChildExit>;
	readonly log: readonly string[];
}

/** A host process, from its boot line to its welcome. */
export async function hostProcess(role: 'scripted-host' | 'llama-host', settings: unknown): Promise<HostProcess> {
	const { address, remove } = privateAddress();
	const child = spawnChild({
		command: process.execPath,
		args: [fileURLToPath(new URL(`../../src/roles/${role}${extension}`, import.meta.url)), 'replica'],
		env: null,
		stdio: { stdin: 'pipe', output: 'pipe', status: true },
	});
	const log: string[] = [];
	for (const output of [child.stdout, child.stderr]) {
		if (output !== null) createInterface({ input: output }).on('line', (line) => log.push(line));
	}
	const ended = new Promise<ChildExit>((resolve) => child.onExit(resolve));
	child.stdin?.write(
		`${JSON.stringify({ socketPath: address.socketPath, secret: address.secret.toString('hex'), replicaId: 'replica', settings })}\n`,
	);
	await Promise.race([listening(child), ended.then((exit) => Promise.reject(new Error(`${JSON.stringify(exit)}: ${log.join('\n')}`)))]);
	const facts = await welcomed(address);
	return {
		child,
		ended,
		log,
		address,
		replica: replicaFacts(facts, address),
		async close() {
			child.signal('SIGCONT');
			child.stdin?.end();
			child.end(5_000);
			await ended;
			remove();
		},
	};
}

async function listening(child: Child): Promise<void> {
	if (child.status === null) throw new Error('no status pipe');
	// Several lines may come in one read: none of them may be missed.
	for await (const line of createInterface({ input: child.status })) {
		const status = JSON.parse(line) as HostStatus;
		if (status.type === 'listening') return;
		if (status.type === 'failed') throw new Error(status.failure.message);
	}
	throw new Error('the host closed its status pipe before it listened');
}

/** What a host says of itself. */
export function welcomed(address: HostAddress): Promise<HostFacts> {
	return new Promise((resolve, reject) => {
		const control = new HostConnection(address, {
			onWelcome(facts) {
				resolve(facts);
				control.close('seen');
			},
			onClosed: (why) => reject(new Error(why)),
			onBug: (words) => reject(new Error(words)),
		});
	});
}
