/**
 * What every request passes before its handler, outermost first: correlation id, bug guard, header bound, Host and Origin,
 * key, route. On the front thread; owns no state but the router.
 */
import { randomUUID } from 'node:crypto';
import { failure } from '../../actors/serving/failure.ts';
import { httpStatus } from '../api/errors.ts';
import type { KeyRing } from '../auth/key-ring.ts';
import type { OriginGuard } from '../auth/origin-guard.ts';
import type { Access } from '../auth/principal.ts';
import { Exchange } from './exchange.ts';
import type { BodyReceiver, BugReport, Header, HttpRequest, RequestHandler, ResponseSink, WebSocketAcceptance } from './http-host.ts';
import type { Router } from './routes.ts';

/** Answers, now or later, or takes the body first. */
export type Handler = (exchange: Exchange) => BodyReceiver | null;

const challenge: Header = ['WWW-Authenticate', 'Bearer'];
const correlationIdShape = /^[A-Za-z0-9._-]{1,64}$/;

/** Takes a connection as a WebSocket, or answers through the exchange and returns null. */
export type UpgradeHandler = (exchange: Exchange) => WebSocketAcceptance | null;

export interface ApplicationOptions {
	/** By path. */
	readonly upgrades: ReadonlyMap<string, UpgradeHandler>;
	readonly router: Router<Handler>;
	/** Asked for each request: the port is known only once it listens. */
	readonly guard: () => OriginGuard;
	readonly keys: KeyRing;
	readonly headerCountMax: number;
	/** A bug that was answered with 500. `correlationId` is what the client was told. */
	readonly onBug: (where: string, correlationId: string, error: unknown) => void;
}

export class Application implements RequestHandler {
	readonly #options: ApplicationOptions;

	constructor(options: ApplicationOptions) {
		this.#options = options;
	}

	onRequest(request: HttpRequest, sink: ResponseSink): BodyReceiver | null {
		const exchange = this.#exchange(request, sink);
		return exchange.guarded(() => this.#dispatch(exchange));
	}

	onUpgrade(request: HttpRequest, sink: ResponseSink): WebSocketAcceptance | null {
		const exchange = this.#exchange(request, sink);
		return exchange.guarded(() => {
			if (!this.#admits(exchange) || !this.#knows(exchange, 'client')) return null;
			const upgrade = this.#options.upgrades.get(request.path);
			if (upgrade !== undefined) return upgrade(exchange);
			exchange.fail(failure('NOT_FOUND', `no WebSocket here; there is one at ${[...this.#options.upgrades.keys()].join(', ')}`));
			return null;
		});
	}

	#exchange(request: HttpRequest, sink: ResponseSink): Exchange {
		const correlationId = correlationIdOf(request);
		const report: BugReport = (where, error) => this.#options.onBug(where, correlationId, error);
		return new Exchange(request, sink, correlationId, report);
	}

	/** False: it was refused, whatever it is for. */
	#admits(exchange: Exchange): boolean {
		const { guard, headerCountMax } = this.#options;
		const { request } = exchange;
		if (request.headerCount > headerCountMax) {
			exchange.fail(failure('INVALID_PARAMS', `the request has ${request.headerCount} headers; at most ${headerCountMax} are taken`));
			return false;
		}
		const refusal = guard().refusal(request);
		if (refusal !== null) exchange.fail(refusal);
		else exchange.common = guard().corsHeaders(request);
		return refusal === null;
	}

	/** False: it was refused, for who it is from may not. */
	#knows(exchange: Exchange, access: Access): boolean {
		const admission = this.#options.keys.admit(exchange.request, access);
		if (admission.ok) exchange.principal = admission.principal;
		else exchange.fail(admission.failure, admission.failure.code === 'UNAUTHORIZED' ? [challenge] : []);
		return admission.ok;
	}

	#dispatch(exchange: Exchange): BodyReceiver | null {
		if (!this.#admits(exchange)) return null;
		const { router, guard } = this.#options;
		const { request } = exchange;
		const match = router.match(request.method, request.path);
		const preflight = match.found === 'path' ? guard().preflight(request, match.allow) : null;
		if (preflight !== null) {
			exchange.empty(httpStatus.noContent, preflight);
			return null;
		}
		// What is there and what is not is told only to those with a key.
		if (!this.#knows(exchange, match.found === 'route' ? match.access : 'client')) return null;
		if (match.found === 'route') {
			exchange.params = match.params;
			exchange.route = match.pattern;
			return match.handler(exchange);
		}
		if (match.found === 'nothing') {
			exchange.fail(failure('NOT_FOUND', 'no such path; /openapi.json lists what there is'));
		} else if (request.method === 'OPTIONS') {
			exchange.empty(httpStatus.noContent, [['Allow', match.allow]]);
		} else {
			const message = `${shownMethod(request.method)} is not allowed here; allowed: ${match.allow}`;
			exchange.fail(failure('INVALID_PARAMS', message), [['Allow', match.allow]], httpStatus.methodNotAllowed);
		}
		return null;
	}
}

function correlationIdOf(request: HttpRequest): string {
	const given = request.header('x-correlation-id');
	return given !== undefined && correlationIdShape.test(given) ? given : randomUUID();
}

function shownMethod(method: string): string {
	return /^[A-Z]{1,16}$/.test(method) ? method : 'this method';
}
