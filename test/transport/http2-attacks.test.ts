/**
 * Attacks that HTTP/2 makes possible, by raw frames (RFC 9113, section 4) on node's host: each ends its own connection at most. The daemon is well
 * afterwards, nothing of them is left, and no task came of them.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { after, afterEach, before, describe, it } from 'node:test';
import { taskRequest } from './fake-task.ts';
import { startFront, type TestFront } from './test-front.ts';

/** RFC 9113, section 6. */
const type = { data: 0x0, headers: 0x1, reset: 0x3, settings: 0x4, ping: 0x6, goAway: 0x7, continuation: 0x9 };
const flag = { endStream: 0x1, endHeaders: 0x4 };
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const id = '01890a5d-ac96-774b-bcce-b302099a8057';

function frame(kind: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
	const head = Buffer.alloc(9);
	head.writeUIntBE(payload.length, 0, 3);
	head.writeUInt8(kind, 3);
	head.writeUInt8(flags, 4);
	head.writeUInt32BE(stream, 5);
	return Buffer.concat([head, payload]);
}

/** Of a short value: a literal without indexing, by the name's place in the static table (RFC 7541, section 6.2.2 and appendix A). */
function literal(name: number, value: string): Buffer {
	return Buffer.concat([Buffer.of(name, value.length), Buffer.from(value)]);
}

/** It takes more, or is gone. */
function drained(socket: Socket): Promise<void> {
	return new Promise((resolve) => {
		socket.once('drain', resolve);
		socket.once('close', () => resolve());
	});
}

describe('an attack by HTTP/2', () => {
	let front: TestFront;
	before(async () => {
		front = await startFront(
			{ sse: { heartbeatMs: 15_000, stallMs: 30_000, microbatchMs: 0, watchersMax: 10_000 } },
			undefined,
			'node',
			null,
			undefined,
			{ http2: true, headMs: 300, bodyMs: 300 },
		);
		front.tasks.add(taskRequest({ taskId: id })).start();
	});
	after(() => front.close());
	afterEach(async () => {
		assert.equal(front.tasks.requests.length, 0, 'it became a task');
		assert.deepEqual(
			front.lines.filter(({ level }) => level === 'error'),
			[],
		);
		const session = connectHttp2(`http://127.0.0.1:${front.port}`);
		const stream = session.request({ ':path': '/health' });
		const [answer] = (await once(stream, 'response')) as [Record<string, unknown>];
		assert.equal(answer[':status'], 200);
		session.destroy();
	});

	const opened = async (): Promise<Socket> => {
		const socket = connect(front.port, '127.0.0.1');
		// The daemon may end it at any moment.
		socket.on('error', () => socket.destroy());
		await once(socket, 'connect');
		socket.write(Buffer.concat([preface, frame(type.settings, 0, 0)]));
		return socket;
	};
	const request = (path: string): Buffer =>
		Buffer.concat([Buffer.of(0x82, 0x86), literal(0x04, path), literal(0x01, `127.0.0.1:${front.port}`)]);
	/** Types of the frames until the other side closes. */
	const untilClosed = (socket: Socket): Promise<number[]> =>
		new Promise((resolve) => {
			const parts: Buffer[] = [];
			socket.on('data', (part: Buffer) => parts.push(part));
			socket.once('close', () => {
				const all = Buffer.concat(parts);
				const types: number[] = [];
				for (let at = 0; at + 9 <= all.length; at += 9 + all.readUIntBE(at, 3)) types.push(all.readUInt8(at + 3));
				resolve(types);
			});
		});

	it('that opens streams and resets them as fast as it can (CVE-2023-44487) is cut off, and leaves no watcher', async () => {
		const socket = await opened();
		const closed = untilClosed(socket);
		const cancel = Buffer.of(0, 0, 0, 8);
		const head = request(`/v2/tasks/${id}/events`);
		for (let stream = 1; stream < 20_000 && !socket.destroyed; stream += 2) {
			socket.write(
				Buffer.concat([frame(type.headers, flag.endHeaders | flag.endStream, stream, head), frame(type.reset, 0, stream, cancel)]),
			);
			if (stream % 500 === 1) await new Promise((resolve) => setImmediate(resolve));
		}
		assert.ok((await closed).includes(type.goAway));
		while (front.front.watchers > 0) await new Promise((resolve) => setImmediate(resolve));
	});

	it('that never ends a head (CONTINUATION without an end, CVE-2024-27316) is cut off before it holds much', async () => {
		const socket = await opened();
		const closed = untilClosed(socket);
		socket.write(frame(type.headers, flag.endStream, 1, request('/health')));
		const more = Buffer.concat(
			Array.from({ length: 100 }, (_, n) =>
				Buffer.concat([Buffer.of(0, 4), Buffer.from(`x-${n % 10}${n % 7}`.slice(0, 4)), Buffer.of(100), Buffer.alloc(100, 'y')]),
			),
		);
		let sent = 0;
		while (!socket.destroyed && sent < 64 * 1024 * 1024) {
			if (!socket.write(frame(type.continuation, 0, 1, more))) await drained(socket);
			sent += more.length;
		}
		await closed;
		assert.ok(sent < 64 * 1024 * 1024, `${sent} bytes of a head were taken`);
	});

	it('that asks for answers and reads none (PING and SETTINGS floods, CVE-2019-9512 and 9515) is cut off', async () => {
		for (const asks of [frame(type.ping, 0, 0, Buffer.alloc(8)), frame(type.settings, 0, 0)]) {
			const socket = await opened();
			socket.pause();
			const many = Buffer.concat(Array.from({ length: 1_000 }, () => asks));
			let sent = 0;
			while (!socket.destroyed && sent < 512 * 1024 * 1024) {
				if (!socket.write(many)) await drained(socket);
				sent += many.length;
			}
			assert.ok(socket.destroyed, `${sent} bytes were answered`);
		}
	});

	it('that opens more streams than it may at once has the rest refused, and the others answered', async () => {
		const session = connectHttp2(`http://127.0.0.1:${front.port}`, { peerMaxConcurrentStreams: 10_000 });
		session.on('error', () => undefined);
		await once(session, 'remoteSettings');
		assert.equal(session.remoteSettings.maxConcurrentStreams, 256);
		session.destroy();
		const socket = await opened();
		const head = request(`/v2/tasks/${id}/events`);
		const resets = new Promise<number>((resolve) => {
			let held = Buffer.alloc(0);
			socket.on('data', (part: Buffer) => {
				held = Buffer.concat([held, part]);
				while (held.length >= 9 && held.length >= 9 + held.readUIntBE(0, 3)) {
					const length = held.readUIntBE(0, 3);
					if (held.readUInt8(3) === type.reset) resolve(held.readUInt32BE(9));
					held = held.subarray(9 + length);
				}
			});
			socket.once('close', () => resolve(-1));
		});
		for (let stream = 1; stream < 2 * 300; stream += 2) socket.write(frame(type.headers, flag.endHeaders | flag.endStream, stream, head));
		// REFUSED_STREAM, PROTOCOL_ERROR, or the connection's end
		assert.ok([7, 1, -1].includes(await resets));
		assert.ok(front.front.watchers <= 256);
		socket.destroy();
		while (front.front.watchers > 0) await new Promise((resolve) => setImmediate(resolve));
	});
});
