/**
 * Composition root of a scripted engine's host process: boot line in, backend and server up, gone when the daemon is.
 * Started by the engine thread, never by hand.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { failure } from '../actors/serving/failure.ts';
import { ScriptedBackend } from '../engines/scripted/scripted-backend.ts';
import type { ScriptedSettings } from '../engines/scripted/scripted-settings.ts';
import { readBoot, removeSocket, sayLine, tellStatus } from '../engines/wire/host-boot.ts';
import { HostServer } from '../engines/wire/host-server.ts';

const boot = await readBoot((known) => {
	if (known !== null) removeSocket(known.socketPath);
	process.exit(0);
});
const settings = boot.settings as ScriptedSettings;
await wait(settings.loadMs);
const backend = new ScriptedBackend(settings, () => process.kill(process.pid, 'SIGKILL'));
const server = new HostServer(backend, {
	socketPath: boot.socketPath,
	secret: Buffer.from(boot.secret, 'hex'),
	stepped: true,
	onTrouble: sayLine,
});
backend.onStep = () => server.flush();
try {
	await server.listen();
	tellStatus({ type: 'listening' });
} catch (error) {
	const words = error instanceof Error ? error.message : String(error);
	tellStatus({ type: 'failed', failure: failure('POOL_UNREADY', `the engine cannot start: ${words}`) });
	process.exit(1);
}
