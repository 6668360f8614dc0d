/**
 * `POST /v1/messages` and `POST /v1/messages/count_tokens`: an answer is a task as any other, told in the shape of Anthropic, whole or as a stream. On
 * the front thread.
 */
import type { CountNews } from '../../../actors/serving/decode.ts';
import { noTask } from '../../../actors/serving/rate-limit.ts';
import type { TaskView } from '../../../actors/serving/task-directory.ts';
import type { Handler } from '../../http/application.ts';
import type { Exchange } from '../../http/exchange.ts';
import { DialectFeed } from '../../stream/dialect-feed.ts';
import { emptyComment, sseHeaders } from '../../stream/sse.ts';
import { budgetHeaders } from '../budgets.ts';
import { httpStatus } from '../errors.ts';
import { watchersFull } from '../events.ts';
import { checkerOf } from '../field-problems.ts';
import { foreignHandler, nativeRequest, withoutNulls } from '../foreign-body.ts';
import { askFrom, type FrontParts, unanswered } from '../front-parts.ts';
import { withoutHosted } from '../hosted-tools.ts';
import { parseJsonBody } from '../json-body.ts';
import { problemOf } from '../openai/completions.ts';
import { whenEnded } from '../task-group.ts';
import { taskIdHeader, timingHeaders } from '../task-timing.ts';
import { replicaOf } from '../tokenize.ts';
import { type MessageContext, MessageDialect, wholeMessage } from './message-dialect.ts';
import { messagesRequest, promptBody } from './message-request.ts';
import { countTokensBodySchema, messagesBodySchema } from './message-schemas.ts';

const countMs = 10_000;
/** Tools that Anthropic runs. Those that it defines and a client runs (bash, text_editor, memory) are none of them. */
const hosted = /^(?:web_search|web_fetch|code_execution|tool_search_tool|advisor|mcp_toolset)(?:_|$)/;
const checkMessages = checkerOf(messagesBodySchema);
const checkCount = checkerOf(countTokensBodySchema);

export function messagesHandler(parts: FrontParts): Handler {
	return foreignHandler(parts, {
		read(json) {
			const own = withoutHosted(json, hosted);
			const checked = own.ok ? checkMessages(own.value) : own;
			return checked.ok ? messagesRequest(checked.value) : checked;
		},
		tasks(exchange, { body, stream }) {
			const crowded = stream ? watchersFull(parts, exchange.principal) : null;
			if (crowded !== null) return { ok: false, failure: crowded };
			const task = nativeRequest(parts, exchange, body);
			if (!task.ok) return task;
			const { bodyHash, maxTokens } = task.value;
			// Clients must name a number, and name the largest that a model of Anthropic's can make.
			const most = maxTokens === null ? {} : { maxTokens: null, outputCap: maxTokens };
			return { ok: true, value: [{ ...task.value, ...most, bodyHash: bodyHash === '' ? '' : `${bodyHash} messages` }] };
		},
		answer(exchange, request, [task], arrivedAt) {
			answer(parts, exchange, { request, task: task as TaskView, arrivedAt, now: () => parts.clock.now() });
		},
	});
}

function answer(parts: FrontParts, exchange: Exchange, context: MessageContext): void {
	const { request, task, arrivedAt } = context;
	const budget = budgetHeaders(task.budget);
	if (request.stream) {
		exchange.sink.start(httpStatus.ok, exchange.headers([...sseHeaders, ...budget, taskIdHeader([task])]), emptyComment);
		parts.watchers.watch(new DialectFeed([task], new MessageDialect(context)), exchange.sink, exchange.principal.keyName);
		return;
	}
	whenEnded(parts, exchange, [task], () => {
		const timing = timingHeaders([task], arrivedAt, context.now());
		const problem = problemOf([task]);
		if (problem !== null) exchange.fail(problem, timing);
		else exchange.json(httpStatus.ok, wholeMessage(context), [...budget, ...timing]);
	});
}

/** Counted by the tokenizer of a replica that is ready, with the template of its model. */
export function countTokensHandler(parts: FrontParts): Handler {
	return (exchange) => exchange.body((bytes) => count(parts, exchange, bytes), parts.options.bodyBytesMax);
}

function count(parts: FrontParts, exchange: Exchange, bytes: Buffer): void {
	const json = parseJsonBody(bytes);
	if (!json.ok) return exchange.fail(json.failure);
	const own = withoutHosted(withoutNulls(json.value), hosted);
	const body = own.ok ? checkCount(own.value) : own;
	if (!body.ok) return exchange.fail(body.failure);
	const native = promptBody(body.value);
	if (!native.ok) return exchange.fail(native.failure);
	const request = nativeRequest(parts, exchange, native.value);
	if (!request.ok) return exchange.fail(request.failure);
	const limited = parts.rates.take(exchange.principal.keyName, noTask);
	if ('code' in limited) return exchange.fail(limited);
	const replica = replicaOf(body.value.model, parts.directory.pools);
	if ('code' in replica) return exchange.fail(replica);
	askFrom<CountNews>(
		parts,
		countMs,
		(replyTo) => {
			parts.decode.count(replica, request.value.input, replyTo);
			return 'accepted';
		},
		(answered) => {
			exchange.guarded(() => {
				if (!answered.ok) exchange.fail(unanswered('the tokenizer', answered.reason));
				else if (answered.reply.type === 'count-failed') exchange.fail(answered.reply.failure);
				else exchange.json(httpStatus.ok, { input_tokens: answered.reply.tokens });
			});
		},
	);
}
