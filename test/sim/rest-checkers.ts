/** The checkers of rest: what may be left when every task has ended, and after the daemon has ended too. */
import type { CheckerName } from './checkers.ts';
import type { EngineProcess } from './engine-process.ts';
import { FrontRole } from './front-role.ts';
import type { Plan, PoolSettings } from './plan.ts';
import type { SimThread } from './sim-thread.ts';

export interface RestEvidence {
	readonly plan: Plan;
	readonly threads: ReadonlyMap<string, SimThread>;
	/** Also those that died. */
	readonly all: readonly SimThread[];
	readonly processes: ReadonlyMap<string, EngineProcess>;
	found(checker: CheckerName, words: string): void;
}

export const slotsOf = (plan: Plan, poolId: string): number => {
	const spec = plan.pools.find((pool) => pool.poolId === poolId);
	// One that is loaded on demand has been idle for long.
	if (spec?.residency.kind === 'on_demand') return 0;
	return spec === undefined ? 0 : spec.replicas * (spec.settings as PoolSettings).slots;
};

export function checkRest(evidence: RestEvidence): void {
	ledgerIsTheSumOfLeases(evidence);
	nothingIsLeftAtRest(evidence);
	creditsComeBack(evidence);
	nothingIsLoggedAsABug(evidence);
}

/** As all fronts know it. */
function ledgerIsTheSumOfLeases({ plan, threads, all, processes, found }: RestEvidence): void {
	for (const { label, telemetry } of all) {
		const drifts = telemetry.total('ledger_drift_total');
		if (drifts > 0) found('ledgerIsTheSumOfLeases', `${label}: ${telemetry.errors.join('; ')}`);
	}
	for (const { role, label } of threads.values()) {
		if (!(role instanceof FrontRole)) continue;
		for (const { poolId, slotsTotal, slotsFree, queueDepth } of role.registry.pools) {
			const waiting = queueDepth.interactive + queueDepth.batch;
			if (slotsFree === slotsTotal && slotsTotal === slotsOf(plan, poolId) && waiting === 0) continue;
			found('ledgerIsTheSumOfLeases', `${label}: ${poolId} has ${slotsFree} of ${slotsTotal} slots free, ${waiting} wait`);
		}
	}
	for (const process of processes.values()) {
		if (process.running.size > 0) found('ledgerIsTheSumOfLeases', `${process.address} still runs ${process.busy().join()}`);
	}
}

function nothingIsLeftAtRest({ plan, threads, found }: RestEvidence): void {
	const replicas = plan.pools.reduce((sum, pool) => sum + (pool.residency.kind === 'always' ? pool.replicas : 0), 0);
	// Of memory, where any is shared.
	const keepers = plan.pools.some(({ residency }) => residency.kind === 'on_demand') ? 1 : 0;
	const pools = plan.pools.length;
	const alone = plan.fronts.length === 1;
	let replicasFound = 0;
	for (const { name, label, role, system } of threads.values()) {
		const { actors, timers, asks, edges, exports, foreignWatched } = system.stats;
		const is = { actors, timers, asks, edges, exports, foreignWatched };
		const none = { asks: 0, edges: 0 };
		const wanted =
			role instanceof FrontRole
				? {
						actors: alone ? 1 : 3,
						timers: role.registry.finishedCount > 0 ? 1 : Math.min(timers, 1),
						...none,
						exports: alone ? 1 : 3,
						foreignWatched: 1 + 2 * (plan.fronts.length - 1),
					}
				: name === 'control'
					? {
							actors: 1 + pools + keepers,
							// One of each pool, and one of the sessions.
							timers: pools + 1,
							...none,
							// One that was never loaded has spoken to no other thread.
							exports: keepers === 0 ? 1 + pools : Math.min(exports, 1 + pools),
							foreignWatched: plan.fronts.length + plan.engineThreads.length + replicas,
						}
					: { actors, timers: 0, ...none, exports: actors, foreignWatched: 0 };
		if (name.startsWith('engine')) replicasFound += actors - 1;
		const words = `${label} has ${JSON.stringify(is)}, at rest it is ${JSON.stringify(wanted)}`;
		if (JSON.stringify(sorted(is)) !== JSON.stringify(sorted(wanted))) found('nothingIsLeftAtRest', words);
		if (!(role instanceof FrontRole)) continue;
		const { registry, decode, rollSize, watchers } = role;
		if (registry.liveCount + decode.inFlight + rollSize + watchers.count > 0) {
			const counts = `${registry.liveCount} tasks, ${decode.inFlight} generations, ${rollSize} on the roll, ${watchers.count} watchers`;
			found('nothingIsLeftAtRest', `${label}: ${counts}`);
		}
		registry.check();
	}
	if (replicasFound !== replicas) found('nothingIsLeftAtRest', `${replicasFound} replicas run, ${replicas} are configured`);
}

function creditsComeBack({ plan, threads, found }: RestEvidence): void {
	const { window, reserve } = plan.link;
	for (const { name, links, label } of threads.values()) {
		for (const [peer, link] of links) {
			const back = threads.get(peer)?.links.get(name);
			const ordinary = link.credits.left.ordinary + (back?.credits.owed.ordinary ?? 0);
			const urgent = link.credits.left.urgent + (back?.credits.owed.urgent ?? 0);
			if (ordinary !== window || urgent !== reserve) {
				found('creditsComeBack', `${label} → ${peer}: ${ordinary} of ${window} ordinary, ${urgent} of ${reserve} urgent`);
			}
			if (link.undelivered > 0) found('creditsComeBack', `${peer} → ${label}: ${link.undelivered} messages found their mailbox full`);
		}
	}
}

function nothingIsLoggedAsABug({ all, found }: RestEvidence): void {
	for (const { label, system, telemetry } of all) {
		const { failures } = system.stats;
		const errors = telemetry.errors.filter((line) => !line.startsWith('replica-failed'));
		if (failures > 0 || errors.length > 0) found('nothingIsLoggedAsABug', `${label}: ${failures} failures; ${errors.join('; ')}`);
	}
}

/** The daemon has ended in order. */
export function checkEnd({ threads, found }: RestEvidence, timersLeft: number): void {
	for (const { label, system } of threads.values()) {
		const { actors, timers, asks, edges, exports, foreignWatched } = system.stats;
		const left = { actors, timers, asks, edges, exports, foreignWatched };
		if (Object.values(left).some((count) => count > 0)) found('nothingIsLeftAtRest', `${label} ended with ${JSON.stringify(left)}`);
	}
	if (timersLeft > 0) found('nothingIsLeftAtRest', `${timersLeft} timers of hosts are left after the end`);
}

function sorted(record: Readonly<Record<string, number>>): [string, number][] {
	return Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
}
