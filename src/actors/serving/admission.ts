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

/** The catalog's part, as the control thread has been told of it: a model that is retired, or not to be trusted, serves nobody. */
export class CatalogAdmission implements AdmissionSteps {
	/** As model refs, and as the catalog calls them. */
	retired: ReadonlySet<string> = new Set();
	untrusted: ReadonlySet<string> = new Set();

	readonly catalog: AdmissionStep = ({ modelRef }, _now, served) => {
		if (this.retired.size === 0 && this.untrusted.size === 0) return null;
		const models = served();
		const isBarred = (model: string): boolean => this.retired.has(model) || this.untrusted.has(model);
		if (!isBarred(modelRef) && (models.length === 0 || !models.every(isBarred))) return null;
		const isUntrusted = this.untrusted.has(modelRef) || models.some((model) => this.untrusted.has(model));
		return barredModel(modelRef, isUntrusted ? 'untrusted' : 'retired');
	};
}

export type BarredFor = 'retired' | 'untrusted';

export function barredModel(modelRef: string, why: BarredFor): Failure {
	const model = `model_ref is ${JSON.stringify(modelRef)}; that model`;
	if (why === 'retired') return failure('MODEL_DEPRECATED', `${model} is retired`);
	return failure('UNTRUSTED_ARTIFACT', `${model} is not what it should be, or breaks a rule of catalog.trust; an operator sees why`);
}
