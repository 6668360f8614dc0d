/**
 * Which messages must get through when a link between threads has no ordinary credit left: those that end things, and those
 * without which nothing goes on. By the thread that sends them; data only.
 */
import type { AttachAnswered, DeskCommand, TaskAnswered, TasksListed } from './desk-messages.ts';
import type { TaskClaimed } from './home-messages.ts';
import type { JournalCommand, JournalKept, JournalNews } from './journal-messages.ts';
import type { DispatcherCommand, EngineThreadCommand, FrontCommand, PlacementNews, ReplicaCommand, ReplicaNews } from './messages.ts';
import type { CancelDone } from './task-directory.ts';

function types<M extends { readonly type: string }>(...urgent: readonly M['type'][]): ReadonlySet<string> {
	return new Set(urgent);
}

export const urgentFromFronts = types<
	DispatcherCommand | DeskCommand | JournalCommand | TaskAnswered | AttachAnswered | TasksListed | CancelDone
>(
	'settle',
	'withdraw',
	'report-lease',
	'front-joined',
	'front-reported',
	'report-tasks',
	'report-sessions',
	'tasks-forgotten',
	'join-desk',
	'leave-task',
	'watch-task',
	'cancel-task',
	'give-credit',
	'task-answered',
	'attach-answered',
	'tasks-listed',
	'cancel-done',
	'join-journal',
	'recall-more',
	'keep-end',
	'drop-task',
	'forget-tasks',
);

export const urgentFromStore = types<JournalNews | JournalKept>(
	'journal-joined',
	'recall-sessions',
	'recall-tasks',
	'journal-recalled',
	'journal-kept',
);

export const urgentFromControl = types<PlacementNews | FrontCommand | TaskClaimed | EngineThreadCommand | ReplicaCommand>(
	'granted',
	'refused',
	'withdrawn',
	'count-first',
	'replica-lost',
	'pools-changed',
	'task-claimed',
	'start-replica',
	'keep-pools',
	'attach-surplus',
	'verify-model',
	'ask-memory',
	'change-model',
	'keep-breaker',
	'stop',
	'audit',
);

export const urgentFromEngines = types<ReplicaNews>(
	'replica-started',
	'replica-ready',
	'replica-failed',
	'replica-stopped',
	'audited',
	'model-verified',
	'model-refused',
	'memory-told',
	'replicas-attached',
);
