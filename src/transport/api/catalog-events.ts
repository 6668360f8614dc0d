/**
 * `GET /v2/catalog/models/{id}/events`: how far the pull of a model is, until it is over. On the front thread; main has the pulls, and is asked
 * for what is newer than what the reader has, so that a slow reader misses what has been overtaken and has nothing waiting for it.
 */
import type { CatalogAnswer, PullNews } from '../../actors/serving/catalog-messages.ts';
import { failure } from '../../actors/serving/failure.ts';
import type { Handler } from '../http/application.ts';
import type { Exchange } from '../http/exchange.ts';
import { emptyComment, keepAliveComment, sseHeaders } from '../stream/sse.ts';
import { envelopeOf, httpStatus } from './errors.ts';
import { type FrontParts, unanswered } from './front-parts.ts';

const followersMax = 256;
/** A follower that takes nothing for so long is cut. */
const stallMs = 30_000;
/** The server library ends a connection under backpressure to which nothing is written for about 10 s. */
const commentMs = 5_000;

export function modelEventsHandler(parts: FrontParts): Handler {
	let followers = 0;
	return (exchange) => {
		const id = exchange.params['id'] ?? '';
		if (followers >= followersMax) {
			const words = `${followers} readers follow pulls, the most that is allowed`;
			exchange.fail(failure('ADMISSION_REJECT', words, { retryAfterMs: 1000, policyLabel: 'watchers' }));
			return null;
		}
		exchange.later(parts.catalog({ type: 'watch-pull', id, after: 0 }), (answer) => {
			if (answer === null) return exchange.fail(unanswered('the catalog', 'closed'));
			if (!answer.ok) return exchange.fail(answer.failure);
			followers += 1;
			new PullFollower(parts, exchange, id, () => {
				followers -= 1;
			}).begin(answer);
		});
		return null;
	};
}

class PullFollower {
	readonly #parts: FrontParts;
	readonly #exchange: Exchange;
	readonly #id: string;
	readonly #stop: (() => void)[];
	#seq = 0;
	#blockedAt: number | null = null;
	#left = false;

	constructor(parts: FrontParts, exchange: Exchange, id: string, left: () => void) {
		this.#parts = parts;
		this.#exchange = exchange;
		this.#id = id;
		this.#stop = [left];
	}

	begin(first: CatalogAnswer): void {
		const { sink } = this.#exchange;
		if (sink.closed) return this.#leave();
		sink.onAborted = () => this.#leave();
		sink.onWritable = () => this.#unblock();
		sink.start(httpStatus.ok, this.#exchange.headers(sseHeaders), emptyComment);
		// The answer to HEAD has ended.
		if (sink.closed) return this.#leave();
		this.#stop.push(this.#parts.clock.every(commentMs, () => this.#exchange.guarded(() => this.#tick())));
		this.#onNews(first);
	}

	#ask(): void {
		if (this.#left) return;
		this.#exchange.later(this.#parts.catalog({ type: 'watch-pull', id: this.#id, after: this.#seq }), (answer) =>
			this.#onNews(answer ?? { ok: false, failure: unanswered('the catalog', 'closed') }),
		);
	}

	#onNews(answer: CatalogAnswer): void {
		if (this.#left) return;
		const { sink, correlationId } = this.#exchange;
		const news = answer.ok ? (JSON.parse(answer.json) as PullNews) : ({ seq: 0, event: 'error', data: answer.failure } as const);
		const data = news.event === 'error' ? envelopeOf(news.data, correlationId) : news.data;
		const frame = Buffer.from(`event: ${news.event}\ndata: ${JSON.stringify(data)}\n\n`);
		if (news.event !== 'progress') {
			sink.write(frame);
			sink.end();
			return this.#leave();
		}
		this.#seq = news.seq;
		if (sink.write(frame)) this.#ask();
		else this.#blockedAt = this.#parts.clock.now();
	}

	#tick(): void {
		if (this.#left) return;
		const { sink } = this.#exchange;
		if (this.#blockedAt !== null && this.#parts.clock.now() - this.#blockedAt >= stallMs) sink.abort();
		else if (sink.write(keepAliveComment)) this.#unblock();
	}

	#unblock(): void {
		if (this.#blockedAt === null) return;
		this.#blockedAt = null;
		this.#ask();
	}

	#leave(): void {
		if (this.#left) return;
		this.#left = true;
		for (const stop of this.#stop.splice(0)) stop();
	}
}
