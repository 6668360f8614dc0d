/**
 * What is asked of a task on the control thread before the pools are, behind its rate limit (`rate-limit.ts`, on its front), its
 * session and budgets: the catalog. Each step says why the task is refused, or null; nothing is enqueued on a refusal. A step
 * that a daemon does not have lets everything pass.
 */
import type { Failure } from './failure.ts';
import type { TaskSummary } from './messages.ts';

export type AdmissionStep = (summary: TaskSummary, now: number) => Failure | null;

export interface AdmissionSteps {
	/** Known, active, its digest and trust in order. */
	readonly catalog: AdmissionStep;
}

const pass: AdmissionStep = () => null;

export const openAdmission: AdmissionSteps = { catalog: pass };
