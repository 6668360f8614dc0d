/**
 * News that comes once, and without which a task would wait for ever: what a link had no room for is told again, in order.
 * Part of an actor, which sets the timer.
 */
import type { ActorRef } from '../kernel/ref.ts';

export class SureNews<M> {
	readonly #later: () => void;
	#untold: { readonly ref: ActorRef<M>; readonly news: M }[] = [];

	/** `later`: `tellAgain` is to be called, a little later. */
	constructor(later: () => void) {
		this.#later = later;
	}

	/** All that was told has been taken. */
	get isTold(): boolean {
		return this.#untold.length === 0;
	}

	tell(ref: ActorRef<M>, news: M): void {
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
