/** The control thread of a simulation: the production Dispatcher with its pools, as the daemon's control thread puts them together. */
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import { type DispatcherMessage, dispatcher } from '../../src/actors/serving/dispatcher.ts';
import type { EngineThreadCommand } from '../../src/actors/serving/messages.ts';
import type { PoolControlled, PoolOperation } from '../../src/actors/serving/operation-messages.ts';
import type { PoolSpec } from '../../src/actors/serving/pool-spec.ts';
import type { BudgetLeft, SessionTold } from '../../src/actors/serving/session-messages.ts';
import { urgentFromControl } from '../../src/actors/serving/urgent.ts';
import type { Peer } from '../../src/actors/threads/link.ts';
import type { SimRole, SimThread } from './sim-thread.ts';
import type { Universe } from './universe.ts';

const dispatcherMailboxMax = 131_072;

export class ControlRole implements SimRole {
	readonly names: Readonly<Record<string, ActorRef<never>>>;
	readonly urgent = urgentFromControl;
	readonly #dispatcher: ActorRef<DispatcherMessage>;
	readonly #thread: SimThread;

	constructor(universe: Universe, thread: SimThread) {
		this.#thread = thread;
		const { fronts, engineThreads } = universe.plan;
		const setup = dispatcher({
			epoch: thread.incarnation,
			pools: universe.pools,
			expectedFronts: fronts,
			engines: engineThreads,
			sessions: universe.plan.sessions,
		});
		this.#dispatcher = thread.system.spawn('dispatcher', setup, { mailboxMax: dispatcherMailboxMax });
		this.names = { dispatcher: this.#dispatcher };
	}

	onPeer(name: string, peer: Peer): void {
		if (!name.startsWith('engine')) return;
		this.#dispatcher.tell({ type: 'engine-joined', engineId: name, replyTo: peer.remote<EngineThreadCommand>('engine') });
	}

	/** As an operator would, over any front. */
	control(poolId: string, operation: PoolOperation): void {
		const { system } = this.#thread;
		this.#thread.host.defer(() => {
			const replyTo = system.edge<PoolControlled>(() => replyTo.close());
			this.#dispatcher.tell({ type: 'control-pool', poolId, operation, correlationId: 'operator', replyTo });
		});
	}

	/** The file was read anew. */
	configure(pools: readonly PoolSpec[]): void {
		this.#thread.host.defer(() => void this.#dispatcher.tell({ type: 'configure-pools', pools, pinning: true }));
	}

	/** Whatever has been used of them. */
	setBudgets(sessionId: string, budgets: Partial<BudgetLeft>): void {
		const { system } = this.#thread;
		this.#thread.host.defer(() => {
			const replyTo = system.edge<SessionTold>(() => replyTo.close());
			this.#dispatcher.tell({ type: 'use-session', tenant: null, sessionId, operation: { kind: 'set-budgets', budgets }, replyTo });
		});
	}

	/** Asked once all is quiet. */
	look(sessionId: string, use: (told: SessionTold) => void): void {
		const { system } = this.#thread;
		this.#thread.host.defer(() => {
			const replyTo = system.edge<SessionTold>((told) => {
				replyTo.close();
				use(told);
			});
			this.#dispatcher.tell({ type: 'use-session', tenant: null, sessionId, operation: { kind: 'look' }, replyTo });
		});
	}

	onKilled(): void {}

	close(): void {}
}
