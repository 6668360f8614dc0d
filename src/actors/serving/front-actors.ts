/**
 * The actors of a front thread that stand between its clients and its tasks, and how they know each other. With other fronts
 * on the port there are two more: the desk, where those ask for tasks of this one, and `elsewhere`, which asks for theirs.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { ActorSystem } from '../kernel/system.ts';
import type { DecodePort } from './decode.ts';
import { desk } from './desk.ts';
import type { DeskCommand } from './desk-messages.ts';
import { type ElsewhereMessage, elsewhere } from './elsewhere.ts';
import type { JournalLine } from './journal-line.ts';
import type { RateLimit } from './rate-limit.ts';
import type { TaskRoll, TranscriptKeeper } from './task-messages.ts';
import type { TaskRegistry } from './task-registry.ts';
import { type TasksMessage, tasks } from './tasks.ts';

export interface FrontActorsOptions {
	readonly frontId: string;
	/** All fronts on the port, by number. */
	readonly fronts: readonly string[];
	readonly registry: TaskRegistry;
	readonly decode: DecodePort;
	readonly roll: TaskRoll;
	/** Default: none. */
	readonly rates?: RateLimit;
	/** Default: nobody. */
	readonly transcripts?: TranscriptKeeper | null;
	/** Default: nothing is kept. */
	readonly journal?: JournalLine | null;
	readonly mailboxMax?: number;
}

export interface FrontActors {
	readonly tasks: ActorRef<TasksMessage>;
	/** Null on an only front. */
	readonly elsewhere: ActorRef<ElsewhereMessage> | null;
	readonly desk: ActorRef<DeskCommand> | null;
	/** As other threads ask for them. */
	readonly names: Readonly<Record<string, ActorRef<never>>>;
}

const mailboxDefault = 65_536;

export function spawnFrontActors(system: ActorSystem, options: FrontActorsOptions): FrontActors {
	const { frontId, fronts, registry, decode, roll, rates, transcripts = null, journal = null } = options;
	const spawned = { mailboxMax: options.mailboxMax ?? mailboxDefault };
	const alone = fronts.length === 1;
	const elsewhereRef = alone ? null : system.spawn('elsewhere', elsewhere({ frontId, fronts, registry }), spawned);
	const tasksRef = system.spawn(
		'tasks',
		tasks({ frontId, registry, decode, roll, transcripts, elsewhere: elsewhereRef, journal, ...(rates === undefined ? {} : { rates }) }),
		spawned,
	);
	if (elsewhereRef === null) return { tasks: tasksRef, elsewhere: null, desk: null, names: { front: tasksRef } };
	const deskRef = system.spawn('desk', desk({ registry, tasks: tasksRef }), spawned);
	return { tasks: tasksRef, elsewhere: elsewhereRef, desk: deskRef, names: { front: tasksRef, desk: deskRef, elsewhere: elsewhereRef } };
}
