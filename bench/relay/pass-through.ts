/**
 * A relay of ours that only passes bytes on: the server library and the connections to the engine that the daemon has, and between
 * them nothing. No queue, no task, no log, no scan for events: what the daemon costs above it is what accounting and logging cost.
 * Prints `{"port":…}` and ends at end of stdin.
 *
 *   pass-through URL
 */
import { endpointOf } from '../../src/engines/upstream/endpoint.ts';
import { UpstreamConnections } from '../../src/engines/upstream/upstream-connections.ts';
import type { ResponseSink } from '../../src/transport/http/http-host.ts';
import { loadUwsHost } from '../../src/transport/http/uws-host.ts';

const mebibyte = 1024 * 1024;
const endpoint = endpointOf(process.argv[2] ?? '');
const connections = new UpstreamConnections(endpoint, 5_000);
const nothing = Buffer.alloc(0);

function broken(where: string, error: unknown): void {
	process.stderr.write(`pass-through: ${where}: ${String(error)}\n`);
	process.exit(1);
}

function relay(path: string, body: Buffer, sink: ResponseSink): void {
	const head = `POST ${path} HTTP/1.1\r\nhost: ${endpoint.authority}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
	/** Of this read. */
	let parts: Buffer[] = [];
	const writeParts = (): void => {
		for (const part of parts) sink.write(part);
		parts = [];
	};
	const connection = connections.send(Buffer.concat([Buffer.from(head, 'latin1'), body]), {
		onHead(status, headers) {
			sink.start(status, [['Content-Type', headers.get('content-type') ?? 'text/plain']], nothing);
		},
		onBody(bytes, start, end) {
			parts.push(bytes.subarray(start, end));
		},
		onReadEnd() {
			if (parts.length > 0) sink.corked(writeParts);
		},
		onEnd() {
			sink.end();
		},
		onBroken() {
			sink.abort();
		},
	});
	sink.onAborted = () => connection.close('its client left');
}

const choice = loadUwsHost(
	{
		hostname: '127.0.0.1',
		port: 0,
		bodyBytesMax: mebibyte,
		inflightBodyBytesMax: 64 * mebibyte,
		connectionsMax: 16_384,
		wsMessageBytesMax: mebibyte,
	},
	broken,
);
if (!choice.ok) throw new Error(choice.reason);
const { port } = await choice.host.listen({
	onRequest: (request, sink) => {
		if (request.method === 'GET') {
			sink.respond(200, [], 'ok');
			return null;
		}
		return {
			onBody: (body) => relay(request.path, Buffer.from(body), sink),
			onBodyRefused: () => sink.abort(),
		};
	},
	onUpgrade: () => null,
});
process.stdout.write(`${JSON.stringify({ port })}\n`);
process.stdin.on('end', () => process.exit(0)).resume();
