/**
 * A worker thread's own side: its actor system, its heartbeat, its links, and the calls of main. A role's entry file gives
 * what is special about it. Runs on the worker thread.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { expose } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { RealHost } from '../kernel/real-host.ts';
import type { ActorRef } from '../kernel/ref.ts';
import { ActorSystem } from '../kernel/system.ts';
import type { Telemetry } from '../kernel/telemetry.ts';
import { Link, type Peer } from './link.ts';
import { type Forms, messagePortLink } from './link-port.ts';
import { SharedTable } from './shared-table.ts';
import type { MainApi, ThreadApi, ThreadBirth, ThreadFailed } from './thread-api.ts';
import { Vitals } from './vitals.ts';

/** What a role is, once built. */
export interface Role<Facts> {
	readonly facts: Facts;
	/** Refs that peers may ask for by name. The thread is nothing without them: when one fails, it is ended and started again. */
	readonly names: Readonly<Record<string, ActorRef<never>>>;
	/** `type`s of messages that must get through. */
	readonly urgent: ReadonlySet<string>;
	/** For a new link: how its messages cross, the same on both sides. Default: as they are. */
	forms?(): Forms;
	/** A thread is linked; `incarnation` is that thread's. */
	onPeer(name: string, peer: Peer, incarnation: number): void;
	onMain(main: MainApi): void;
	/** See `ThreadApi`. Default: nothing of it may change. */
	configure?(change: unknown): void;
	metrics(): Promise<unknown>;
	/** Grows with all that is counted: while it stands still no counter can fall. Default: nobody knows. */
	counted?(): number;
	inspect(): unknown;
	drain(graceMs: number): Promise<void>;
	/** See `ThreadApi`. Default: there is nobody who reads. */
	conclude?(): Promise<void>;
	stop(): Promise<void>;
	/** After an uncaught error, before the thread is ended: let go of what may not be open then. Must not throw. */
	onUncaught(): void;
}

export interface RoleSurroundings {
	readonly name: string;
	readonly incarnation: number;
	readonly system: ActorSystem;
}

/** A few of them make a thread stuck (`watchdog.ts`); each wakes it, which is most of what an idle thread costs. */
const beatMs = 500;

/** Serves main. `telemetryOf` and `build` run when main calls `start`. */
export function runRole<Config, Facts>(
	telemetryOf: (config: Config, name: string) => Telemetry,
	build: (config: Config, around: RoleSurroundings) => Promise<Role<Facts>>,
): void {
	const port = parentPort;
	if (port === null) throw new Error('a role runs on a worker thread');
	const birth = workerData as ThreadBirth;
	const table = SharedTable.over(birth.table);
	let system: ActorSystem | null = null;
	let vitals: Vitals | null = null;
	let role: Role<Facts> | null = null;
	const links = new Map<string, Link>();

	/** Of the last heartbeat. */
	let lateMs = 0;
	let dueAt = performance.now() + beatMs;
	setInterval(() => {
		const now = performance.now();
		lateMs = Math.max(0, now - dueAt);
		dueAt = now + beatMs;
		table.beat(birth.row, lateMs);
	}, beatMs);
	/** What had been counted when the metrics were told last. */
	let countedThen = Number.NaN;

	const fail = (message: string, stack: string): void => {
		const words: ThreadFailed = { kind: 'thread-failed', message, stack, metrics: null };
		role?.onUncaught();
		const metrics = role?.metrics() ?? Promise.resolve(null);
		metrics.then(
			(last) => port.postMessage({ ...words, metrics: last } satisfies ThreadFailed),
			() => port.postMessage(words),
		);
	};
	process.on('uncaughtException', (error: unknown) => {
		if (error instanceof Error) fail(error.message, error.stack ?? '');
		else fail(String(error), '');
	});

	const api: ThreadApi<Config, Facts> = {
		async start(config) {
			system = new ActorSystem(new RealHost(telemetryOf(config, birth.name)));
			vitals = new Vitals(system, birth.name);
			role = await build(config, { name: birth.name, incarnation: birth.incarnation, system });
			for (const [name, ref] of Object.entries(role.names)) {
				system.watchExported(system.exportId(ref), (reason) => {
					if (reason.kind === 'failed') fail(`${name} failed: ${reason.message}`, '');
				});
			}
			return role.facts;
		},
		attach(main: MainApi) {
			role?.onMain(main);
		},
		connect(peer: string, peerIncarnation: number, incarnation: number, channel: MessagePort) {
			if (role === null || system === null) throw new Error('connect before start');
			const { names, urgent } = role;
			const { onPeer } = role;
			links.get(peer)?.lose();
			const link = new Link(system, messagePortLink(channel, role.forms?.()), {
				incarnation,
				names,
				urgent,
				onPeer: (each) => onPeer(peer, each, peerIncarnation),
				onLost: () => {
					if (links.get(peer) === link) links.delete(peer);
				},
			});
			links.set(peer, link);
		},
		peerLost(peer: string) {
			links.get(peer)?.lose();
		},
		configure(change: unknown) {
			role?.configure?.(change);
		},
		async metrics(ifCounted: boolean) {
			const counted = role?.counted?.() ?? Number.NaN;
			if (ifCounted && counted === countedThen) return null;
			countedThen = counted;
			vitals?.show(lateMs);
			return role?.metrics();
		},
		async inspect() {
			return role?.inspect();
		},
		async drain(graceMs: number) {
			await role?.drain(graceMs);
		},
		async conclude() {
			await role?.conclude?.();
		},
		async stop() {
			// Actors first: that their peers on other threads end as well is no news to them any more.
			system?.shutdown();
			for (const link of [...links.values()]) link.lose();
			await role?.stop();
		},
	};
	expose(api, nodeEndpoint(port));
}
