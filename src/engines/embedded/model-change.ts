/**
 * Another model for a llama.cpp pool: what a `model_ref` names is here and judged before anything is stopped for it. Reads its header only;
 * the digest is taken as the file is loaded. On the engine thread.
 */
import { statSync } from 'node:fs';
import { formatModelRef, parseModelRef } from '../../actors/catalog/model-ref.ts';
import type { ModelChange } from '../../actors/serving/engine-life.ts';
import { type FailureCode, failure } from '../../actors/serving/failure.ts';
import type { EmbeddedSettings } from './embedded-settings.ts';
import { checkGguf } from './gguf-check.ts';
import { GgufError } from './gguf-header.ts';
import type { ModelSource } from './model-source.ts';

/** Never rejects. */
export async function changedModel(settings: EmbeddedSettings, model: string, source: ModelSource): Promise<ModelChange> {
	const parsed = parseModelRef(model);
	if (!parsed.ok) return refused('INVALID_PARAMS', `new_model_ref is ${JSON.stringify(model)}; ${parsed.problem}`);
	const { known: _known, expectedDigest: _expected, ref: _ref, ...kept } = settings;
	if (parsed.ref.kind === 'file') return judged(parsed.ref.path, { ...kept, modelPath: parsed.ref.path });
	// By its ref: where its bytes lie may change while the pool runs.
	const next = { ...kept, modelPath: '', ref: formatModelRef(parsed.ref) };
	const prepared = await source.prepare(model, null, () => undefined, new AbortController().signal);
	return prepared.ok ? judged(prepared.model.path, next) : { ok: false, failure: prepared.failure };
}

function judged(path: string, settings: EmbeddedSettings): ModelChange {
	try {
		if (!statSync(path).isFile()) return refused('INVALID_PARAMS', `${path} is not a regular file`);
		const { contextLength } = checkGguf(path);
		if (settings.ctx !== null && contextLength > 0 && settings.ctx > contextLength)
			return refused('INVALID_PARAMS', `ctx of the pool is ${settings.ctx}; the model was made for at most ${contextLength} tokens`);
	} catch (error) {
		const words = error instanceof Error ? error.message : String(error);
		if (error instanceof GgufError) return refused('INVALID_PARAMS', `model file ${path}: ${words}`);
		if (words.startsWith('ENOENT')) return refused('NOT_FOUND', `model file not found: ${path}`);
		return refused('INVALID_PARAMS', `model file ${path} cannot be read: ${words}`);
	}
	return { ok: true, settings };
}

function refused(code: FailureCode, words: string): ModelChange {
	return { ok: false, failure: failure(code, words) };
}
