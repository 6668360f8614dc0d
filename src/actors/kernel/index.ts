/**
 * The actor kernel, for use on its own: `import { ActorSystem, RealHost } from 'orchestratord/actors'`. No threads, no HTTP,
 * nothing of LLMs; it imports nothing outside its folder.
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
