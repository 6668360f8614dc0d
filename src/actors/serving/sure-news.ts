/**
 * News that comes once, and without which a task would wait for ever: what a link had no room for is told again, in order.
 * Part of an actor, which sets the timer.
 */
import type { ActorRef } from '../kernel/ref.ts';
import type { PlacementNews } from './messages.ts';

export class SureNews {
	readonly #later: () => void;
	#untold: { readonly ref: ActorRef<PlacementNews>; readonly news: PlacementNews }[] = [];

	/** `later`: `tellAgain` is to be called, a little later. */
	constructor(later: () => void) {
		this.#later = later;
	}

	tell(ref: ActorRef<PlacementNews>, news: PlacementNews): void {
		if (ref.tell(news) !== 'full') return;
		this.#untold.push({ ref, news });
		this.#later();
	}

	tellAgain(): void {
		const untold = this.#untold;
		this.#untold = [];
		for (const { ref, news } of untold) this.tell(ref, news);
	}
}
