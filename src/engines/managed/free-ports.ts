/** Ports of this machine that nobody listens on, for engines that are to listen there soon. */
import { createServer } from 'node:net';

/** Given out lately: an engine may take a minute to listen on its own. */
const given = new Map<number, number>();
const reservedMs = 120_000;
const attemptsMax = 50;

/** As many as asked for, on `host`. What another program takes in between, the engine finds taken, and is started again with others. */
export async function freePorts(host: string, count: number): Promise<readonly number[]> {
	const ports: number[] = [];
	for (let attempt = 0; ports.length < count; attempt++) {
		if (attempt >= attemptsMax) throw new Error(`no free port on ${host} after ${attempt} attempts`);
		const port = await freePort(host);
		const now = performance.now();
		const lately = given.get(port);
		if (ports.includes(port) || (lately !== undefined && now - lately < reservedMs)) continue;
		for (const [old, at] of given) if (now - at >= reservedMs) given.delete(old);
		given.set(port, now);
		ports.push(port);
	}
	return ports;
}

function freePort(host: string): Promise<number> {
	return new Promise((resolve, reject) => {
		const server = createServer();
		server.once('error', reject);
		server.listen(0, host, () => {
			const address = server.address();
			server.close(() => {
				if (address === null || typeof address === 'string') reject(new Error(`no port on ${host}`));
				else resolve(address.port);
			});
		});
	});
}
