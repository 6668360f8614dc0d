/**
 * What a reader costs that stops reading: a finished task with a long log, many watchers that ask for it and never read a
 * byte. The growth of the daemon's resident memory over their number (the kernel's socket buffers are bounded by its own limits and not in it).
 */
import { connect, type Socket } from 'node:net';
import type { Bench } from '../subjects.ts';
import { residentBytes } from '../subjects.ts';

export interface StallResult {
	readonly readers: number;
	readonly seconds: number;
	readonly logBytes: number;
	readonly bytesPerReader: number;
}

const readers = 16;
const seconds = 8;
const tokens = 100_000;

async function wholeLog(port: number, id: string): Promise<number> {
	const response = await fetch(`http://127.0.0.1:${port}/v2/tasks/${id}/events`);
	let bytes = 0;
	for await (const part of response.body ?? []) bytes += (part as Uint8Array).length;
	return bytes;
}

function stalledReader(port: number, id: string): Promise<Socket> {
	return new Promise((resolve, reject) => {
		const socket = connect({ port, host: '127.0.0.1' }, () => {
			socket.pause();
			socket.write(`GET /v2/tasks/${id}/events HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`, () => resolve(socket));
		});
		socket.once('error', reject);
	});
}

/** Whether the reader comes to the terminal event. */
function readsOn(socket: Socket): Promise<boolean> {
	return new Promise((resolve) => {
		let tail = '';
		const done = (ended: boolean): void => {
			clearTimeout(late);
			socket.destroy();
			resolve(ended);
		};
		const late = setTimeout(done, 20_000, false);
		socket.setEncoding('latin1');
		socket.on('data', (text: string) => {
			tail = (tail + text).slice(-400);
			if (tail.includes('event: end')) done(true);
		});
		socket.on('close', () => done(tail.includes('event: end')));
		socket.resume();
	});
}

export async function measureStall(bench: Bench): Promise<StallResult> {
	const subject = await bench.orchestratord(1, 1e9, tokens, { retentionMs: 600_000 });
	const pid = subject.relayPids()[0] ?? 0;
	const created = await fetch(`http://127.0.0.1:${subject.port}/v2/tasks`, {
		method: 'POST',
		headers: { 'content-type': 'application/json' },
		body: JSON.stringify({ model_ref: 'scripted:bench', prompt: 'x', max_tokens: tokens }),
	});
	const { task_id: id } = (await created.json()) as { task_id: string };
	const logBytes = await wholeLog(subject.port, id);
	const before = residentBytes(pid);
	const sockets: Socket[] = [];
	for (let index = 0; index < readers; index += 1) sockets.push(await stalledReader(subject.port, id));
	await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
	const after = residentBytes(pid);
	// They were held, not cut: reading on, each comes to the end.
	const ends = await Promise.all(sockets.map(readsOn));
	if (ends.includes(false)) throw new Error('a stalled reader did not come to the end when it read on');
	return { readers, seconds, logBytes, bytesPerReader: Math.max(0, after - before) / readers };
}
