/**
 * What can go wrong while a model is fetched, each with whether another try may help: statuses, broken connections, full disks. Pure.
 */
import type { FetchProblem } from '../actors/catalog/fetch-messages.ts';
import type { TrustReason } from '../actors/catalog/trust-messages.ts';
import type { FailureCode } from '../actors/serving/failure.ts';

export class FetchError extends Error {
	override readonly name = 'FetchError';
	readonly code: FailureCode;
	/** Another try of the same may succeed. */
	readonly retriable: boolean;
	/** As the server wishes; null: it said nothing. */
	readonly retryAfterMs: number | null;
	/** Which rule of the operator it does not keep to; null: none. */
	readonly reason: TrustReason | null;

	constructor(
		code: FailureCode,
		message: string,
		more: { readonly retriable?: boolean; readonly retryAfterMs?: number | null; readonly reason?: TrustReason } = {},
	) {
		super(message);
		this.code = code;
		this.retriable = more.retriable ?? false;
		this.retryAfterMs = more.retryAfterMs ?? null;
		this.reason = more.reason ?? null;
	}
}

/** Nobody waits for it any more. */
export class FetchCanceled extends Error {
	override readonly name = 'FetchCanceled';
}

const retryAfterMaxMs = 600_000;
const worthAnotherTry: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504, 520, 522, 523, 524]);

/** `about` is what was asked for, in words: `https://host/path`, without what is behind `?`. */
export function statusProblem(status: number, about: string, retryAfter: string | null, nowMs: number): FetchError {
	const answered = `${about} answered ${status}`;
	if (status === 401)
		return new FetchError('UNAUTHORIZED', `${answered}: it wants credentials, and there are none for it or they are not accepted`);
	if (status === 403) return new FetchError('FORBIDDEN', `${answered}: these credentials, or nobody without, may have it`);
	if (status === 404 || status === 410) return new FetchError('NOT_FOUND', `${answered}: there is nothing by that name`);
	if (worthAnotherTry.has(status)) {
		const words = status === 429 ? `${answered}: it has been asked too often` : `${answered}: it cannot serve now`;
		return new FetchError('POOL_UNAVAILABLE', words, { retriable: true, retryAfterMs: retryAfterMs(retryAfter, nowMs) });
	}
	return new FetchError('POOL_UNAVAILABLE', answered);
}

/** Of `Retry-After`: seconds, or a date. */
export function retryAfterMs(header: string | null, nowMs: number): number | null {
	if (header === null) return null;
	const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - nowMs;
	return Number.isNaN(ms) ? null : Math.min(retryAfterMaxMs, Math.max(0, ms));
}

/** What a client library, a socket or the file system threw. */
export function asFetchError(error: unknown, about: string): FetchError | FetchCanceled {
	if (error instanceof FetchError || error instanceof FetchCanceled) return error;
	const { code, message } = causeOf(error);
	if (code === 'ENOSPC' || code === 'EDQUOT') return new FetchError('POOL_UNAVAILABLE', `the disk is full: ${message}`);
	if (fileCodes.has(code)) return new FetchError('POOL_UNAVAILABLE', `the catalog's folder cannot be written to: ${message}`);
	if (code === 'ENOTFOUND') return new FetchError('NOT_FOUND', `${about}: there is no such host`);
	if (/^(CERT_|ERR_TLS|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO)/.test(code))
		return new FetchError('UNTRUSTED_ARTIFACT', `${about}: its certificate is not trusted: ${message}`);
	if (networkCodes.test(code))
		return new FetchError('POOL_UNAVAILABLE', `${about}: ${code === '' ? message : `${message} (${code})`}`, { retriable: true });
	return new FetchError('POOL_UNAVAILABLE', `${about}: ${message}`);
}

/** As it crosses to main. */
export function problemOf({ code, message, retriable, reason }: FetchError): FetchProblem {
	return { code, message, retriable, ...(reason === null ? {} : { reason }) };
}

const fileCodes: ReadonlySet<string> = new Set([
	'EACCES',
	'EPERM',
	'EROFS',
	'ENOENT',
	'ENOTDIR',
	'EISDIR',
	'EIO',
	'ENAMETOOLONG',
	'EEXIST',
]);
const networkCodes =
	/^(UND_ERR_(SOCKET|CONNECT_TIMEOUT|HEADERS_TIMEOUT|BODY_TIMEOUT|RES_CONTENT_LENGTH_MISMATCH|CLOSED)|ECONN\w+|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EAI_AGAIN|HPE_\w+)$/;

/** Of several tries to connect, undici tells a bundle. */
function causeOf(error: unknown): { readonly code: string; readonly message: string } {
	if (error instanceof AggregateError && error.errors.length > 0) return causeOf(error.errors[0]);
	if (!(error instanceof Error)) return { code: '', message: String(error) };
	const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
	return { code, message: error.message };
}
