/** Who in the queue is told of a new place, and when. Part of the Pool actor: one pass a second, in parts. */
import type { PoolLoad } from './eta.ts';
import type { PoolForecast } from './pool-forecast.ts';
import type { Waiting } from './pool-tasks.ts';
import type { WaitingQueue } from './queue.ts';

export const standingsMs = 1_000;
/** Entries of one part, before other messages have their turn. */
const chunk = 1_024;
/** A timer may fire a little early. */
const earlyMs = 2;

/**
 * A part of one pass, from place `from` on: who moved is told, none twice a second. Returns where the next part starts; null
 * at the end of the queue.
 */
export function tellStandings(
	queue: WaitingQueue<Waiting>,
	forecast: PoolForecast,
	load: PoolLoad,
	now: number,
	from: number,
): number | null {
	const first = queue.at(from);
	if (first === undefined) return null;
	let workAheadMs = queue.placeOf(first.taskId)?.workAheadMs ?? 0;
	const until = Math.min(queue.length, from + chunk);
	for (let position = from; position < until; position += 1) {
		const waiting = queue.at(position);
		if (waiting === undefined) return null;
		if (waiting.toldPosition !== position && now - waiting.toldAt >= standingsMs - earlyMs) {
			waiting.toldPosition = position;
			waiting.toldAt = now;
			waiting.ref.tell({ type: 'standing-changed', standing: forecast.standingAt({ position, workAheadMs }, waiting.serviceMs, load) });
		}
		workAheadMs += waiting.workMs;
	}
	return until < queue.length ? until : null;
}
