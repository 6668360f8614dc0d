/** Where a reader goes on that has read some events already: its last one, as the API numbers them, becomes a place in the log. Pure. */
import { type EventLogView, eventId } from '../../actors/serving/event-log-view.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';

/** A seq, or `<run>.<seq>`. */
export const eventIdShape = /^(?:(\d{1,9})\.)?(\d{1,15})$/;

type Found = { readonly ok: true; readonly value: number } | { readonly ok: false; readonly failure: Failure };

/** The seq behind which it goes on. `name`: what the client calls it; `given`: of `eventIdShape`; `shown`: the same, for words. */
export function resumePoint(log: EventLogView, name: string, given: string, shown: string): Found {
	const refuse = (words: string): Found => ({ ok: false, failure: failure('INVALID_PARAMS', `${name} is ${shown}; ${words}`) });
	const [, ofRun, digits] = eventIdShape.exec(given) ?? [];
	if (digits === undefined) return refuse(`it must be the id of an event, ${idsOf(log)}`);
	const seq = Number(digits);
	// Before the first event of any run.
	if (seq === 0 && ofRun === undefined) return { ok: true, value: 0 };
	const run = ofRun === undefined ? null : Number(ofRun);
	if ((run === null) !== (log.run === null)) return refuse(`it must be the id of an event of this task, ${idsOf(log)}`);
	if (run !== null && log.run !== null && run < log.run) {
		const words = `${name} is ${shown}, of an earlier run; the daemon has run the task again since, and its events are those of run ${log.run}`;
		return { ok: false, failure: failure('EVENTS_EXPIRED', words) };
	}
	if (run !== log.run || seq > log.lastSeq) return refuse(`the last event of this task is ${eventId(log, log.lastSeq)}`);
	return { ok: true, value: seq };
}

function idsOf({ run, lastSeq }: EventLogView): string {
	return run === null ? `a whole number from 0 to ${lastSeq}` : `from ${run}.1 to ${run}.${lastSeq}, or 0`;
}
