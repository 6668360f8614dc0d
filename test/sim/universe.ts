/** What the parts of one simulation share. Types only; made by `simulation.ts`. */
import type { SeededRandom, SimHost, SimWorld } from '../../src/actors/kernel/sim-host.ts';
import type { GenerateRequest } from '../../src/actors/serving/decode.ts';
import type { ReplicaSpec } from '../../src/actors/serving/messages.ts';
import type { PoolSpec } from '../../src/actors/serving/pool-spec.ts';
import type { BookMemory } from '../../src/actors/serving/task-book.ts';
import type { CheckerName } from './checkers.ts';
import type { GenerationRecord } from './decode-wire.ts';
import type { EngineProcess } from './engine-process.ts';
import type { Plan } from './plan.ts';
import type { SimThread } from './sim-thread.ts';
import type { Witness } from './witness.ts';

export interface Universe {
	readonly plan: Plan;
	/** As they are configured now: those of the plan, once it is calm. */
	pools: readonly PoolSpec[];
	readonly world: SimWorld;
	/** Of everything but the order of turns. */
	readonly random: SeededRandom;
	/** What nobody can kill: wires, clients, fate. */
	readonly outside: SimHost;
	/** Engine processes that live, by address. */
	readonly processes: Map<string, EngineProcess>;
	/** Every generation that a front asked for, in order. */
	readonly generations: GenerationRecord[];
	/** Faults are over: engines behave, nothing is lost any more. */
	readonly calm: boolean;
	/** What the fronts of that name note of their tasks, one after the other. */
	bookOf(front: string): BookMemory;
	newProcess(spec: ReplicaSpec, onDeath: (why: string) => void): EngineProcess;
	/** Whether the engine that starts now is to fail. */
	takeStartFailure(): boolean;
	/** One line of the trace. */
	did(who: string, what: string): void;
	/** A checker has found something. */
	found(checker: CheckerName, words: string): void;
	/** Whether that incarnation of a thread is there. */
	lives(label: string): boolean;
	/** What its home, which lives, has noted of a task. */
	witnessOf(taskId: string): Witness | null;
	/** A front asks for a generation. */
	onGenerate(thread: SimThread, request: GenerateRequest): void;
}
