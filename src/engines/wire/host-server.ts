/**
 * The socket side of an engine host process: takes connections on a Unix socket and lets the backend's steps out of all of
 * them. What is said on a connection is `host-peer.ts`. Runs in the host process.
 */
import { createServer, type Server } from 'node:net';
import { HostPeer, type PeerLimits } from './host-peer.ts';
import { frameBytesMax, type HostBackend, secretBytes } from './host-protocol.ts';

export interface HostServerOptions extends Partial<PeerLimits> {
	/** At most 100 bytes: the platform cuts longer paths off, silently. */
	readonly socketPath: string;
	readonly secret: Buffer;
	/** True when the backend calls `flush` after each decode step: then pieces wait for it. */
	readonly stepped?: boolean;
	/** One line about a connection that was refused or cut. Never a prompt or a secret. */
	readonly onTrouble?: (words: string) => void;
}

/** A front is one connection and a replica another: more than this is somebody else. */
const connectionsMax = 256;
/** Leases whose requests may still come. A replica has a few slots, and gives each up once. */
const revokedMax = 4_096;

/**
 * ```
 *  const server = new HostServer(backend, { socketPath, secret, stepped: true });
 *  backend.onStep = () => server.flush();      // one write per connection, for all its streams
 *  await server.listen();
 * ```
 * A backend that knows no steps leaves `stepped` out: what it made leaves at the end of the event loop's turn.
 */
export class HostServer {
	readonly #backend: HostBackend;
	readonly #options: Required<HostServerOptions>;
	readonly #peers = new Set<HostPeer>();
	/** The last that were, oldest first. */
	readonly #revoked = new Set<string>();
	#server: Server | null = null;
	#flushScheduled = false;

	constructor(backend: HostBackend, options: HostServerOptions) {
		if (options.secret.length !== secretBytes) throw new Error(`a secret of ${options.secret.length} bytes; it has ${secretBytes}`);
		this.#backend = backend;
		this.#options = { helloMs: 2_000, unsentBytesMax: frameBytesMax, stepped: false, onTrouble: () => {}, ...options };
	}

	listen(): Promise<void> {
		const server = createServer((socket) => {
			const peer = new HostPeer(socket, {
				backend: this.#backend,
				secret: this.#options.secret,
				limits: this.#options,
				stepped: this.#options.stepped,
				hasOutput: () => this.#scheduleFlush(),
				gone: () => this.#peers.delete(peer),
				busyLeases: () => this.busyLeases(),
				revoke: (leaseKeys) => this.#revoke(leaseKeys),
				isRevoked: (leaseKey) => this.#revoked.has(leaseKey),
				onTrouble: this.#options.onTrouble,
			});
			this.#peers.add(peer);
		});
		server.maxConnections = connectionsMax;
		this.#server = server;
		return new Promise((resolve, reject) => {
			server.on('error', (error) => {
				if (server.listening) this.#options.onTrouble(`cannot take connections: ${error.message}`);
				else reject(error);
			});
			server.listen(this.#options.socketPath, () => resolve());
		});
	}

	/** Sends what waits, one write per connection. A backend calls it after each decode step. */
	flush(): void {
		for (const peer of this.#peers) peer.flush();
	}

	/** Keys of the leases that the backend still works on, those of lost connections included. */
	busyLeases(): string[] {
		return [...this.#peers].flatMap((peer) => peer.busyLeases());
	}

	/** Connections that are open, or lost with streams that the backend has not ended yet. */
	get peers(): number {
		return this.#peers.size;
	}

	/** Cuts every connection, then closes the backend. */
	async close(): Promise<void> {
		for (const peer of [...this.#peers]) peer.cut();
		const server = this.#server;
		if (server !== null) await new Promise<void>((resolve) => void server.close(() => resolve()));
		await this.#backend.close();
	}

	#revoke(leaseKeys: readonly string[]): void {
		if (leaseKeys.length === 0) return;
		for (const peer of this.#peers) peer.cancelLeases(new Set(leaseKeys));
		for (const leaseKey of leaseKeys) this.#revoked.add(leaseKey);
		for (const oldest of this.#revoked) {
			if (this.#revoked.size <= revokedMax) return;
			this.#revoked.delete(oldest);
		}
	}

	/** For backends that know no steps, and answers between steps: at the end of the event loop's turn. */
	#scheduleFlush(): void {
		if (this.#flushScheduled) return;
		this.#flushScheduled = true;
		setImmediate(() => {
			this.#flushScheduled = false;
			this.flush();
		});
	}
}
