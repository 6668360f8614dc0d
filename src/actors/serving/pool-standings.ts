/** Who in the queue is told of a new place, and when. Part of the Pool actor: one pass a second, in parts. */
import type { PoolForecast } from './pool-forecast.ts';
import type { Waiting } from './pool-tasks.ts';
import type { QueueMark, WaitingQueue } from './queue.ts';
import type { SlotLevels } from './slot-levels.ts';

export const standingsMs = 1_000;
/** Entries of one part, before other messages have their turn. */
const chunk = 1_024;
/** A timer may fire a little early. */
const earlyMs = 2;

/**
 * A part of one pass, from a mark on: who moved is told, none twice a second. Returns where the next part starts; null at the
 * end of the queue.
 */
export function tellStandings(
	queue: WaitingQueue<Waiting>,
	forecast: PoolForecast,
	slots: SlotLevels,
	now: number,
	from: QueueMark | null,
): QueueMark | null {
	return queue.walk(from, chunk, (waiting, place) => {
		if (waiting.toldPosition === place.position || now - waiting.toldAt < standingsMs - earlyMs) return;
		waiting.toldPosition = place.position;
		waiting.toldAt = now;
		waiting.ref.tell({ type: 'standing-changed', standing: forecast.standingAt(waiting.priority, place, waiting.serviceMs, slots) });
	});
}
