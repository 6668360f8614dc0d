/**
 * What is asked of a task on the control thread before the pools are, behind its rate limit (`rate-limit.ts`, on its front), its
 * session and budgets: the catalog. Each step says why the task is refused, or null; nothing is enqueued on a refusal. A step
 * that a daemon does not have lets everything pass.
 */
import { type Failure, failure } from './failure.ts';
import type { TaskSummary } from './messages.ts';

/** `served`: the models of the pools that answer to the task's model ref. */
export type AdmissionStep = (summary: TaskSummary, now: number, served: () => readonly string[]) => Failure | null;

export interface AdmissionSteps {
	/** Known, active, its digest and trust in order. */
	readonly catalog: AdmissionStep;
}

const pass: AdmissionStep = () => null;

export const openAdmission: AdmissionSteps = { catalog: pass };

/** The catalog's part, as the control thread has been told of it: a model that is retired serves nobody. */
export class CatalogAdmission implements AdmissionSteps {
	/** As model refs, and as the catalog calls them. */
	retired: ReadonlySet<string> = new Set();

	readonly catalog: AdmissionStep = ({ modelRef }, _now, served) => {
		if (this.retired.size === 0) return null;
		const models = served();
		const gone = this.retired.has(modelRef) || (models.length > 0 && models.every((model) => this.retired.has(model)));
		return gone ? retiredModel(modelRef) : null;
	};
}

export function retiredModel(modelRef: string): Failure {
	return failure('MODEL_DEPRECATED', `model_ref is ${JSON.stringify(modelRef)}; that model is retired`);
}
