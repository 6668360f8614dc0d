/**
 * `GET /v2/pools/{id}/logs`: what the engine processes of a pool wrote, at once or as it is written. On the front thread; the lines
 * are kept on the engine thread. They may quote what clients sent: they go to who asks here and nowhere else.
 */
import type { EngineLine, EngineLogRead } from '../../actors/serving/engine-log-messages.ts';
import { failure } from '../../actors/serving/failure.ts';
import type { Handler } from '../http/application.ts';
import type { Exchange } from '../http/exchange.ts';
import { emptyComment, keepAliveComment, sseHeaders } from '../stream/sse.ts';
import { httpStatus } from './errors.ts';
import { wantsEvents } from './events.ts';
import { shown } from './field-problems.ts';
import { askFrom, type FrontParts, unanswered } from './front-parts.ts';
import { type QueryFields, queryOf } from './query.ts';

export const poolLogQuery = {
	tail: { kind: 'integer', minimum: 0, maximum: 4_000, default: 200, description: 'Lines before now' },
	after: { kind: 'text', maxLength: 16, description: 'Lines behind this id instead, the oldest first' },
	follow: { kind: 'flag', description: 'As they are written, until the reader leaves' },
} as const satisfies QueryFields;

const answerMs = 5_000;
/** A follower's ask waits so long at the engine thread; then a comment shows that both are there. */
const waitMs = 10_000;
const againMs = 1_000;
const linesMax = 1_000;
const followersMax = 64;
/** A follower that takes nothing for so long is cut; it may resume. */
const stallMs = 30_000;
/** The server library ends a connection under backpressure to which nothing is written for about 10 s. */
const commentMs = 5_000;

interface Wanted {
	readonly poolId: string;
	readonly after: number | null;
	readonly linesMax: number;
	readonly waitMs: number;
}

export function poolLogHandler(parts: FrontParts): Handler {
	let followers = 0;
	return (exchange) => {
		const poolId = exchange.params['id'] ?? '';
		const query = queryOf(exchange.request.query, poolLogQuery);
		if (!query.ok) {
			exchange.fail(query.failure);
			return null;
		}
		const { tail, follow } = query.value;
		const behind = exchange.request.header('last-event-id') || query.value.after;
		const pool = parts.directory.pools.find((each) => each.poolId === poolId);
		if (pool === undefined) exchange.fail(failure('NOT_FOUND', 'there is no such pool; /v2/pools lists them'));
		else if (pool.provider === 'external')
			exchange.fail(failure('NOT_FOUND', `the engine of ${poolId} is run by somebody else, who has its log`));
		else if (behind !== null && !/^\d{1,16}$/.test(behind))
			exchange.fail(failure('INVALID_PARAMS', `after is ${shown(behind)}; it must be the id of a line`));
		else {
			const after = behind === null ? null : Number(behind);
			if (!follow && !wantsEvents(exchange))
				tell(parts, exchange, { poolId, after, linesMax: after === null ? tail : linesMax, waitMs: 0 });
			else if (followers >= followersMax) {
				const words = `${followers} followers read logs, the most that is allowed`;
				exchange.fail(failure('ADMISSION_REJECT', words, { retryAfterMs: 1000, policyLabel: 'watchers' }));
			} else {
				followers += 1;
				new Follower(parts, exchange, poolId, () => {
					followers -= 1;
				}).begin(after, tail);
			}
		}
		return null;
	};
}

function tell(parts: FrontParts, exchange: Exchange, wanted: Wanted): void {
	read(parts, wanted, (found, reason) => {
		exchange.guarded(() => {
			if (found === null) exchange.fail(unanswered('the engine thread', reason));
			else {
				const { lines, gap, next } = found;
				exchange.json(httpStatus.ok, { pool_id: wanted.poolId, lines: lines.map(lineJson), gap, next }, [['Cache-Control', 'no-store']]);
			}
		});
	});
}

function read(parts: FrontParts, wanted: Wanted, use: (found: EngineLogRead | null, reason: 'full' | 'closed' | 'timeout') => void): void {
	const logs = parts.engineLogs();
	if (logs === null) return use(null, 'closed');
	askFrom<EngineLogRead>(
		parts,
		wanted.waitMs + answerMs,
		(replyTo) => logs.tell({ type: 'read-engine-log', ...wanted, replyTo }),
		(answer) => (answer.ok ? use(answer.reply, 'closed') : use(null, answer.reason)),
	);
}

/**
 * One reader of a log that goes on: it asks for what is next when what it had has left, so that a slow one has nothing waiting for it
 * but the ring, and is told when that has gone on without it.
 */
class Follower {
	readonly #parts: FrontParts;
	readonly #exchange: Exchange;
	readonly #poolId: string;
	readonly #stop: (() => void)[];
	#after: number | null = null;
	#blockedAt: number | null = null;
	#commentedAt = 0;
	#stopWaiting: () => void = () => undefined;
	#left = false;

	constructor(parts: FrontParts, exchange: Exchange, poolId: string, left: () => void) {
		this.#parts = parts;
		this.#exchange = exchange;
		this.#poolId = poolId;
		this.#stop = [left];
	}

	begin(after: number | null, tail: number): void {
		const { sink } = this.#exchange;
		if (sink.closed) return this.#leave();
		sink.onAborted = () => this.#leave();
		sink.onWritable = () => this.#unblock();
		sink.start(httpStatus.ok, this.#exchange.headers(sseHeaders), emptyComment);
		// The answer to HEAD has ended.
		if (sink.closed) return this.#leave();
		sink.write(emptyComment);
		this.#stop.push(this.#parts.clock.every(commentMs, () => this.#exchange.guarded(() => this.#tick())));
		this.#after = after;
		this.#ask(after === null ? tail : linesMax, after === null ? 0 : waitMs);
	}

	#ask(lines: number, wait: number): void {
		if (this.#left) return;
		read(this.#parts, { poolId: this.#poolId, after: this.#after, linesMax: lines, waitMs: wait }, (found) => {
			this.#exchange.guarded(() => this.#onRead(found));
		});
	}

	#onRead(found: EngineLogRead | null): void {
		if (this.#left) return;
		const { sink } = this.#exchange;
		if (found === null) {
			// The engine thread is being started again; its log begins anew.
			this.#stopWaiting = this.#parts.clock.after(againMs, () => this.#ask(linesMax, waitMs));
			return;
		}
		this.#after = found.next;
		const gap = found.gap ? ': lines are missing here\n\n' : '';
		const frames = found.lines.map((line) => `id: ${line.id}\nevent: line\ndata: ${JSON.stringify(lineJson(line))}\n\n`);
		const bytes = frames.length === 0 && gap === '' ? keepAliveComment : Buffer.from(gap + frames.join(''));
		if (sink.write(bytes)) this.#ask(linesMax, waitMs);
		else this.#blockedAt = this.#parts.clock.now();
	}

	#tick(): void {
		if (this.#blockedAt === null || this.#left) return;
		const { sink } = this.#exchange;
		const now = this.#parts.clock.now();
		if (now - this.#blockedAt >= stallMs) sink.abort();
		else if (now - this.#commentedAt >= commentMs) {
			this.#commentedAt = now;
			if (sink.write(emptyComment)) this.#unblock();
		}
	}

	#unblock(): void {
		if (this.#blockedAt === null) return;
		this.#blockedAt = null;
		this.#ask(linesMax, waitMs);
	}

	#leave(): void {
		if (this.#left) return;
		this.#left = true;
		this.#stopWaiting();
		for (const stop of this.#stop.splice(0)) stop();
	}
}

function lineJson({ id, at, replicaId, source, text }: EngineLine) {
	return { id, at: new Date(at).toISOString(), replica_id: replicaId, source, text };
}
