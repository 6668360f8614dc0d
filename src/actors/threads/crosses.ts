/**
 * A compile-time proof that a message survives the way to another thread: plain data that structured clone keeps as it is,
 * and a ref only in the field `replyTo` of the message itself, which the link swaps for an address.
 */
import type { ActorRef } from '../kernel/ref.ts';

type Primitive = string | number | boolean | bigint | null | undefined;

/** Data that structured clone keeps: no functions, no symbols, no class instances with behaviour, no refs. */
type IsData<T> = [T] extends [never]
	? true
	: unknown extends T
		? true
		: T extends Primitive
			? true
			: T extends ArrayBufferView
				? true
				: T extends ActorRef<never>
					? false
					: T extends (...args: never[]) => unknown
						? false
						: T extends readonly (infer Item)[]
							? IsData<Item>
							: T extends object
								? false extends { [K in keyof T]-?: IsData<T[K]> }[keyof T]
									? false
									: true
								: false;

type CrossesOne<M> = M extends { readonly replyTo: infer R }
	? R extends ActorRef<never> | null
		? IsData<Omit<M, 'replyTo'>>
		: false
	: IsData<M>;

/** `true` when every message of the union may cross; `false` names no culprit: narrow the union to find it. */
export type Crosses<M> = false extends (M extends unknown ? CrossesOne<M> : never) ? false : true;

/** Fails to compile unless `Crosses<M>` is true: `assertCrosses<DispatcherCommand>(true)`. */
export function assertCrosses<M>(_proof: Crosses<M>): void {}
