/**
 * The conformance suite, and what only a real engine can show, against one that `run.ts` has started and tells of in the environment.
 * Without that there is nothing to test.
 */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { conformance, type EngineUnderTest } from '../../engines/conformance.ts';
import { lookAt, upstreamSettings } from '../../engines/upstream-world.ts';
import { realChecks, type Told } from './real-checks.ts';
import { promisesOf } from './real-promises.ts';

const told = process.env['REAL_ENGINE'];

if (told !== undefined) {
	const kit = JSON.parse(told) as Told;
	const { engine, adapter, model, url, pid } = kit;
	const start = async (): Promise<EngineUnderTest> => {
		const looked = await lookAt(upstreamSettings(adapter, url, { model }));
		assert.ok(looked.replica !== null, JSON.stringify(looked.failure));
		return {
			replica: looked.replica,
			port: looked.port,
			kill: () => process.kill(pid, 'SIGKILL'),
			close: () => Promise.resolve(looked.close()),
		};
	};
	const promises = promisesOf(engine, adapter);
	describe(`${engine} as it is, by the adapter ${adapter}`, () => realChecks(start, kit, promises));
	// Ends with the end of its process.
	describe(`${engine} by the adapter ${adapter}`, () => conformance(start, promises));
}
