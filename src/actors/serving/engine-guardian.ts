/**
 * The guardian of an engine thread: starts Replica actors as pools ask for them, and attaches pools of a new control thread
 * to those that run already. Their parent; it restarts none of them, for a Replica sees to its engine itself.
 */
import type { Setup } from '../kernel/behavior.ts';
import type { ActorRef } from '../kernel/ref.ts';
import type { EngineDriver, ModelChange } from './engine-life.ts';
import { type EngineKind, failure } from './failure.ts';
import type { MemoryTold } from './memory-messages.ts';
import type { EngineThreadCommand, ReplicaNews } from './messages.ts';
import { type ReplicaMessage, replica } from './replica.ts';
import type { ModelFetch } from './warm-up-messages.ts';

/** The driver of each engine kind that this thread can run. */
export type EngineDrivers = Readonly<Partial<Record<EngineKind, EngineDriver>>>;

export function engineGuardian(drivers: EngineDrivers): Setup<EngineThreadCommand> {
	return () => {
		const replicas = new Map<string, { readonly poolId: string; readonly ref: ActorRef<ReplicaMessage> }>();
		/** Replicas that end because their pool was not configured, and who wants one by that name once it has. */
		const stopping = new Map<string, Extract<EngineThreadCommand, { type: 'start-replica' }> | null>();
		/** Models that are looked at, by the pools that are to have them; who asked last is told. */
		const verifying = new Map<string, ActorRef<ReplicaNews>>();
		/** Models whose need is found out, in the same way. */
		const weighing = new Map<string, ActorRef<ReplicaNews>>();
		let draining = false;
		return {
			onMessage(ctx, message) {
				if (message.type === 'verify-model') {
					const { poolId, engine, settings, model } = message;
					const key = `${poolId} ${model}`;
					const asked = verifying.has(key);
					verifying.set(key, message.replyTo);
					// It may be on its way for hours: who asks again waits for the same.
					if (asked) return 'same';
					const answer = (change: ModelChange): void => {
						const replyTo = verifying.get(key) ?? message.replyTo;
						verifying.delete(key);
						if (change.ok) replyTo.tell({ type: 'model-verified', model, settings: change.settings });
						else replyTo.tell({ type: 'model-refused', model, failure: change.failure });
					};
					const driver = drivers[engine];
					if (driver?.withModel === undefined) answer(unchangeable(engine));
					else driver.withModel(settings, model, answer);
					return 'same';
				}
				if (message.type === 'ask-memory') {
					const { poolId, engine, settings, model, replyTo } = message;
					const key = `${poolId} ${model}`;
					const asked = weighing.has(key);
					weighing.set(key, replyTo);
					if (asked) return 'same';
					const heard = (fetch: ModelFetch): void => void weighing.get(key)?.tell({ type: 'memory-fetching', model, fetch });
					const told = (memory: MemoryTold): void => {
						weighing.get(key)?.tell({ type: 'memory-told', model, memory });
						weighing.delete(key);
					};
					const driver = drivers[engine];
					if (driver?.memory === undefined) told({ bytes: 0, uses: [], devices: [] });
					else driver.memory(settings, model, told, heard);
					return 'same';
				}
				if (message.type === 'keep-pools') {
					const kept = new Set(message.poolIds);
					for (const [replicaId, { poolId, ref }] of replicas) {
						if (kept.has(poolId) || stopping.has(replicaId)) continue;
						stopping.set(replicaId, null);
						ref.tell({ type: 'stop' });
					}
					return 'same';
				}
				if (message.type === 'attach-surplus') {
					const { poolId: wantedOf, wanted, home, replyTo } = message;
					const attached: string[] = [];
					for (const [replicaId, { poolId, ref }] of replicas) {
						if (poolId !== wantedOf || wanted.includes(replicaId) || stopping.has(replicaId)) continue;
						ref.tell({ type: 'attach', replyTo });
						attached.push(replicaId);
					}
					replyTo.tell({ type: 'replicas-attached', home, replicaIds: attached });
					return 'same';
				}
				const { replica: spec, replyTo } = message;
				const running = replicas.get(spec.replicaId);
				if (stopping.has(spec.replicaId)) {
					stopping.set(spec.replicaId, message);
					return 'same';
				}
				if (running !== undefined) {
					running.ref.tell({ type: 'attach', replyTo });
					return 'same';
				}
				const driver = drivers[spec.engine];
				if (driver === undefined || draining) {
					// One pool that cannot be served here is no reason for the others to end.
					const words = draining ? 'the daemon is shutting down' : `no engine ${spec.engine} can be run here`;
					replyTo.tell({
						type: 'replica-failed',
						replicaId: spec.replicaId,
						failure: failure('POOL_UNREADY', words),
						retryInMs: null,
						served: false,
						failuresInRow: 1,
					});
					return 'same';
				}
				const ref = ctx.spawn(spec.replicaId, replica({ spec, driver, pool: replyTo }));
				replicas.set(spec.replicaId, { poolId: spec.poolId, ref });
				ctx.watch(ref);
				return 'same';
			},
			onSignal(ctx, signal) {
				if (signal.type === 'terminated') {
					for (const [replicaId, each] of replicas) {
						if (each.ref !== signal.ref) continue;
						replicas.delete(replicaId);
						const wanted = stopping.get(replicaId) ?? null;
						stopping.delete(replicaId);
						if (wanted !== null) ctx.self.tell(wanted);
					}
				}
				if (signal.type === 'drain') {
					draining = true;
					for (const { ref } of replicas.values()) ctx.drain(ref);
				}
				return draining && replicas.size === 0 ? 'stopped' : 'same';
			},
		};
	};
}

function unchangeable(engine: EngineKind): ModelChange {
	return { ok: false, failure: failure('INVALID_PARAMS', `the model of engine ${engine} cannot be changed while it runs`) };
}
