/**
 * What must hold in every run, by name, in one sentence each. Some are looked at as things happen (by the queue model, the
 * engines, the fronts), the rest when all is quiet: `task-checkers.ts` and `rest-checkers.ts`.
 */
export const checkers = {
	eventGrammarHolds: 'the events of a task are [started → token*] → end|error, with one terminal event and nothing behind it',
	sequencesAreDense: 'seq counts from 1 by 1 over all events of a task, i from 0 by 1 over its tokens',
	tokensOutIsTheSum: 'tokens_out of the end is the sum of n over the tokens',
	tokensAreThoseMade: 'the tokens logged are a prefix of those that its engines made, each behind the last; all of them when it is done',
	nothingIsLoggedAfterACancel: 'once a cancel is answered, the log has its terminal event and gains nothing',
	watchersSeeTheLog: 'what a client has read, over however many connections, is a gapless part of the log, to its end if it stayed',
	slotsAreNotDoubleBooked: 'no engine is given more work than it has slots, a lease twice, or company beside an exclusive lease',
	leasesAreSettledOnce: 'no lease is granted twice, none is settled twice',
	epochsAreFenced: 'a control thread grants leases of its own epoch only, and no task starts on an older one than it has reported to',
	ledgerIsTheSumOfLeases:
		'behind every message slots, queue and budgets are the sum of their leases; when all is quiet every slot of every replica is free',
	budgetsAreKept:
		'the tasks of a session never use more tokens than its budget has, unless all threads that know of it died; undisturbed, what is left is the budget without what they used',
	queueStaysInBounds: 'no queue holds more tasks or bytes than it may',
	queueIsFifo: 'of one tenant and class, whoever comes first in its order is granted a slot first',
	tasksRunOnce: 'one id is begun by one engine at a time, on one front, and by one alone if it may not move',
	everySubmissionIsAnswered: 'every submission gets exactly one answer, unless its front died',
	everyTaskEnds: 'after the faults every task ends, every reader gets to an end, every thread and engine is back',
	cachesAreEmptiedBetween: 'what a replica has cached on the disk is taken away only while its thread runs no engine of it',
	memoryIsShared: 'models that are loaded on demand never take more of a device than it has, all together',
	busyModelsStay: 'a model is unloaded only while its engine works on nothing',
	taskRollIsTrue: 'a task is on the roll from its 202 to its end, once',
	nothingIsLeftAtRest: 'at rest there is no actor, timer, ask, edge, export or watch but those that stay; after the end none',
	creditsComeBack: 'at rest every link has its whole window, and nothing that a link carried was refused behind it',
	nothingIsLoggedAsABug: 'no actor fails, and nobody logs an error but the replicas whose engines fail',
	runsAreReproducible: 'two runs of one seed have the same trace',
} as const;

export type CheckerName = keyof typeof checkers;
