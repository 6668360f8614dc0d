/**
 * The port of `node-host.ts`: takes connections and hands each to the server of its protocol. With TLS the client says which it
 * speaks (ALPN, RFC 7301); without, its first bytes do: HTTP/2 with prior knowledge begins with a preface that is no request of
 * HTTP/1.1 (RFC 9113, 3.3 and 3.4). On the front thread.
 */
import type { Server } from 'node:http';
import { type AddressInfo, createServer, Server as NetServer, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls';
import { readCertificate, type TlsFiles, watchCertificate } from './certificate.ts';
import type { Http2Front } from './h2-server.ts';
import { listenError } from './listen-problems.ts';

export interface ListenerOptions {
	readonly hostname: string;
	readonly port: number;
	readonly connectionsMax: number;
	/** A connection that has not said by then what it speaks is cut. */
	readonly slowHeadMs: number;
	readonly tls: TlsFiles | null;
	readonly onCertificate: (problem: string | null) => void;
}

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

export class NodeListener {
	readonly #options: ListenerOptions;
	readonly #h1: Server;
	readonly #h2: Http2Front | null;
	/** Those that were handed on are ended by their server too. */
	readonly #sockets = new Set<Socket>();
	readonly #server: NetServer;
	#stopWatching: () => void = () => undefined;

	/** Throws a `ListenError` when the certificate cannot be used. */
	constructor(options: ListenerOptions, h1: Server, h2: Http2Front | null) {
		this.#options = options;
		this.#h1 = h1;
		this.#h2 = h2;
		const { tls } = options;
		this.#server = tls === null ? (h2 === null ? h1 : this.#plain()) : this.#secure(tls);
		this.#server.maxConnections = options.connectionsMax;
	}

	listen(): Promise<{ readonly port: number }> {
		const { hostname, port } = this.#options;
		return new Promise((resolve, reject) => {
			this.#server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error.code ?? 'UNKNOWN', hostname, port)));
			this.#server.listen({ host: hostname, port, exclusive: true, backlog: 1024 }, () => {
				// Its looks for slow heads begin with this event, whoever listens for it.
				if (this.#server !== this.#h1) this.#h1.emit('listening');
				resolve({ port: (this.#server.address() as AddressInfo).port });
			});
		});
	}

	stop(): void {
		this.#stopWatching();
		// Not the http server's own: that one also ends idle connections, under the hands of clients that are about to send.
		if (this.#server.listening) NetServer.prototype.close.call(this.#server);
		this.#h2?.drain();
	}

	close(): void {
		this.stop();
		this.#h2?.close();
		this.#h1.closeAllConnections();
		for (const socket of this.#sockets) socket.destroy();
	}

	#plain(): NetServer {
		return createServer({ noDelay: true }, (socket) => {
			this.#keep(socket);
			this.#listenFor(socket);
		});
	}

	#secure(tls: TlsFiles): NetServer {
		const server: TlsServer = createTlsServer({
			...readCertificate(tls),
			ALPNProtocols: this.#h2 === null ? ['http/1.1'] : ['h2', 'http/1.1'],
			handshakeTimeout: this.#options.slowHeadMs,
			minVersion: 'TLSv1.2',
			noDelay: true,
		});
		server.on('connection', (socket: Socket) => this.#keep(socket));
		server.on('secureConnection', (socket: TLSSocket) => {
			this.#keep(socket);
			if (socket.alpnProtocol === 'h2' && this.#h2 !== null) this.#h2.take(socket);
			else this.#h1.emit('connection', socket);
		});
		server.on('tlsClientError', (_error, socket) => socket.destroy());
		// Those that are open keep the certificate that they began with.
		this.#stopWatching = watchCertificate(
			tls,
			(pair) => server.setSecureContext({ ...pair, minVersion: 'TLSv1.2' }),
			this.#options.onCertificate,
		);
		return server;
	}

	#keep(socket: Socket): void {
		this.#sockets.add(socket);
		socket.once('close', () => this.#sockets.delete(socket));
		socket.on('error', () => socket.destroy());
	}

	/** Reads no more than it takes to know the protocol, and puts it back. */
	#listenFor(socket: Socket): void {
		const slow = setTimeout(() => socket.destroy(), this.#options.slowHeadMs);
		slow.unref();
		socket.once('close', () => clearTimeout(slow));
		let seen: Buffer = Buffer.alloc(0);
		const look = (bytes: Buffer): void => {
			seen = seen.length === 0 ? bytes : Buffer.concat([seen, bytes]);
			const length = Math.min(seen.length, preface.length);
			const isHttp2 = seen.subarray(0, length).equals(preface.subarray(0, length));
			if (isHttp2 && length < preface.length) return;
			clearTimeout(slow);
			socket.removeListener('data', look);
			socket.pause();
			socket.unshift(seen);
			if (isHttp2) this.#h2?.take(socket);
			else {
				this.#h1.emit('connection', socket);
				socket.resume();
			}
		};
		socket.on('data', look);
	}
}
