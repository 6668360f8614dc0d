/**
 * The least that stands between a client and an engine: uWebSockets takes a request, its bytes go to the engine over a socket that is kept,
 * and the body of what comes back is the answer. No parse, no queue, no check. Prints `{"port":…}` and ends at end of stdin.
 *
 *   bare-relay PORT
 */

import uWS from 'uWebSockets.js';
import { connect, type Socket } from 'node:net';
import { requestEnd } from './http-bytes.ts';

const enginePort = Number(process.argv[2]);
const idle: Socket[] = [];

function ask(request: string, use: (body: string) => void): void {
	const socket = idle.pop() ?? connect({ port: enginePort, host: '127.0.0.1', noDelay: true }).setEncoding('latin1');
	let text = '';
	const onData = (part: string): void => {
		text += part;
		const end = requestEnd(text);
		if (end < 0) return;
		socket.off('data', onData);
		idle.push(socket);
		use(text.slice(text.indexOf('\r\n\r\n') + 4, end));
	};
	socket.on('data', onData);
	socket.write(request, 'latin1');
}

uWS
	.App()
	.post('/*', (response) => {
		let open = true;
		let body = '';
		response.onAborted(() => {
			open = false;
		});
		response.onData((part, last) => {
			body += Buffer.from(part).toString('latin1');
			if (!last) return;
			ask(`POST / HTTP/1.1\r\nHost: engine\r\nContent-Length: ${body.length}\r\n\r\n${body}`, (answer) => {
				if (open) response.cork(() => response.writeHeader('Content-Type', 'application/json').end(answer));
			});
		});
	})
	.listen('127.0.0.1', 0, (token) => {
		if (token !== false) process.stdout.write(`${JSON.stringify({ port: uWS.us_socket_local_port(token) })}\n`);
	});
process.stdin.on('end', () => process.exit(0)).resume();
