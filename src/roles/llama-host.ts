/**
 * Composition root of a llama.cpp host process: boot line in, model checked and loaded, server up, gone when the daemon is.
 * Started by the engine thread, never by hand. What it has to say goes to stderr or, for the daemon, to fd 3.
 */
import { failure } from '../actors/serving/failure.ts';
import type { EmbeddedSettings } from '../engines/embedded/embedded-settings.ts';
import { LlamaBackend } from '../engines/embedded/llama-backend.ts';
import { LoadError, loadModel } from '../engines/embedded/llama-model.ts';
import { readBoot, removeSocket, sayLine, tellStatus } from '../engines/wire/host-boot.ts';
import type { HostBoot } from '../engines/wire/host-protocol.ts';
import { HostServer } from '../engines/wire/host-server.ts';

/** At once and for certain: leaving while the library computes runs into its destructors. */
function vanish(boot: HostBoot | null): void {
	if (boot !== null) removeSocket(boot.socketPath);
	process.kill(process.pid, 'SIGKILL');
}

let leave = (): void => process.exit(0);
process.on('SIGTERM', () => leave());
// A terminal's Ctrl-C reaches every process in it; ours is the daemon's to stop.
process.on('SIGINT', () => {});

const boot = await readBoot(vanish);
try {
	const loaded = await loadModel(boot.settings as EmbeddedSettings, {
		onLog: sayLine,
		onProgress: (progress) => tellStatus({ type: 'loading', progress }),
	});
	const backend = new LlamaBackend(loaded);
	const server = new HostServer(backend, {
		socketPath: boot.socketPath,
		secret: Buffer.from(boot.secret, 'hex'),
		stepped: true,
		onTrouble: sayLine,
	});
	backend.onStep = () => server.flush();
	await server.listen();
	leave = () => {
		server.close().then(
			() => process.exit(0),
			() => process.exit(1),
		);
	};
	tellStatus({ type: 'listening' });
} catch (error) {
	const words = error instanceof Error ? error.message : String(error);
	tellStatus({
		type: 'failed',
		failure: error instanceof LoadError ? error.failure : failure('POOL_UNREADY', `the engine cannot start: ${words}`),
	});
	process.exit(1);
}
