/** Raw ends of an engine's wire, for tests that break its rules: bytes as they are wanted, and hosts that say what they are told to. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { ReplicaFacts } from '../../src/actors/serving/messages.ts';
import { ScriptedBackend } from '../../src/engines/scripted/scripted-backend.ts';
import { formatAddress, type HostAddress } from '../../src/engines/wire/host-address.ts';
import { FrameOutbox, FrameReader } from '../../src/engines/wire/host-frames.ts';
import { fromHost, hostProtocolVersion, toHost } from '../../src/engines/wire/host-protocol.ts';
import { privateAddress, scriptedSettings } from './host-world.ts';

const { facts } = new ScriptedBackend(scriptedSettings(), () => undefined);

/** The event loop goes round once. */
export const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** Turns until something holds that no message tells of. */
export async function eventually(holds: () => boolean, what: string): Promise<void> {
	const until = performance.now() + 10_000;
	while (!holds()) {
		assert.ok(performance.now() < until, `never: ${what}`);
		await turn();
	}
}

export function frame(kind: number, stream: number, payload: Uint8Array | string | ((outbox: FrameOutbox) => void) = ''): Buffer {
	const outbox = new FrameOutbox();
	outbox.begin(kind, stream);
	if (typeof payload === 'function') payload(outbox);
	else outbox.bytes(typeof payload === 'string' ? Buffer.from(payload) : payload);
	outbox.end();
	let bytes = Buffer.alloc(0);
	outbox.drain((all) => {
		bytes = Buffer.from(all);
		return false;
	});
	return bytes;
}

export function hello({ secret }: HostAddress, version = hostProtocolVersion): Buffer {
	return frame(toHost.hello, 0, (outbox) => {
		outbox.bytes(secret);
		outbox.u32(version);
	});
}

/** A `pieces` frame of these texts, a token each. */
export function piecesFrame(stream: number, texts: readonly string[]): Buffer {
	return frame(fromHost.pieces, stream, (outbox) => {
		outbox.u32(texts.length);
		for (const text of texts) outbox.piece(text, 1, -1, Number.NaN);
	});
}

/** The bytes in parts, cut at the given places. */
export function parts(bytes: Buffer, cuts: readonly number[]): Buffer[] {
	const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
	return [0, ...places].map((from, index) => bytes.subarray(from, places[index] ?? bytes.length)).filter((part) => part.length > 0);
}

export interface SeenFrame {
	readonly kind: number;
	readonly stream: number;
	readonly payload: Buffer;
}

/** A client that says what it likes, and sees whole frames. */
export class RawClient {
	readonly frames: SeenFrame[] = [];
	readonly socket: Socket;
	readonly closed: Promise<void>;
	readonly #reader = new FrameReader((kind, stream, bytes, start, end) => {
		this.frames.push({ kind, stream, payload: Buffer.from(bytes.subarray(start, end)) });
		this.socket.emit('frame');
	});

	private constructor(socket: Socket) {
		this.socket = socket;
		this.closed = new Promise((resolve) => void socket.once('close', () => resolve()));
		// How it was cut does not matter: that it was, `closed` says.
		socket.on('error', () => undefined);
		socket.on('data', (bytes: Buffer) => this.#reader.push(bytes));
	}

	/** Connected, and nothing said. */
	static async open(address: HostAddress): Promise<RawClient> {
		const client = new RawClient(connect(address.socketPath));
		await once(client.socket, 'connect');
		return client;
	}

	/** Welcomed. */
	static async welcomed(address: HostAddress): Promise<RawClient> {
		const client = await RawClient.open(address);
		client.send(hello(address));
		await client.hasFrames(1);
		assert.equal(client.frames[0]?.kind, fromHost.welcome);
		return client;
	}

	send(...chunks: readonly Uint8Array[]): void {
		for (const chunk of chunks) this.socket.write(chunk);
	}

	async hasFrames(count: number): Promise<void> {
		while (this.frames.length < count) await Promise.race([once(this.socket, 'frame'), this.closed.then(() => assert.fail('closed'))]);
	}

	/** Answered once what was sent before has been handled. */
	async ping(stream: number): Promise<void> {
		this.send(frame(toHost.ping, stream));
		while (!this.frames.some((each) => each.kind === fromHost.pong && each.stream === stream)) await this.hasFrames(this.frames.length + 1);
	}
}

export interface FalseHost {
	readonly replica: ReplicaFacts;
	readonly address: HostAddress;
	readonly sockets: ReadonlySet<Socket>;
	close(): Promise<void>;
}

/** A host that says what a test wants it to say on each connection. */
export async function falseHost(speak: (socket: Socket) => void): Promise<FalseHost> {
	const { address, remove } = privateAddress();
	const sockets = new Set<Socket>();
	const server = createServer((socket) => {
		sockets.add(socket);
		socket.on('close', () => sockets.delete(socket));
		socket.on('error', () => undefined);
		speak(socket);
	});
	await new Promise<void>((resolve) => void server.listen(address.socketPath, resolve));
	return {
		replica: { ...facts, replicaId: 'replica', poolId: 'pool', engine: 'scripted', address: formatAddress(address) },
		address,
		sockets,
		async close() {
			for (const socket of sockets) socket.destroy();
			await new Promise((resolve) => void server.close(resolve));
			remove();
		},
	};
}

export function welcomeFrame(): Buffer {
	return frame(fromHost.welcome, 0, JSON.stringify(facts));
}

/** Answers hello with a welcome, then each frame by `answer`. */
export function welcoming(answer: (socket: Socket, stream: number, kind: number) => void): (socket: Socket) => void {
	return (socket) => {
		const reader = new FrameReader((kind, stream) => {
			if (kind === toHost.hello) socket.write(welcomeFrame());
			else answer(socket, stream, kind);
		});
		socket.on('data', (bytes: Buffer) => reader.push(bytes));
	};
}
