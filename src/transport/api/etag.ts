/** Answers that a client may have already: `ETag`, and 304 for who names it in `If-None-Match`. On the front thread. */
import { createHash } from 'node:crypto';
import type { Exchange } from '../http/exchange.ts';
import type { Header } from '../http/http-host.ts';
import { httpStatus } from './errors.ts';

/** Of `json`, or of what says all that an answer may differ in. */
export function etagOf(json: string): string {
	return `"${createHash('sha256').update(json).digest('base64url').slice(0, 22)}"`;
}

export function asksForOther(exchange: Exchange, etag: string): boolean {
	const known = exchange.request.header('if-none-match') ?? '';
	return known.trim() !== '*' && !known.split(',').some((each) => each.trim().replace(/^W\//, '') === etag);
}

/** 304 for who has it already. */
export function sendTagged(exchange: Exchange, json: string, etag = etagOf(json)): void {
	if (asksForOther(exchange, etag)) sendJson(exchange, httpStatus.ok, json, [['ETag', etag]]);
	else exchange.empty(httpStatus.notModified, [['ETag', etag]]);
}

/** `json` as it is. */
export function sendJson(exchange: Exchange, status: number, json: string, more: readonly Header[] = []): void {
	exchange.sink.respond(status, exchange.headers([['Content-Type', 'application/json'], ...more]), json);
}
