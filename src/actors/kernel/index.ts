/**
 * The actor kernel, for use on its own. No threads, no HTTP, nothing of LLMs; it imports nothing outside its folder, makes no
 * promises and never waits.
 *
 * ```ts
 * import { ActorSystem, RealHost, type Setup } from 'orchestratord/actors';
 *
 * const greeter: Setup<string> = () => ({
 *   onMessage(ctx, name) {
 *     ctx.telemetry.log('info', 'greeted', { name });
 *     return 'same';
 *   },
 * });
 * const system = new ActorSystem(new RealHost());
 * const ref = system.spawn('greeter', greeter);
 * ref.tell('world'); // 'accepted' | 'full' | 'closed'
 * ```
 *
 * - `ActorSystem` is one thread's actors; `RealHost` its event loop. `SimHost` runs the same actors on a virtual clock, where
 *   a run is a function of its seed.
 * - A behaviour is a synchronous function of context and message that returns what to be next (`Behavior`, `Next`).
 * - Code that is not an actor gets its answers through `system.edge`; it closes what it made.
 * - `SupervisionSpec` says what follows a bug; `decideRestart` is the pure function behind it.
 */
export type { ActorContext, Behavior, Next, Setup, Signal, SpawnOptions, StopReason } from './behavior.ts';
export type { EdgeOptions, EdgeRef } from './edge.ts';
export type { ForeignCarrier } from './foreign.ts';
export type { Host, TimerHandle } from './host.ts';
export { RealHost, type RealHostOptions } from './real-host.ts';
export type { ActorRef, AskFailed, AskOutcome, Delivery } from './ref.ts';
export { SeededRandom } from './seeded-random.ts';
export { type SimEvent, SimHost, SimWorld } from './sim-host.ts';
export { decideRestart, noFailures, type RestartDecision, type RestartHistory, type SupervisionSpec } from './supervision.ts';
export { ActorSystem, type DeadLetterHook, type SystemOptions, type SystemStats } from './system.ts';
export { type Labels, type LogLevel, silentTelemetry, type Telemetry } from './telemetry.ts';
