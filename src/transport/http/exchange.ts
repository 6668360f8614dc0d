/**
 * One request and its one answer, as the handlers see them. On the front thread. Puts the correlation id on every answer,
 * and turns a bug in a handler or in anything that comes back to it later into a 500 that says nothing secret.
 */
import { type Failure, failure } from '../../actors/serving/failure.ts';
import { errorShapes, shapeOf } from '../api/error-shapes.ts';
import { backoffHeaders, envelopeOf, statusFor } from '../api/errors.ts';
import { retryHeader } from '../api/openai/openai-errors.ts';
import { localUser, type Principal } from '../auth/principal.ts';
import type { BodyReceiver, BugReport, Header, HttpRequest, ResponseSink } from './http-host.ts';
import type { Params } from './routes.ts';

const jsonHeader: Header = ['Content-Type', 'application/json'];

export class Exchange {
	readonly request: HttpRequest;
	readonly correlationId: string;
	readonly sink: ResponseSink;
	params: Params = {};
	/** The route's pattern, for logs: a path may hold anything. */
	route = '';
	/** Whom it is from: set before the handler. */
	principal: Principal = localUser;
	/** Of every answer, beside the correlation id: set before the handler. */
	common: readonly Header[] = [];
	readonly #report: BugReport;

	constructor(request: HttpRequest, sink: ResponseSink, correlationId: string, report: BugReport) {
		this.request = request;
		this.sink = sink;
		this.correlationId = correlationId;
		this.#report = report;
	}

	/** The headers that every answer has, and `more`. */
	headers(more: readonly Header[] = []): Header[] {
		return [['X-Correlation-Id', this.correlationId], ...this.common, ...more];
	}

	json(status: number, body: unknown, more: readonly Header[] = []): void {
		this.sink.respond(status, this.headers([jsonHeader, ...more]), JSON.stringify(body));
	}

	text(status: number, contentType: string, body: string): void {
		this.sink.respond(status, this.headers([['Content-Type', contentType]]), body);
	}

	empty(status: number, more: readonly Header[] = []): void {
		this.sink.respond(status, this.headers(more), '');
	}

	/** The envelope at the status of its code, on the paths of other APIs in their shape. `status` and `extra` are for the few answers that say more. */
	fail(
		reason: Failure,
		more: readonly Header[] = [],
		status = statusFor(reason.code),
		extra: Readonly<Record<string, unknown>> = {},
	): void {
		const envelope = envelopeOf(reason, this.correlationId);
		const shape = shapeOf(this.request.path);
		const body = errorShapes[shape](envelope);
		const retry = shape === 'native' ? [] : [retryHeader(reason)];
		this.json(status, { ...body, ...extra }, [...backoffHeaders(reason), ...retry, ...more]);
	}

	/** Runs a part of the handler; a bug in it ends the exchange, never the thread. */
	guarded<T>(work: () => T): T | null {
		try {
			return work();
		} catch (error) {
			this.bug(error);
			return null;
		}
	}

	/** Waits for `promise` outside the handler. */
	later<T>(promise: Promise<T>, use: (value: T) => void): void {
		promise.then(
			(value) => {
				this.guarded(() => use(value));
			},
			(error: unknown) => this.bug(error),
		);
	}

	/** Receives the body, then runs `use`; or refuses it, and tells `onRefused` before the client. */
	body(use: (body: Buffer) => void, bodyBytesMax: number, onRefused: (why: Failure) => void = () => undefined): BodyReceiver {
		return {
			onBody: (body) => {
				this.guarded(() => use(body));
			},
			onBodyRefused: (why) => {
				const reason =
					why === 'too-large'
						? failure('PAYLOAD_TOO_LARGE', `the body is longer than ${bodyBytesMax} bytes, the most that is taken`)
						: failure('POOL_UNREADY', 'too many request bodies are being received at once; try again shortly', {
								retryAfterMs: 1000,
								policyLabel: 'bodies',
							});
				onRefused(reason);
				this.fail(reason);
			},
		};
	}

	bug(error: unknown): void {
		this.#report(`${this.request.method} ${this.route}`, error);
		try {
			if (!this.sink.closed) this.fail(failure('INTERNAL', 'a bug in the daemon; its log says more under this correlation id'));
		} catch (second) {
			// the answer had begun: all that is left is to end it
			this.#report('answer to a bug', second);
			this.sink.abort();
		}
	}
}
