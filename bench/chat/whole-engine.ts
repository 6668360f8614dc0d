/**
 * An engine that answers a chat whole: `POST` anything, and the same bytes come back DELAY ms later, over connections that are kept. Prints
 * `{"port":…}` and ends at end of stdin.
 *
 *   whole-engine DELAY BYTES
 */
import { createServer } from 'node:net';
import { requestEnd } from './http-bytes.ts';

const delayMs = Number(process.argv[2] ?? '0');
const body = 'x'.repeat(Number(process.argv[3] ?? '460'));
const answer = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

const server = createServer((socket) => {
	let text = '';
	socket.setNoDelay(true);
	socket.setEncoding('latin1');
	socket.on('error', () => socket.destroy());
	socket.on('data', (part: string) => {
		text += part;
		const end = requestEnd(text);
		if (end < 0) return;
		text = text.slice(end);
		if (delayMs === 0) socket.write(answer);
		else setTimeout(() => socket.write(answer), delayMs);
	});
});
server.listen(0, '127.0.0.1', 1024, () => {
	const address = server.address();
	if (address !== null && typeof address === 'object') process.stdout.write(`${JSON.stringify({ port: address.port })}\n`);
});
process.stdin.on('end', () => process.exit(0)).resume();
