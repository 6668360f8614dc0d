/**
 * An engine that speaks the OpenAI API, for relays of such streams: `POST /v1/completions` or `/v1/chat/completions` is answered with
 * `max_tokens` deltas, one a tick, all streams on one clock, or as fast as they are read; then an end, the usage, `[DONE]`. The text of each
 * token is the moment of its write (µs, monotonic). Connections are kept. Prints `{"port":…}` and ends at end of stdin.
 *
 *   openai-engine RATE [SOCKET]
 */
import { createServer, type Socket } from 'node:net';

interface Stream {
	readonly socket: Socket;
	readonly chat: boolean;
	readonly id: string;
	next: number;
	readonly tokens: number;
}

const rate = Number(process.argv[2] ?? '50');
const flatOut = rate >= 1_000_000;
const flatOutSteps = 8;
const unsentMax = 64 * 1024;
const tickMs = 1000 / rate;
const streams = new Set<Stream>();
const models = JSON.stringify({
	object: 'list',
	data: [{ id: 'bench', object: 'model', created: 1, owned_by: 'bench', max_model_len: 1_000_000 }],
});
let made = 0;

function stampUs(): string {
	return String(process.hrtime.bigint() / 1000n);
}

function chunk(text: string): string {
	return `${text.length.toString(16)}\r\n${text}\r\n`;
}

/** With the fields that vLLM sends. */
function delta({ chat, id }: Stream, text: string | null, reason: string | null): string {
	const content = chat ? `"delta":{${text === null ? '' : `"content":"${text}"`}}` : `"text":"${text ?? ''}"`;
	const object = chat ? 'chat.completion.chunk' : 'text_completion';
	return `data: {"id":"${id}","object":"${object}","created":1700000000,"model":"bench","choices":[{"index":0,${content},"logprobs":null,"finish_reason":${reason === null ? 'null' : `"${reason}"`}}]}\n\n`;
}

function step(stream: Stream, most = 1): void {
	let frames = '';
	for (let count = 0; count < most && stream.next < stream.tokens; count += 1) {
		frames += delta(stream, `${stampUs()} `, null);
		stream.next += 1;
	}
	if (stream.next < stream.tokens) {
		stream.socket.write(chunk(frames));
		return;
	}
	streams.delete(stream);
	const usage = `data: {"id":"${stream.id}","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":${stream.tokens},"total_tokens":${stream.tokens + 1}}}\n\n`;
	stream.socket.write(`${chunk(frames)}${chunk(delta(stream, null, 'length'))}${chunk(usage)}${chunk('data: [DONE]\n\n')}0\r\n\r\n`);
}

function answer(socket: Socket, head: string, body: string): void {
	if (head.startsWith('GET ')) {
		const text = head.startsWith('GET /v1/models ') ? models : '{}';
		socket.write(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${text.length}\r\n\r\n${text}`);
		return;
	}
	const tokens = Number(/"max_tokens":(\d+)/.exec(body)?.[1] ?? '0');
	socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n');
	made += 1;
	const stream = { socket, chat: head.startsWith('POST /v1/chat/'), id: `cmpl-${made}`, next: 0, tokens };
	streams.add(stream);
	step(stream);
}

function serve(socket: Socket): void {
	let text = '';
	socket.setNoDelay(true);
	socket.setEncoding('latin1');
	socket.on('error', () => socket.destroy());
	socket.on('close', () => {
		for (const stream of streams) if (stream.socket === socket) streams.delete(stream);
	});
	socket.on('data', (part: string) => {
		text += part;
		const end = text.indexOf('\r\n\r\n');
		if (end < 0) return;
		const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? '0');
		if (text.length < end + 4 + length) return;
		const [head, body] = [text.slice(0, end), text.slice(end + 4, end + 4 + length)];
		text = text.slice(end + 4 + length);
		answer(socket, head, body);
	});
}

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

const [, , , socketPath] = process.argv;
if (socketPath !== undefined) createServer(serve).listen(socketPath);
const server = createServer(serve);
server.listen(0, '127.0.0.1', 1024, () => {
	const address = server.address();
	if (address !== null && typeof address === 'object') process.stdout.write(`${JSON.stringify({ port: address.port })}\n`);
	setTimeout(tick, tickMs);
});
process.stdin.on('end', () => process.exit(0)).resume();
