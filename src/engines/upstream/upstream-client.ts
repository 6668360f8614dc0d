/**
 * Calls to an engine over HTTP that carry no tokens: health, facts, counts. By `undici`; bounded in time and size. The library
 * is loaded by the first call: two threads of every daemon would else pay for it at their start, and most have no such engine.
 */
import type { Agent } from 'undici';
import { failure } from '../../actors/serving/failure.ts';
import { type UpstreamClient, UpstreamProblem, type UpstreamTarget } from './adapter.ts';
import { endpointOf } from './endpoint.ts';
import { failureOf } from './upstream-errors.ts';

const answerMs = 5_000;
const answerBytesMax = 16 * 1024 * 1024;
/** By socket path: '' for those that have none. */
const agents = new Map<string, Agent>();

export function upstreamClient({
	url,
	key,
	engine,
	connectMs,
}: Pick<UpstreamTarget, 'url' | 'key' | 'engine' | 'connectMs'>): UpstreamClient {
	const { tls, host, port, socketPath, authority, basePath } = endpointOf(url);
	const name = host?.includes(':') === true ? `[${host}]` : host;
	const origin = socketPath === null ? `${tls ? 'https' : 'http'}://${name}:${port}` : `http://${authority}`;
	const call = async (method: 'GET' | 'POST', path: string, body?: unknown): Promise<string | null> => {
		try {
			const { Agent, request } = await import('undici');
			const dispatcher = agentFor(Agent, socketPath, connectMs);
			const answer = await request(`${origin}${basePath}${path}`, {
				method,
				dispatcher,
				headersTimeout: answerMs,
				bodyTimeout: answerMs,
				signal: AbortSignal.timeout(2 * answerMs),
				headers: {
					accept: 'application/json, text/plain',
					'user-agent': 'orchestratord',
					...(key === null ? {} : { authorization: `Bearer ${key}` }),
					...(body === undefined ? {} : { 'content-type': 'application/json' }),
				},
				...(body === undefined ? {} : { body: JSON.stringify(body) }),
			});
			if (answer.statusCode === 404 || answer.statusCode === 405) {
				await answer.body.dump();
				return null;
			}
			if (answer.statusCode < 200 || answer.statusCode > 299) {
				await answer.body.dump();
				const retryAfter = answer.headers['retry-after'];
				const problem = failureOf(answer.statusCode, engine, typeof retryAfter === 'string' ? retryAfter : null, Date.now());
				throw new UpstreamProblem(problem, answer.statusCode);
			}
			return await textOf(answer.body);
		} catch (error) {
			if (error instanceof UpstreamProblem) throw error;
			const code = codeOf(error);
			throw new UpstreamProblem(failure('POOL_UNREADY', `no answer from the engine: ${code}`, { engine, retryAfterMs: 1_000 }));
		}
	};
	return {
		async json(method, path, body) {
			const text = await call(method, path, body);
			if (text === null) return null;
			try {
				return JSON.parse(text);
			} catch {
				throw new UpstreamProblem(failure('WORKER_RESET', `the engine answers ${path} with what is no JSON`, { engine }));
			}
		},
		text: (path) => call('GET', path),
		order: async (path) => void (await call('POST', path)),
	};
}

function agentFor(Made: typeof Agent, socketPath: string | null, connectMs: number): Agent {
	const key = `${socketPath ?? ''} ${connectMs}`;
	const known = agents.get(key);
	if (known !== undefined) return known;
	const agent = new Made({ connect: { timeout: connectMs, ...(socketPath === null ? {} : { socketPath }) }, keepAliveTimeout: 4_000 });
	agents.set(key, agent);
	return agent;
}

async function textOf(body: AsyncIterable<Buffer>): Promise<string> {
	const parts: Buffer[] = [];
	let bytes = 0;
	for await (const part of body) {
		bytes += part.length;
		if (bytes > answerBytesMax) throw new Error('its answer is too long');
		parts.push(part);
	}
	return Buffer.concat(parts).toString();
}

/** A code, or a name: messages may hold what was sent. */
function codeOf(error: unknown): string {
	if (!(error instanceof Error)) return 'unknown error';
	const { code, cause } = error as Error & { code?: unknown; cause?: unknown };
	const inner = cause instanceof Error ? (cause as Error & { code?: unknown }).code : undefined;
	const told = code ?? inner ?? error.name;
	return typeof told === 'string' ? told : error.name;
}
