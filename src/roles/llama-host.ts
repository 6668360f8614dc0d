/**
 * Composition root of a llama.cpp host process: boot line in, model loaded and checked, server up, gone when the daemon is.
 * Started by the engine thread, never by hand. Everything it says goes to stderr or, for the daemon, to fd 3.
 */
import { type Failure, failure } from '../actors/serving/failure.ts';
import type { EmbeddedSettings } from '../engines/embedded/embedded-settings.ts';
import { LlamaBackend } from '../engines/embedded/llama-backend.ts';
import { LoadError, loadModel } from '../engines/embedded/llama-model.ts';
import { readBoot, tellStatus } from '../engines/wire/host-boot.ts';
import { HostServer } from '../engines/wire/host-server.ts';

const say = (line: string): void => {
	process.stderr.write(`${line}\n`);
};

const boot = await readBoot(() => process.exit(0));
try {
	const loaded = await loadModel(boot.settings as EmbeddedSettings, say, (progress) => tellStatus({ type: 'loading', progress }));
	const backend = new LlamaBackend(loaded);
	const server = new HostServer(backend, {
		socketPath: boot.socketPath,
		secret: Buffer.from(boot.secret, 'hex'),
		stepped: true,
		onTrouble: say,
	});
	backend.onStep = () => server.flush();
	await server.listen();
	tellStatus({ type: 'listening' });
} catch (error) {
	const words = error instanceof Error ? error.message : String(error);
	const what: Failure = error instanceof LoadError ? error.failure : failure('POOL_UNREADY', `the model cannot be loaded: ${words}`);
	tellStatus({ type: 'failed', failure: what });
	process.exit(1);
}
