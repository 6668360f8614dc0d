/**
 * Which messages must get through when a link between threads has no ordinary credit left: those that end things, and those
 * without which nothing goes on. By the thread that sends them; data only.
 */
import type { DispatcherCommand, EngineThreadCommand, FrontCommand, PlacementNews, ReplicaCommand, ReplicaNews } from './messages.ts';

function types<M extends { readonly type: string }>(...urgent: readonly M['type'][]): ReadonlySet<string> {
	return new Set(urgent);
}

export const urgentFromFronts = types<DispatcherCommand>('settle', 'withdraw', 'report-lease', 'front-joined', 'front-reported');

export const urgentFromControl = types<PlacementNews | FrontCommand | EngineThreadCommand | ReplicaCommand>(
	'granted',
	'refused',
	'withdrawn',
	'replica-lost',
	'pools-changed',
	'start-replica',
	'stop',
	'audit',
);

export const urgentFromEngines = types<ReplicaNews>('replica-started', 'replica-ready', 'replica-failed', 'replica-stopped', 'audited');
