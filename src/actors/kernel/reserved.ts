/**
 * A message that an actor has asked for itself: a timer that fired, the outcome of an ask. It waits in the inbox among the
 * told ones, in the order of its coming, but is never refused: there are no more of them than timers and asks of the actor.
 * Whether it is still wanted is known only when it is read.
 */
export abstract class Reserved<out M> {
	/** False when it was replaced, cancelled or forgotten meanwhile. Called once, when it is read. */
	abstract claim(): boolean;
	/** The message. Runs code of the actor, in the actor's turn. */
	abstract open(): M;
}
