/**
 * What is asked of a task on the control thread before the pools are, in the order of the contract: rate limit, session and
 * budgets, catalog. Each step says why the task is refused, or null; nothing is enqueued on a refusal. Steps that a daemon does
 * not have let everything pass.
 */
import type { Failure } from './failure.ts';
import type { TaskSummary } from './messages.ts';

export type AdmissionStep = (summary: TaskSummary, now: number) => Failure | null;

export interface AdmissionSteps {
	/** Requests and tokens of the client's key. */
	readonly rateLimit: AdmissionStep;
	/** Known, active, its digest and trust in order. */
	readonly catalog: AdmissionStep;
}

const pass: AdmissionStep = () => null;

export const openAdmission: AdmissionSteps = { rateLimit: pass, catalog: pass };
