/** The conformance suite over each engine that there is, each in a process of its own. */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { HostDecodePort } from '../../src/engines/wire/host-decode-port.ts';
import { allPromised, conformance, type EngineUnderTest } from './conformance.ts';
import { builtInModel, settings } from './embedded-world.ts';
import { hostProcess, scriptedSettings } from './host-world.ts';

async function engine(role: 'scripted-host' | 'llama-host', hostSettings: unknown): Promise<EngineUnderTest> {
	const host = await hostProcess(role, hostSettings);
	const port = new HostDecodePort((words) => assert.fail(words));
	return {
		replica: host.replica,
		port,
		kill: () => host.child.signal('SIGKILL'),
		async close() {
			port.close();
			await host.close();
		},
	};
}

describe('the scripted engine', () => {
	conformance(() => engine('scripted-host', scriptedSettings({ slots: 6, decodeTokensPerS: 400, tokens: 400, ctx: 2_048 })), {
		...allPromised,
		greedy: 'its text follows from prompt and seed alone',
	});
});

describe('llama.cpp', () => {
	conformance(() => engine('llama-host', settings(builtInModel)));
});
