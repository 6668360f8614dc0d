/**
 * `POST /v2/tokenize`: a text as the tokens of a model, from the tokenizer of a running replica. On the front thread.
 */
import type { TokenizeNews } from '../../actors/serving/decode.ts';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { PoolView, ReplicaFacts } from '../../actors/serving/messages.ts';
import { poolsNamed } from '../../actors/serving/prompt-bounds.ts';
import { noTask } from '../../actors/serving/rate-limit.ts';
import type { Handler } from '../http/application.ts';
import type { Exchange } from '../http/exchange.ts';
import { httpStatus } from './errors.ts';
import { checkerOf } from './field-problems.ts';
import { askFrom, type FrontParts, unanswered } from './front-parts.ts';
import { parseJsonBody } from './json-body.ts';
import { tokenizeBodySchema } from './schemas.ts';

const tokenizeMs = 10_000;
const checkBody = checkerOf(tokenizeBodySchema);

export function tokenizeHandler(parts: FrontParts): Handler {
	return (exchange) => exchange.body((body) => tokenize(parts, exchange, body), parts.options.bodyBytesMax);
}

function tokenize(parts: FrontParts, exchange: Exchange, bytes: Buffer): void {
	const json = parseJsonBody(bytes);
	if (!json.ok) return exchange.fail(json.failure);
	const body = checkBody(json.value);
	if (!body.ok) return exchange.fail(body.failure);
	const { model_ref: modelRef, text } = body.value;
	const limited = parts.rates.take(exchange.principal.keyName, noTask);
	if ('code' in limited) return exchange.fail(limited);
	const replica = replicaOf(modelRef, parts.directory.pools);
	if ('code' in replica) return exchange.fail(replica);
	askFrom<TokenizeNews>(
		parts,
		tokenizeMs,
		(replyTo) => {
			parts.decode.tokenize(replica, text, replyTo);
			return 'accepted';
		},
		(answer) => {
			exchange.guarded(() => {
				if (!answer.ok) return exchange.fail(unanswered('the tokenizer', answer.reason));
				if (answer.reply.type === 'tokenize-failed') return exchange.fail(answer.reply.failure);
				const { tokens } = answer.reply;
				exchange.json(httpStatus.ok, { model_ref: modelRef, pool_id: replica.poolId, count: tokens.length, tokens });
			});
		},
	);
}

/** One that is ready; the first pool's. */
export function replicaOf(modelRef: string, pools: readonly PoolView[]): ReplicaFacts | Failure {
	const serving = poolsNamed(modelRef, pools);
	for (const pool of serving) {
		for (const replica of pool.replicas) if (replica.state === 'ready' && replica.facts !== null) return replica.facts;
	}
	const [first] = serving;
	if (first === undefined) return failure('NOT_FOUND', 'no pool serves the model of model_ref; /v2/pools lists what is served');
	return failure('POOL_UNREADY', `pool ${first.poolId} serves this model and is ${first.state}`, {
		poolId: first.poolId,
		retryAfterMs: 1000,
	});
}
