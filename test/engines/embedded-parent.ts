/** A process that runs a llama.cpp host and says its address once it is ready: killed by `embedded-host.test.ts`. */
import { pathToFileURL } from 'node:url';
import { HostProcessDriver } from '../../src/engines/host-process-driver.ts';
import { settings } from './embedded-world.ts';

const [, , entry = '', runtimeDir = '', modelPath = ''] = process.argv;

const driver = new HostProcessDriver({
	entry: pathToFileURL(entry),
	settings: (spec) => spec.settings,
	env: () => ({ PATH: '/usr/bin:/bin' }),
	runtimeDir,
	onLine() {},
});
driver.start(
	{ replicaId: 'orphan', poolId: 'orphan', engine: 'llamacpp', model: 'orphan', settings: settings(modelPath) },
	{
		tell(news) {
			process.stdout.write(`${news.type === 'life-ready' ? news.facts.address : news.type}\n`);
			return 'accepted';
		},
	},
);
