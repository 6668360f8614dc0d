/**
 * `POST /v1/embeddings` in the shape of OpenAI, `POST /v1/rerank` in that of Jina and Cohere: a task each, answered when it has ended. On the front
 * thread.
 */
import type { TaskView } from '../../../actors/serving/task-directory.ts';
import type { Handler } from '../../http/application.ts';
import { httpStatus } from '../errors.ts';
import { checkerOf } from '../field-problems.ts';
import { foreignHandler, nativeRequest } from '../foreign-body.ts';
import type { FrontParts } from '../front-parts.ts';
import { type Parsed, refused } from '../json-body.ts';
import type { TaskBody } from '../schemas.ts';
import { whenEnded } from '../task-group.ts';
import { timingHeaders } from '../task-timing.ts';
import { extendedBody } from './chat-request.ts';
import { type EmbeddingsBody, embeddingsBodySchema, type RerankBody, rerankBodySchema } from './chat-schemas.ts';
import { problemOf } from './completions.ts';

const checkEmbeddings = checkerOf(embeddingsBodySchema);
const checkRerank = checkerOf(rerankBodySchema);

export function embeddingsHandler(parts: FrontParts): Handler {
	return vectorsHandler(parts, checkEmbeddings, embeddingTask, embeddingsJson);
}

export function rerankHandler(parts: FrontParts): Handler {
	return vectorsHandler(parts, checkRerank, rerankTask, rerankJson);
}

function vectorsHandler<B>(
	parts: FrontParts,
	check: (json: unknown) => Parsed<B>,
	taskOf: (body: B) => TaskBody,
	answerOf: (body: B, vectors: readonly Float32Array[], task: TaskView) => Parsed<object>,
): Handler {
	return foreignHandler(parts, {
		read: check,
		tasks(exchange, body) {
			const request = nativeRequest(parts, exchange, taskOf(body));
			return request.ok ? { ok: true, value: [request.value] } : request;
		},
		answer(exchange, body, tasks, arrivedAt) {
			whenEnded(parts, exchange, tasks, () => {
				const timing = timingHeaders(tasks, arrivedAt, parts.clock.now());
				const [task] = tasks as [TaskView];
				const problem = problemOf(tasks);
				const answer: Parsed<object> = problem === null ? answerOf(body, task.vectors ?? [], task) : { ok: false, failure: problem };
				if (answer.ok) exchange.json(httpStatus.ok, answer.value, timing);
				else exchange.fail(answer.failure, timing);
			});
		},
	});
}

function embeddingTask({ model, input, orchestratord }: EmbeddingsBody): TaskBody {
	return { ...extendedBody(model, orchestratord), workload: 'embedding', inputs: typeof input === 'string' ? [input] : input };
}

function embeddingsJson(
	{ model, dimensions, encoding_format: format }: EmbeddingsBody,
	vectors: readonly Float32Array[],
	task: TaskView,
): Parsed<object> {
	const short = vectors.find(({ length }) => dimensions !== undefined && dimensions > length);
	if (short !== undefined) return refused(`dimensions is ${dimensions}; the vectors of ${model} have ${short.length}`);
	const data = vectors.map((vector, index) => {
		const cut = dimensions === undefined || dimensions === vector.length ? vector : unit(vector.subarray(0, dimensions));
		return { object: 'embedding', index, embedding: format === 'base64' ? base64(cut) : [...cut] };
	});
	return { ok: true, value: { object: 'list', data, model, usage: usageOf(task) } };
}

function rerankTask({ model, query, documents, orchestratord }: RerankBody): TaskBody {
	return { ...extendedBody(model, orchestratord), workload: 'rerank', query, inputs: documents.map(textOf) };
}

function rerankJson(
	{ model, documents, top_n: top, return_documents: repeats }: RerankBody,
	vectors: readonly Float32Array[],
	task: TaskView,
): Parsed<object> {
	const results = vectors
		.map((vector, index) => ({
			index,
			relevance_score: vector[0] ?? 0,
			...(repeats === false ? {} : { document: { text: textOf(documents[index] ?? '') } }),
		}))
		.sort((a, b) => b.relevance_score - a.relevance_score)
		.slice(0, top);
	return { ok: true, value: { id: `rerank-${task.request.taskId}`, object: 'list', model, results, usage: usageOf(task) } };
}

function textOf(document: RerankBody['documents'][number]): string {
	return typeof document === 'string' ? document : document.text;
}

function usageOf({ tokensIn }: TaskView) {
	return { prompt_tokens: tokensIn, total_tokens: tokensIn };
}

/** At length 1: a shortened vector keeps its direction only. */
function unit(vector: Float32Array): Float32Array {
	const length = Math.hypot(...vector);
	return length === 0 ? vector : vector.map((value) => value / length);
}

function base64({ buffer, byteOffset, byteLength }: Float32Array): string {
	return Buffer.from(buffer, byteOffset, byteLength).toString('base64');
}
