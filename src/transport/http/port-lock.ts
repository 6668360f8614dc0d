/**
 * A lock on an address and port, so that of two daemons that start in the same instant one is refused: front threads share their
 * port with whoever else shares it, and do not see each other. On the main thread, before any front. It ends with its process,
 * however that ends: on Linux it is a socket of the abstract namespace, which has no file; elsewhere a socket's file is left by a
 * process that was killed, and taken over by the next.
 */
import { unlinkSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';

export interface PortLock {
	release(): void;
}

/** Null: another daemon has it. A port that the system is to choose needs none. `folder`: for the file, where there is one. */
export async function lockPort(hostname: string, port: number, folder: string): Promise<PortLock | null> {
	if (port === 0) return { release: () => undefined };
	const name = `orchestratord-${hostname === 'localhost' ? '127.0.0.1' : hostname}-${port}`;
	const path = process.platform === 'linux' ? `\0${name}` : join(folder, `${name.replaceAll(':', '_')}.lock`);
	let server = await listening(path);
	if (server === null && !path.startsWith('\0') && !(await answers(path))) {
		unlinkSync(path);
		server = await listening(path);
	}
	if (server === null) return null;
	const held = server;
	return { release: () => void held.close() };
}

/** Null: somebody has it. */
function listening(path: string): Promise<Server | null> {
	return new Promise((resolve, reject) => {
		const server = createServer((socket) => socket.destroy());
		server.unref();
		server.once('error', (error: NodeJS.ErrnoException) => (error.code === 'EADDRINUSE' ? resolve(null) : reject(error)));
		server.listen({ path }, () => resolve(server));
	});
}

function answers(path: string): Promise<boolean> {
	return new Promise((resolve) => {
		const socket = connect(path, () => {
			socket.destroy();
			resolve(true);
		});
		socket.once('error', () => resolve(false));
	});
}
