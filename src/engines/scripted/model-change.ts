/** Another model for a scripted pool: another name. On the engine thread. */
import type { ModelChange } from '../../actors/serving/engine-life.ts';
import { failure } from '../../actors/serving/failure.ts';
import type { ScriptedSettings } from './scripted-settings.ts';

export function withScriptedModel(settings: ScriptedSettings, model: string): ModelChange {
	if (!/^scripted:./.test(model)) {
		const words = `new_model_ref is ${JSON.stringify(model)}; a scripted pool takes scripted:<name>`;
		return { ok: false, failure: failure('INVALID_PARAMS', words) };
	}
	return { ok: true, settings: { ...settings, modelName: model } satisfies ScriptedSettings };
}
