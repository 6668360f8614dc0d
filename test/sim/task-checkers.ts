/** The checkers of what clients were promised: each task's log, each submission, each reading. Run when all is quiet. */
import assert from 'node:assert/strict';
import type { TestPiece } from '../serving/piece-records.ts';
import type { CheckerName } from './checkers.ts';
import type { Submission } from './client.ts';
import type { GenerationRecord } from './decode-wire.ts';
import type { Reading } from './reading.ts';
import { jsonOf, type Token, type Witness } from './witness.ts';

export interface TaskEvidence {
	readonly witnesses: readonly Witness[];
	readonly generations: readonly GenerationRecord[];
	readonly submissions: readonly Submission[];
	readonly readings: readonly Reading[];
	/** Labels of the fronts that live. */
	readonly fronts: ReadonlySet<string>;
	found(checker: CheckerName, words: string): void;
}

export function checkTasks(evidence: TaskEvidence): void {
	const runs = new Map<string, GenerationRecord[]>();
	for (const generation of evidence.generations) {
		const key = `${generation.front} ${generation.taskId}`;
		runs.set(key, [...(runs.get(key) ?? []), generation]);
	}
	for (const witness of evidence.witnesses) {
		eventGrammarHolds(evidence, witness);
		sequencesAreDense(evidence, witness);
		tokensOutIsTheSum(evidence, witness);
		tokensAreThoseMade(evidence, witness, runs.get(`${witness.front} ${witness.taskId}`) ?? []);
		nothingIsLoggedAfterACancel(evidence, witness);
	}
	tasksRunOnce(evidence);
	for (const submission of evidence.submissions) everySubmissionIsAnswered(evidence, submission);
	for (const reading of evidence.readings) watchersSeeTheLog(evidence, reading);
}

const tokensOf = (witness: Witness): Token[] =>
	witness.events.filter((event) => event.name === 'token').map((event) => jsonOf(event) as unknown as Token);

function eventGrammarHolds({ found }: TaskEvidence, witness: Witness): void {
	const names = witness.events.map((event) => event.name).join(' ');
	const whole = /^(started( token)* )?(end|error)$/;
	const cut = /^(started( token)*)?$/;
	const good = whole.test(names) || (witness.cutOff && cut.test(names));
	if (!good) found('eventGrammarHolds', `${witness.taskId} of ${witness.front}: ${names}`);
	if (names.startsWith('started') && !witness.admitted) found('eventGrammarHolds', `${witness.taskId} started without a 202`);
}

function sequencesAreDense({ found }: TaskEvidence, witness: Witness): void {
	const { firstSeq } = witness.task.log;
	for (const [index, { seq }] of witness.events.entries()) {
		if (seq !== index + firstSeq) found('sequencesAreDense', `${witness.taskId}: event ${index + 1} has seq ${seq}`);
	}
	for (const [index, { i }] of tokensOf(witness).entries()) {
		if (i !== index) found('sequencesAreDense', `${witness.taskId}: token ${index} has i ${i}`);
	}
}

function tokensOutIsTheSum({ found }: TaskEvidence, witness: Witness): void {
	const last = witness.events.at(-1);
	if (last?.name !== 'end') return;
	const sum = tokensOf(witness).reduce((tokens, { n }) => tokens + (n ?? 1), 0);
	const { tokens_out: told } = jsonOf(last);
	if (told !== sum) found('tokensOutIsTheSum', `${witness.taskId}: tokens_out is ${String(told)}, its tokens have ${sum}`);
}

function tokensAreThoseMade({ found }: TaskEvidence, witness: Witness, runs: readonly GenerationRecord[]): void {
	const tokens = tokensOf(witness);
	// What several engines made behind each other; what the first of them made and lost, the next has made again.
	const made: TestPiece[] = [];
	for (const run of runs) if (run.begun) made.splice(run.from, Number.POSITIVE_INFINITY, ...run.made);
	const wrong = tokens.findIndex(({ t, n }, index) => t !== made[index]?.text || (n ?? 1) !== made[index]?.n);
	if (wrong >= 0) {
		const expected = made[wrong]?.text ?? 'nothing';
		return found('tokensAreThoseMade', `${witness.taskId}: token ${wrong} is ${tokens[wrong]?.t}, the engine made ${String(expected)}`);
	}
	const last = witness.events.at(-1);
	const done = last?.name === 'end' && jsonOf(last)['canceled'] !== true;
	if (done && tokens.length < made.length) {
		found('tokensAreThoseMade', `${witness.taskId}: done with ${tokens.length} tokens of ${made.length}`);
	}
}

function nothingIsLoggedAfterACancel({ found }: TaskEvidence, witness: Witness): void {
	const { cancelledAt, events, taskId } = witness;
	if (cancelledAt === null || witness.task.log.forgotten) return;
	if (events.length > cancelledAt)
		found('nothingIsLoggedAfterACancel', `${taskId}: 204 behind event ${cancelledAt}, the log has ${events.length}`);
}

/** Whatever fronts it was sent to, and whatever died. */
function tasksRunOnce({ found, generations }: TaskEvidence): void {
	const begun = new Map<string, GenerationRecord[]>();
	for (const run of generations) if (run.begun) begun.set(run.taskId, [...(begun.get(run.taskId) ?? []), run]);
	for (const [taskId, runs] of begun) {
		const [first] = runs;
		const oneFront = runs.every(({ front }) => front === first?.front);
		const mayMove = runs.slice(0, -1).every(({ request }) => !request.strict && request.tellIds);
		// Its slot was lost, by news that overtook what its engine had said: had a token been logged, it would be there twice.
		const unheard = runs.slice(1).every(({ from, request }) => from === 0 && request.resume === null);
		if (runs.length > 1 && !(oneFront && (mayMove || unheard))) {
			found('tasksRunOnce', `${taskId} began on ${runs.map(({ front, address }) => `${address} for ${front}`).join(' and ')}`);
		}
	}
}

function everySubmissionIsAnswered({ found, fronts }: TaskEvidence, { request, front, answers, busy }: Submission): void {
	const count = answers.length + (busy ? 1 : 0);
	const lives = front !== null && fronts.has(front);
	if (count > 1 || (lives && count === 0)) found('everySubmissionIsAnswered', `${request.taskId} to ${front} got ${count} answers`);
}

function watchersSeeTheLog({ found, fronts }: TaskEvidence, reading: Reading): void {
	const { witness, seen, taskId, end } = reading;
	if (witness === null) return;
	// Of one whose front was lost the next front has no more than its end: what was read before comes from copies of the lost log.
	const first = witness.events[0]?.seq ?? 1;
	let due = reading.habits.after + 1;
	for (const event of seen) {
		// What it is told when its task is lost with its front stands in no log of that front.
		if (event.name === 'error' && isFrontLost(event.data) && event.seq >= due && event === seen.at(-1)) {
			if (fronts.has(witness.front) && !witness.ended)
				found('watchersSeeTheLog', `${taskId}: said to be lost with ${witness.front}, which lives`);
			return;
		}
		const logged = witness.events[event.seq - first];
		if (event.seq !== due) return found('watchersSeeTheLog', `${taskId}: event ${event.seq} was read where ${due} was due`);
		due += 1;
		if (event.seq < first) continue;
		if (logged === undefined || logged.name !== event.name || !sameJson(event.data, jsonOf(logged))) {
			return found('watchersSeeTheLog', `${taskId}: event ${event.seq} was read as ${event.name} ${JSON.stringify(event.data)}`);
		}
	}
	if (end === 'terminal' && first === 1 && due - 1 !== witness.events.length) {
		found('watchersSeeTheLog', `${taskId}: its reader stopped at ${due - 1} of ${witness.events.length} events`);
	}
}

function sameJson(a: unknown, b: unknown): boolean {
	try {
		assert.deepEqual(a, b);
		return true;
	} catch (error) {
		if (error instanceof assert.AssertionError) return false;
		throw error;
	}
}

function isFrontLost(data: unknown): boolean {
	return (
		typeof data === 'object' && data !== null && 'message' in data && String(data.message).startsWith('the thread that held this task')
	);
}
