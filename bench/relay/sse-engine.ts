/**
 * The direct line's engine: an HTTP/1.1 server that answers `GET /?tokens=N` with N server-sent events, one a tick, all
 * streams on one clock, or as fast as they are read; the first event leaves at once. The text of each token is the moment of its write (µs, monotonic),
 * so that whoever reads it knows the delay. Prints `{"port":…}` and ends at end of stdin.
 */
import { createServer, type Socket } from 'node:net';

interface Stream {
	readonly socket: Socket;
	next: number;
	readonly tokens: number;
}

const rate = Number(process.argv[2] ?? '50');
/** No pace: as the scripted engine has it. */
const flatOut = rate >= 1_000_000;
const flatOutSteps = 8;
const unsentMax = 64 * 1024;
const tickMs = 1000 / rate;
const streams = new Set<Stream>();

function stampUs(): string {
	return String(process.hrtime.bigint() / 1000n);
}

function chunk(text: string): string {
	return `${text.length.toString(16)}\r\n${text}\r\n`;
}

function frameOf(stream: Stream): string {
	return `id: ${stream.next + 2}\nevent: token\ndata: {"t":"${stampUs()} ","i":${stream.next}}\n\n`;
}

function step(stream: Stream, most = 1): void {
	let frames = '';
	for (let count = 0; count < most && stream.next < stream.tokens; count += 1) {
		frames += frameOf(stream);
		stream.next += 1;
	}
	if (stream.next < stream.tokens) {
		stream.socket.write(chunk(frames));
		return;
	}
	streams.delete(stream);
	stream.socket.end(`${chunk(frames)}${chunk('event: end\ndata: {}\n\n')}0\r\n\r\n`);
}

const server = createServer({ noDelay: true }, (socket) => {
	let head = '';
	socket.setEncoding('latin1');
	socket.on('error', () => socket.destroy());
	socket.on('data', (text: string) => {
		head += text;
		const end = head.indexOf('\r\n\r\n');
		if (end < 0) return;
		const tokens = Number(/tokens=(\d+)/.exec(head)?.[1] ?? '0');
		head = head.slice(end + 4);
		socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n');
		const stream = { socket, next: 0, tokens };
		streams.add(stream);
		socket.on('close', () => streams.delete(stream));
		step(stream);
	});
});

let due = performance.now() + tickMs;
function tick(): void {
	if (flatOut) {
		for (const stream of streams) if (stream.socket.writableLength < unsentMax) step(stream, flatOutSteps);
		if (streams.size === 0) setTimeout(tick, 1);
		else setImmediate(tick);
		return;
	}
	for (const stream of streams) step(stream);
	due += tickMs;
	setTimeout(tick, Math.max(0, due - performance.now()));
}

server.listen(0, '127.0.0.1', 1024, () => {
	const address = server.address();
	if (address !== null && typeof address === 'object') process.stdout.write(`${JSON.stringify({ port: address.port })}\n`);
	setTimeout(tick, tickMs);
});
process.stdin.on('end', () => process.exit(0)).resume();
