/**
 * A lock by name, of all processes of this machine: it ends with its process, however that ends. On Linux it is a socket of the abstract
 * namespace, which has no file; elsewhere a socket's file is left by a process that was killed, and taken over by the next.
 */
import { unlinkSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';

export interface NamedLock {
	release(): void;
}

/** Null: somebody has it. `name`: what may stand in the name of a file; `folder`: for the file, where there is one. */
export async function lockName(name: string, folder: string): Promise<NamedLock | null> {
	const path = process.platform === 'linux' ? `\0${name}` : join(folder, `${name}.lock`);
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
