/**
 * What llama-server says of itself, and what it can be seen to do: `GET /health`, `/props`, `/v1/models` and `/slots` of
 * `tools/server/README.md`. Engine threads.
 */
import { failure } from '../../actors/serving/failure.ts';
import type { Workload } from '../../actors/serving/task-request.ts';
import { listedModel } from '../openai/openai-adapter.ts';
import { type EngineOptions, type UpstreamClient, type UpstreamFacts, UpstreamProblem } from '../upstream/adapter.ts';
import { countOf, fieldsOf, listOf, textOf } from '../upstream/json-fields.ts';
import { metricSum } from '../upstream/metrics-text.ts';

/** By the path that it is asked for by. */
const paths: Readonly<Record<Workload, string>> = { completion: '/completion', embedding: '/v1/embeddings', rerank: '/v1/rerank' };
/** What a server was started for, by what tells one start from another. */
const known = new WeakMap<UpstreamClient, { readonly of: string; readonly workloads: readonly Workload[] }>();

export async function lookAtLlamaServer(client: UpstreamClient, model: string | null, options: EngineOptions): Promise<UpstreamFacts> {
	await client.text('/health');
	const props = fieldsOf(await client.json('GET', '/props'));
	const build = textOf(props['build_info']);
	if (build === null) {
		const words = 'what answers is no llama-server: its /props has no build_info';
		throw new UpstreamProblem(failure('POOL_UNAVAILABLE', words, { retriable: false }));
	}
	const { id } = await listedModel(client, model);
	const slots = countOf(props['total_slots']) ?? null;
	const workloads = await workloadsOf(client, `${build} ${id} ${slots}`);
	const sees = fieldsOf(props['modalities'])['vision'] === true;
	const generates = workloads.includes('completion');
	return {
		engineVersion: build,
		model: id,
		ctx: countOf(fieldsOf(props['default_generation_settings'])['n_ctx']) ?? null,
		slots,
		workloads,
		features: generates
			? ['json_schema', 'grammar', 'logprobs', 'top_logprobs', 'tools', ...(sees ? ['images'] : []), 'logit_bias', 'ignore_eos', 'resume']
			: [],
		chatTemplate: generates && (textOf(props['chat_template']) ?? '') !== '',
		found: { sessionSlots: options['session_slots'] !== false },
	};
}

/** `/slots` may be switched off with `--no-slots`, `/metrics` has to be switched on; null: neither is there. */
export async function busyLlamaServer(client: UpstreamClient): Promise<number | null> {
	const slots = await askedSlots(client);
	if (slots !== null) return slots.filter((slot) => fieldsOf(slot)['is_processing'] === true).length;
	const text = await client.text('/metrics');
	const running = text === null ? null : metricSum(text, 'llamacpp:requests_processing');
	return text === null || running === null ? null : running + (metricSum(text, 'llamacpp:requests_deferred') ?? 0);
}

async function askedSlots(client: UpstreamClient): Promise<readonly unknown[] | null> {
	try {
		const slots = await client.json('GET', '/slots');
		return Array.isArray(slots) ? slots : null;
	} catch (error) {
		if (error instanceof UpstreamProblem && error.status === 501) return null;
		throw error;
	}
}

/**
 * A server does what it was started for, and does not list it. It answers 501 on a path that it does not serve, before it looks at the body;
 * and an empty one it refuses without any work. Asked once: it writes a line for each.
 */
async function workloadsOf(client: UpstreamClient, of: string): Promise<readonly Workload[]> {
	const before = known.get(client);
	if (before?.of === of) return before.workloads;
	const workloads: Workload[] = [];
	for (const workload of Object.keys(paths) as Workload[]) if (await serves(client, paths[workload])) workloads.push(workload);
	// A server that ranks embeds too, but what it makes then is scores.
	const told = workloads.includes('rerank') ? workloads.filter((workload) => workload === 'rerank') : workloads;
	known.set(client, { of, workloads: told });
	return told;
}

async function serves(client: UpstreamClient, path: string): Promise<boolean> {
	try {
		return (await client.json('POST', path, {})) !== null;
	} catch (error) {
		if (!(error instanceof UpstreamProblem) || error.status === null || error.status === 503 || error.status === 401) throw error;
		return error.status !== 501;
	}
}

/** Ids and texts of `POST /tokenize` with `with_pieces`: a piece is a string, or a list of bytes where it is part of a character. */
export function piecesOf(answer: unknown): readonly { readonly id: number; readonly text: string }[] | null {
	const { tokens } = fieldsOf(answer) as { tokens?: unknown };
	if (!Array.isArray(tokens)) return null;
	return tokens.map((each) => {
		const { id, piece } = fieldsOf(each) as { id?: unknown; piece?: unknown };
		const text = Array.isArray(piece) ? Buffer.from(listOf(piece).map(Number)).toString() : (textOf(piece) ?? '');
		return { id: countOf(id) ?? 0, text };
	});
}
