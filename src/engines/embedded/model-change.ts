/**
 * Another model for a llama.cpp pool: the file that a `model_ref` names, judged before anything is stopped for it. Reads its
 * header only; the digest is taken as the file is loaded. On the engine thread.
 */
import { statSync } from 'node:fs';
import { parseModelRef } from '../../actors/catalog/model-ref.ts';
import type { ModelChange } from '../../actors/serving/engine-life.ts';
import { type FailureCode, failure } from '../../actors/serving/failure.ts';
import type { EmbeddedSettings } from './embedded-settings.ts';
import { checkGguf } from './gguf-check.ts';
import { GgufError } from './gguf-header.ts';

export function withModelFile(settings: EmbeddedSettings, model: string): ModelChange {
	const parsed = parseModelRef(model);
	if (!parsed.ok) return refused('INVALID_PARAMS', `new_model_ref is ${JSON.stringify(model)}; ${parsed.problem}`);
	if (parsed.ref.kind !== 'file') {
		return refused(
			'INVALID_PARAMS',
			`new_model_ref is ${JSON.stringify(model)}; fetching models is not available in this version, write a file as file:/absolute/path.gguf`,
		);
	}
	const { path } = parsed.ref;
	try {
		if (!statSync(path).isFile()) return refused('INVALID_PARAMS', `${path} is not a regular file`);
		const { contextLength } = checkGguf(path);
		if (settings.ctx !== null && contextLength > 0 && settings.ctx > contextLength) {
			return refused('INVALID_PARAMS', `ctx of the pool is ${settings.ctx}; the model was made for at most ${contextLength} tokens`);
		}
	} catch (error) {
		const words = error instanceof Error ? error.message : String(error);
		if (error instanceof GgufError) return refused('INVALID_PARAMS', `model file ${path}: ${words}`);
		if (words.startsWith('ENOENT')) return refused('NOT_FOUND', `model file not found: ${path}`);
		return refused('INVALID_PARAMS', `model file ${path} cannot be read: ${words}`);
	}
	return { ok: true, settings: { ...settings, modelPath: path } satisfies EmbeddedSettings };
}

function refused(code: FailureCode, words: string): ModelChange {
	return { ok: false, failure: failure(code, words) };
}
