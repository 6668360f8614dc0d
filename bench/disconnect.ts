/**
 * Disconnect: how soon an engine over HTTP is rid of a request whose client has left.
 *
 * Operation: a pool of one slot before an engine in this process; one task is streamed, one waits; the client of the first cuts its
 * connection. Units, ms: `told` from the cut to the end of the daemon's connection at the engine, which stops then, as engines do that
 * look at their connections; `slot` from there to the request of the task that waited. Not measured: what an engine takes to look.
 * The client is a socket, not the client library: that ends a connection when it likes, and this one is to be cut at a known moment.
 *
 *   node dist/bench/disconnect.js [--runs 200] [--json FILE]
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { parseArgs } from 'node:util';
import { figure, machine, quantiles, report, table } from './report.ts';
import { Bench } from './subjects.ts';

const { values: options } = parseArgs({ options: { runs: { type: 'string', default: '200' }, json: { type: 'string' } } });
const warmRuns = 20;
const tokenMs = 5;
/** The next one decodes. */
const settleMs = 20;
const models = JSON.stringify({ object: 'list', data: [{ id: 'bench', object: 'model' }] });

/** Tells of each request when it came and when its connection ended. */
class Engine {
	readonly server = createServer((request, response) => void this.#serve(request, response));
	onAsked: (at: number) => void = () => undefined;
	onEnded: (at: number) => void = () => undefined;

	async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
		let body = '';
		for await (const part of request) body += String(part);
		if (request.method === 'GET') {
			response.setHeader('content-type', 'application/json').end(models);
			return;
		}
		response.writeHead(200, { 'content-type': 'text/event-stream' });
		// How the daemon finds out that its engine works.
		if (body.includes('"max_tokens":1,')) {
			response.end('data: {"choices":[{"index":0,"text":"a","delta":{"content":"a"},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n');
			return;
		}
		this.onAsked(performance.now());
		const ticks = setInterval(() => {
			response.write(`data: {"id":"c","choices":[{"index":0,"text":"a ","finish_reason":null}]}\n\n`);
		}, tokenMs);
		request.socket.once('end', () => {
			clearInterval(ticks);
			this.onEnded(performance.now());
			response.destroy();
		});
	}
}

/** A task that is streamed on the connection that it was submitted on; resolves when `until` has come. */
async function stream(port: number, until: string): Promise<Socket> {
	const socket = connect({ port, host: '127.0.0.1', noDelay: true });
	const body = JSON.stringify({ model_ref: 'bench', prompt: 'x', raw: true, max_tokens: 100_000, on_disconnect: 'cancel' });
	socket.write(
		`POST /v2/tasks HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
	);
	let seen = '';
	for await (const part of socket.iterator({ destroyOnReturn: false })) {
		seen += String(part);
		if (seen.includes(until)) break;
	}
	if (!seen.includes(until)) throw new Error(`a stream ended without ${until}: ${seen.slice(0, 300)}`);
	socket.on('error', () => undefined);
	return socket.resume();
}

const runs = Number(options.runs);
const bench = new Bench();
const engine = new Engine();
const toldMs: number[] = [];
const slotMs: number[] = [];
try {
	engine.server.listen(0, '127.0.0.1');
	await once(engine.server, 'listening');
	const url = `http://127.0.0.1:${(engine.server.address() as AddressInfo).port}`;
	const pool = { id: 'bench', engine: 'openai', provider: 'external', url, slots: 1, ctx: 200_000, max_tokens_out: 150_000 };
	const { port } = await bench.daemon({
		pools: [{ ...pool, aliases: ['bench'] }],
		tasks: { disconnect_grace_ms: 0, retention_ms: 1_000, log_bytes_max: '2GiB' },
	});
	let first = await stream(port, 'event: token');
	for (let run = -warmRuns; run < runs; run += 1) {
		const next = await stream(port, 'HTTP/1.1 200');
		const ended = new Promise<number>((resolve) => {
			engine.onEnded = resolve;
		});
		const asked = new Promise<number>((resolve) => {
			engine.onAsked = resolve;
		});
		const cutAt = performance.now();
		first.destroy();
		const endedAt = await ended;
		const askedAt = await asked;
		first = next;
		await new Promise((resolve) => setTimeout(resolve, settleMs));
		if (run < 0) continue;
		toldMs.push(endedAt - cutAt);
		slotMs.push(askedAt - endedAt);
	}
	first.destroy();
} finally {
	await bench.close();
	engine.server.closeAllConnections();
	engine.server.close();
}
const rows = [
	{ what: 'told', values: toldMs },
	{ what: 'slot', values: slotMs },
];
const text = table(rows, [
	{ title: 'ms', cell: ({ what }) => what },
	...([0.5, 0.9, 0.99] as const).map((q) => ({
		title: `p${q * 100}`,
		cell: ({ values }: (typeof rows)[number]) => figure(quantiles(values, [q])[0] ?? Number.NaN, 1),
	})),
]);
report('disconnect', `disconnect: ${runs} runs, ${machine()}\n\n${text}`, options.json, { toldMs, slotMs });
