/**
 * The address of an actor, as every other actor sees it. A ref never says where its actor lives: local, on another
 * thread, or already gone. Owns nothing; kernel and `threads` make the implementations.
 */

/**
 * What became of a message at the moment it was told.
 * - `accepted`: it is in the mailbox, or on its way to the other thread within the link's credit.
 * - `full`: refused, the mailbox or link is at its bound. Nothing was queued.
 * - `closed`: the actor, or the thread it lived on, has ended. Nothing was queued.
 */
export type Delivery = 'accepted' | 'full' | 'closed';

/** Typed address of an actor that understands `M`. `tell` answers at once and never throws. */
export interface ActorRef<in M> {
	tell(message: M): Delivery;
}

/**
 * Asynchronous failure of a request, and whether the work can have begun: `no` is always safe to retry. `terminated` with
 * `no`: the target ended with the question unread.
 */
export interface AskFailed {
	readonly ok: false;
	readonly reason: 'full' | 'closed' | 'timeout' | 'terminated';
	readonly began: 'no' | 'maybe';
}

export type AskOutcome<R> = { readonly ok: true; readonly reply: R } | AskFailed;
