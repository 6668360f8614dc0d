/** A thread that answers its peers, hangs or throws when told to. */
import type { ActorRef } from '../../../src/actors/kernel/ref.ts';
import { silentTelemetry } from '../../../src/actors/kernel/telemetry.ts';
import { runRole } from '../../../src/actors/threads/thread-role.ts';

export type WorkerMessage =
	| { readonly type: 'ping'; readonly replyTo: ActorRef<{ readonly type: 'pong' }> }
	| { readonly type: 'hang' }
	| { readonly type: 'throw' }
	| { readonly type: 'fail' };

export interface WorkerInspection {
	readonly incarnation: number;
	readonly pongs: number;
	readonly endings: readonly string[];
}

runRole<{ readonly throwAtStart: boolean }, { readonly incarnation: number }>(
	() => silentTelemetry,
	async ({ throwAtStart }, { incarnation, system }) => {
		if (throwAtStart) throw new Error('planted: cannot start');
		const endings: string[] = [];
		let pongs = 0;
		const ref = system.spawn<WorkerMessage>('worker', () => ({
			onMessage(_ctx, message) {
				if (message.type === 'ping') message.replyTo.tell({ type: 'pong' });
				if (message.type === 'hang') for (;;);
				if (message.type === 'fail') throw new Error('planted bug of an actor');
				if (message.type === 'throw') {
					setImmediate(() => {
						throw new Error('planted bug');
					});
				}
				return 'same';
			},
		}));
		return {
			facts: { incarnation },
			names: { worker: ref },
			urgent: new Set<string>(),
			onPeer(name, peer) {
				const far = peer.remote<WorkerMessage>('worker');
				system.spawn<{ readonly type: 'pong' }>(`with-${name}-${Math.random()}`, (ctx) => {
					ctx.watch(far);
					far.tell({ type: 'ping', replyTo: ctx.self });
					return {
						onMessage() {
							pongs += 1;
							return 'same';
						},
						onSignal(_ctx, signal) {
							if (signal.type === 'terminated') endings.push(signal.reason.kind);
							return signal.type === 'terminated' ? 'stopped' : 'same';
						},
					};
				});
			},
			onMain() {},
			metrics: () => Promise.resolve({ incarnation }),
			inspect: (): WorkerInspection => {
				// The test asks through here, for it has no ref of its own.
				return { incarnation, pongs, endings };
			},
			async drain(graceMs) {
				// What the test wants done, in place of a grace.
				if (graceMs === 1) ref.tell({ type: 'hang' });
				if (graceMs === 2) ref.tell({ type: 'throw' });
				if (graceMs === 3) ref.tell({ type: 'fail' });
			},
			stop: () => Promise.resolve(),
			onUncaught() {},
		};
	},
);
