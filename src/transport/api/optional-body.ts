/** Requests that may come without a body: none is an empty object. On the front thread. */
import type { Handler } from '../http/application.ts';
import type { Exchange } from '../http/exchange.ts';
import type { FrontParts } from './front-parts.ts';
import { type Parsed, parseJsonBody } from './json-body.ts';

export function withOptionalBody(parts: FrontParts, use: (exchange: Exchange, json: unknown) => void): Handler {
	return (exchange) =>
		exchange.body((bytes) => {
			const json: Parsed<unknown> = bytes.length === 0 ? { ok: true, value: {} } : parseJsonBody(bytes);
			if (json.ok) use(exchange, json.value);
			else exchange.fail(json.failure);
		}, parts.options.bodyBytesMax);
}
