/** Why an address cannot be had, in words for the one who starts the daemon. */
import { createServer } from 'node:net';
import { ListenError } from './http-host.ts';

function shownAddress(hostname: string, port: number): string {
	return `${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`;
}

export function inUse(hostname: string, port: number): ListenError {
	return new ListenError(
		'EADDRINUSE',
		`${shownAddress(hostname, port)} is in use: another daemon or program listens there; choose another port`,
	);
}

/** For a library that only says that it could not listen: node's own server says why. */
export async function whyNot(hostname: string, port: number): Promise<ListenError> {
	const code = await new Promise<string>((resolve) => {
		const probe = createServer();
		probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'UNKNOWN'));
		probe.listen({ host: hostname, port, exclusive: true }, () => probe.close(() => resolve('UNKNOWN')));
	});
	return listenError(code, hostname, port);
}

/** `code` is the system's. */
export function listenError(code: string, hostname: string, port: number): ListenError {
	switch (code) {
		case 'EADDRINUSE':
			return inUse(hostname, port);
		case 'EADDRNOTAVAIL':
		case 'ENOTFOUND':
			return new ListenError(code, `${hostname} is not an address of this machine`);
		case 'EACCES':
			return new ListenError(code, `no permission to listen on ${shownAddress(hostname, port)}; ports below 1024 need a privileged user`);
		default:
			return new ListenError(code, `cannot listen on ${shownAddress(hostname, port)} (${code})`);
	}
}
