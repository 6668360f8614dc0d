/**
 * Requests of one pull to where its model comes from, over undici: redirects only within the rules, looked at again by the address that a
 * name has, and what was refused in words. On the fetching thread. Credentials go to the origin that they are for and no further.
 */
import { lookup as resolveName } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { rootCertificates } from 'node:tls';
import { Agent, type Dispatcher } from 'undici';
import { type Reach, reach, reachOf, redirectProblem } from './address-rules.ts';
import { asFetchError, FetchError, statusProblem } from './fetch-error.ts';

export interface WebOptions {
	readonly caRoots: readonly string[];
	readonly redirectHosts: readonly string[];
	readonly signal: AbortSignal;
	/** A connection, an answer or a body that stands still for so long is given up. */
	readonly silentMs: number;
	/** What a name means. Default: as the system says. */
	readonly resolve?: typeof resolveName;
}

export interface Asked {
	readonly method?: 'GET' | 'HEAD';
	readonly headers?: Readonly<Record<string, string>>;
	/** The digest of what comes is known: redirects may lead further. Default: it is not. */
	readonly known?: boolean;
	/** The address was named by this one: it may be no nearer. Default: it is of an operator. */
	readonly behind?: string;
	/** Statuses that are no problem, beside those of success. */
	readonly accept?: readonly number[];
}

export interface Answer {
	readonly status: number;
	/** Where it came from in the end. */
	readonly url: string;
	readonly body: Dispatcher.ResponseData['body'];
	header(name: string): string | null;
}

const redirectsMax = 5;
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** These go wherever a redirect leads: they hold no secret. */
const harmless: ReadonlySet<string> = new Set(['range', 'if-range', 'accept', 'accept-encoding', 'user-agent']);
const jsonBytesMax = 16 * 1024 * 1024;

export class Web {
	readonly #options: WebOptions;
	/** By the nearest address that may be connected to; null: any, for it is where an operator sent us. */
	readonly #agents = new Map<Reach | null, Agent>();
	/** Of names that were connected to. */
	readonly #reaches = new Map<string, Reach>();

	constructor(options: WebOptions) {
		this.#options = options;
	}

	/** Throws `FetchError`, also for any status that is not of success and not in `accept`. */
	async ask(address: string, { method = 'GET', headers = {}, known = false, behind, accept = [] }: Asked = {}): Promise<Answer> {
		let at = new URL(address);
		let sent: Record<string, string> = { 'user-agent': 'orchestratord', 'accept-encoding': 'identity', ...headers };
		let floor: Reach | null = behind === undefined ? null : this.#reachOf(new URL(behind).hostname);
		const way = [at.href];
		for (;;) {
			const response = await this.#once(at, method, sent, floor);
			const location = response.headers['location'];
			if (!redirects.has(response.statusCode) || typeof location !== 'string') {
				return await this.#answer(at, response, accept);
			}
			await response.body.dump();
			const next = URL.canParse(location, at.href) ? new URL(location, at) : null;
			const { redirectHosts } = this.#options;
			const problem = next === null ? 'it leads nowhere' : redirectProblem(at, next, { known, redirectHosts });
			if (next === null || problem !== null) throw refused(at, problem ?? '');
			floor = further(floor, this.#reachOf(at.hostname));
			if (way.includes(next.href)) throw refused(at, `it leads in a circle, back to ${shownUrl(next)}`);
			if (way.length > redirectsMax) throw refused(at, `it is the ${way.length}th in a row, at most ${redirectsMax} are followed`);
			way.push(next.href);
			if (next.origin !== at.origin) sent = Object.fromEntries(Object.entries(sent).filter(([name]) => harmless.has(name.toLowerCase())));
			at = next;
		}
	}

	/** A small answer, as JSON. */
	async json(address: string, asked: Asked = {}): Promise<{ readonly value: unknown; readonly answer: Answer }> {
		const answer = await this.ask(address, asked);
		return { value: await this.read(answer), answer };
	}

	async read(answer: Answer): Promise<unknown> {
		const bytes = await this.bytes(answer, jsonBytesMax);
		try {
			return JSON.parse(bytes.toString('utf8')) as unknown;
		} catch {
			throw new FetchError('POOL_UNAVAILABLE', `${shownUrl(new URL(answer.url))} answered something else than JSON`);
		}
	}

	async bytes({ body, url }: Answer, most: number): Promise<Buffer> {
		const about = shownUrl(new URL(url));
		const pieces: Buffer[] = [];
		let length = 0;
		try {
			for await (const piece of body as AsyncIterable<Buffer>) {
				length += piece.length;
				if (length > most) throw new FetchError('POOL_UNAVAILABLE', `${about} answered more than ${most} bytes`);
				pieces.push(piece);
			}
		} catch (error) {
			throw asFetchError(error, about);
		}
		return Buffer.concat(pieces);
	}

	close(): void {
		for (const agent of this.#agents.values()) void agent.destroy();
	}

	async #once(
		at: URL,
		method: 'GET' | 'HEAD',
		headers: Readonly<Record<string, string>>,
		floor: Reach | null,
	): Promise<Dispatcher.ResponseData> {
		const { signal } = this.#options;
		// An address in numbers is looked up by nobody.
		const literal = at.hostname.replace(/^\[|\]$/g, '');
		if (floor !== null && isIP(literal) !== 0 && reachOf(literal) < floor) throw refused(at, nearer(literal));
		try {
			return await this.#agent(floor).request({ origin: at.origin, path: `${at.pathname}${at.search}`, method, headers, signal });
		} catch (error) {
			throw asFetchError(error, shownUrl(at));
		}
	}

	async #answer(at: URL, response: Dispatcher.ResponseData, accept: readonly number[]): Promise<Answer> {
		const { statusCode: status, headers, body } = response;
		const header = (name: string): string | null => {
			const value = headers[name];
			return value === undefined ? null : typeof value === 'string' ? value : (value[0] ?? null);
		};
		if ((status >= 200 && status < 300) || accept.includes(status)) return { status, url: at.href, body, header };
		await body.dump();
		throw statusProblem(status, shownUrl(at), header('retry-after'), Date.now());
	}

	#agent(floor: Reach | null): Agent {
		const known = this.#agents.get(floor);
		if (known !== undefined) return known;
		const { caRoots, silentMs } = this.#options;
		const agent = new Agent({
			headersTimeout: silentMs,
			bodyTimeout: silentMs,
			connect: {
				lookup: this.#lookup(floor),
				timeout: Math.min(silentMs, 10_000),
				...(caRoots.length === 0 ? {} : { ca: [...rootCertificates, ...caRoots] }),
			},
		});
		this.#agents.set(floor, agent);
		return agent;
	}

	/** A name is looked up once, and connected to by what was found: what it means cannot change in between. */
	#lookup(floor: Reach | null): LookupFunction {
		const { resolve = resolveName } = this.#options;
		return (hostname, options, use) => {
			resolve(hostname, { ...options, all: true }, (error, found) => {
				if (error !== null) return use(error, '', 0);
				const allowed = floor === null ? found : found.filter(({ address }) => reachOf(address) >= floor);
				const first = allowed[0];
				if (first === undefined) return use(new FetchError('FORBIDDEN', `a redirect was refused: ${nearer(hostname)}`), '', 0);
				for (const { address } of allowed) this.#reaches.set(hostname, further(this.#reaches.get(hostname) ?? null, reachOf(address)));
				if (options.all === true) use(null, allowed);
				else use(null, first.address, first.family);
			});
		};
	}

	#reachOf(hostname: string): Reach {
		const literal = hostname.replace(/^\[|\]$/g, '');
		return isIP(literal) === 0 ? (this.#reaches.get(hostname) ?? reach.public) : reachOf(literal);
	}
}

function further(a: Reach | null, b: Reach): Reach {
	return a === null || a < b ? b : a;
}

function nearer(host: string): string {
	return `${host} is an address of this machine or its network, and the origin is not`;
}

function refused(at: URL, why: string): FetchError {
	return new FetchError('FORBIDDEN', `a redirect of ${shownUrl(at)} is not followed: ${why}`);
}

/** Without what is behind `?`: signed addresses carry their signature there. */
export function shownUrl({ protocol, host, pathname }: URL): string {
	return `${protocol}//${host}${pathname}`;
}

/** What JSON from elsewhere is looked into as. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
	return typeof value === 'object' && value !== null && !Array.isArray(value);
}
