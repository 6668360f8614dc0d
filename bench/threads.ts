/**
 * Messages between two threads: the kernel's `tell` over a link, as the front and the control thread talk.
 *
 * Operation: one message of five fields told here and handled by an actor on the other thread. Unit: messages/s, and CPU in ns
 * a message of both threads. `batch`: messages told in one turn, which travel as one; the next batch is told when the one
 * before the last has been answered, so that both threads have work. `round trip`: a batch and its answer, with nothing else
 * under way, in µs. Not measured: what behaviours do.
 *
 *   node dist/bench/threads.js [--runs 5] [--json FILE]
 */
import { parseArgs } from 'node:util';
import { MessageChannel, Worker } from 'node:worker_threads';
import { RealHost } from '../src/actors/kernel/real-host.ts';
import type { ActorRef } from '../src/actors/kernel/ref.ts';
import { ActorSystem } from '../src/actors/kernel/system.ts';
import { silentTelemetry } from '../src/actors/kernel/telemetry.ts';
import { Link, type Peer } from '../src/actors/threads/link.ts';
import { messagePortLink } from '../src/actors/threads/link-port.ts';
import { figure, machine, report, spread, table } from './report.ts';
import type { Answer, Note } from './threads/worker.ts';

const { values: options } = parseArgs({ options: { runs: { type: 'string', default: '5' }, json: { type: 'string' } } });
const batches = [1, 16, 64, 256, 1024];
const secondsARun = 1;
const warmSeconds = 0.3;

const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
const worker = new Worker(new URL(`./threads/worker${extension}`, import.meta.url));
const system = new ActorSystem(new RealHost(silentTelemetry));
const { port1, port2 } = new MessageChannel();
const peer = await new Promise<Peer>((resolve) => {
	new Link(system, messagePortLink(port1), { incarnation: 1, names: {}, urgent: new Set(), onPeer: resolve, onLost: () => undefined });
	worker.postMessage(port2, [port2]);
});
const sink = peer.remote<Note>('sink');

/** Tells `batch` messages a turn, with at most `ahead` batches under way. */
function flood(batch: number, ahead: number, seconds: number): Promise<{ readonly perSecond: number; readonly cpuNs: number }> {
	return new Promise((resolve) => {
		let told = 0;
		let underWay = 0;
		const cpu = process.cpuUsage();
		const from = performance.now();
		const edge: ActorRef<Answer> & { close(): void } = system.edge<Answer>(() => {
			underWay -= 1;
			const spentMs = performance.now() - from;
			if (spentMs < seconds * 1000) return tellBatch();
			if (underWay > 0) return;
			edge.close();
			const used = process.cpuUsage(cpu);
			resolve({ perSecond: (told / spentMs) * 1000, cpuNs: ((used.user + used.system) * 1000) / told });
		});
		const tellBatch = (): void => {
			for (let index = 1; index < batch; index += 1) sink.tell({ type: 'note', task: 'a task', n: told + index, at: from, last: false });
			sink.tell({ type: 'last-note', task: 'a task', n: told + batch, at: from, last: true, replyTo: edge });
			told += batch;
			underWay += 1;
		};
		for (let index = 0; index < ahead; index += 1) setImmediate(tellBatch);
	});
}

const rows: { readonly batch: number; readonly perSecond: number[]; readonly cpuNs: number[]; readonly roundTripUs: number[] }[] = [];
for (const batch of batches) {
	await flood(batch, 2, warmSeconds);
	rows.push({ batch, perSecond: [], cpuNs: [], roundTripUs: [] });
}
for (let run = 0; run < Number(options.runs); run += 1) {
	for (const row of rows) {
		const { perSecond, cpuNs } = await flood(row.batch, 2, secondsARun);
		const alone = await flood(row.batch, 1, warmSeconds);
		row.roundTripUs.push((row.batch / alone.perSecond) * 1e6);
		row.perSecond.push(perSecond);
		row.cpuNs.push(cpuNs);
	}
}
const text = table(rows, [
	{ title: 'batch', cell: (row) => figure(row.batch) },
	{ title: 'messages/s', cell: (row) => spread(row.perSecond) },
	{ title: 'CPU ns/message', cell: (row) => spread(row.cpuNs) },
	{ title: 'round trip of a batch µs', cell: (row) => spread(row.roundTripUs) },
]);
report('threads', `threads: ${options.runs} runs of ${secondsARun} s, ${machine()}\n\n${text}`, options.json, rows);
await worker.terminate();
port1.close();
