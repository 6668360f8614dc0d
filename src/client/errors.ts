/** What can go wrong between a client and a daemon. Every call of the library throws one of these, or what an `AbortSignal` throws. */
import type { ErrorBody } from './wire.ts';

/** The daemon refused, or ended the task with an error: its envelope. */
export class DaemonError extends Error {
	override readonly name: string = 'DaemonError';
	/** HTTP status; null: it came in a stream. */
	readonly status: number | null;
	/** A code of the contract, such as `ADMISSION_REJECT`. */
	readonly code: string;
	readonly retriable: boolean;
	/** When it makes sense to try again, ms; null: it is not said. */
	readonly retryAfterMs: number | null;
	readonly policyLabel: string | null;
	readonly correlationId: string | null;
	/** All that was said. */
	readonly body: Partial<ErrorBody>;

	constructor(status: number | null, body: Partial<ErrorBody>) {
		super(body.message ?? `the daemon answered ${status}`);
		this.status = status;
		this.code = body.code ?? 'INTERNAL';
		this.retriable = body.retriable === true;
		this.retryAfterMs = body.retry_after_ms ?? null;
		this.policyLabel = body.policy_label ?? null;
		this.correlationId = body.correlation_id ?? null;
		this.body = body;
	}
}

/** Something answered that is no orchestratord. */
export class NotADaemonError extends Error {
	override readonly name = 'NotADaemonError';
	readonly status: number;

	constructor(url: string, status: number) {
		super(`${url} answered ${status}, and not as an orchestratord does`);
		this.status = status;
	}
}

/** There is no connection, or it broke; `cause` says why. */
export class ConnectionError extends Error {
	override readonly name = 'ConnectionError';
	/** Of the daemon. */
	readonly url: string;
	/** It did not answer in time. */
	readonly timedOut: boolean;
	/** Such as `ECONNREFUSED`; null: unknown. */
	readonly code: string | null;

	constructor(url: string, cause: unknown) {
		const timedOut = cause instanceof Error && cause.name === 'TimeoutError';
		const code = codeOf(cause);
		super(timedOut ? `${url} took too long to answer` : `the connection to ${url} failed${code === null ? '' : ` (${code})`}`, { cause });
		this.url = url;
		this.timedOut = timedOut;
		this.code = code;
	}
}

function codeOf(error: unknown): string | null {
	for (let at: unknown = error; at instanceof Error; at = at.cause) {
		if ('code' in at && typeof at.code === 'string') return at.code;
		if (at instanceof AggregateError) return codeOf(at.errors[0]);
	}
	return null;
}
