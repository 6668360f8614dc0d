/**
 * A stand-in for the daemon under its parent: a process that does what the test tells it over a socket, and tells the test
 * which signals it was sent. Never outlives the test's end of the socket.
 */
import { writeSync } from 'node:fs';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';

export type Order =
	| { readonly type: 'roll'; readonly lines: readonly string[] }
	| { readonly type: 'exit'; readonly code: number }
	| { readonly type: 'die'; readonly signal: 'SIGKILL' | 'SIGABRT' };

export type Report =
	| { readonly type: 'started'; readonly pid: number }
	| { readonly type: 'done' }
	| { readonly type: 'signal'; readonly name: string };

const socket = connect(process.argv[2] ?? '');
const report = (what: Report): void => void socket.write(`${JSON.stringify(what)}\n`);

for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
	if (!process.argv.includes(`--default=${name}`)) process.on(name, () => report({ type: 'signal', name }));
}
report({ type: 'started', pid: process.pid });
createInterface({ input: socket }).on('line', (line) => {
	const order = JSON.parse(line) as Order;
	switch (order.type) {
		case 'roll':
			for (const each of order.lines) writeSync(3, `${each}\n`);
			report({ type: 'done' });
			return;
		case 'exit':
			process.exit(order.code);
			return;
		case 'die':
			process.kill(process.pid, order.signal);
	}
});
socket.on('close', () => process.exit(99));
