/** The last gate before a replica is ready: one token, made as for any task. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { LifeNews } from '../../src/actors/serving/engine-life.ts';
import { HostProcessDriver } from '../../src/engines/host-process-driver.ts';
import type { ScriptedFault } from '../../src/engines/scripted/scripted-settings.ts';
import { scriptedFault, scriptedSettings } from './host-world.ts';

const folder = mkdtempSync(join(tmpdir(), 'orchd-self-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** The first news of a scripted engine's life with these faults, and the end of it. */
async function firstNews(faults: readonly ScriptedFault[], selfTestWithinMs: number): Promise<LifeNews> {
	const driver = new HostProcessDriver({
		entry: new URL('../../src/roles/scripted-host.js', import.meta.url),
		settings: (spec) => spec.settings,
		env: () => ({ PATH: '/usr/local/bin:/usr/bin:/bin' }),
		runtimeDir: folder,
		onLine() {},
		selfTestWithinMs,
	});
	const news: LifeNews[] = [];
	await new Promise<void>((ended) => {
		const spec = {
			replicaId: 'self-0',
			poolId: 'self',
			engine: 'scripted',
			model: 'scripted:test',
			settings: scriptedSettings({ faults }),
		} as const;
		const life = driver.start(spec, {
			tell(each) {
				news.push(each);
				if (each.type === 'life-ready') life.stop();
				if (each.type === 'life-ended') ended();
				return 'accepted';
			},
		});
	});
	assert.deepEqual(readdirSync(folder), []);
	assert.ok(news[0]);
	return news[0];
}

describe('a starting replica', () => {
	it('is ready once it has made a token, which the faults of its tasks do not touch', async () => {
		assert.equal((await firstNews([scriptedFault('error'), scriptedFault('stall')], 60_000)).type, 'life-ready');
	});

	for (const [what, fault, withinMs, words] of [
		['fails to make a token', scriptedFault('error', { selfTest: true }), 60_000, /failed its self-test of one token: scripted fault/],
		[
			'makes no token in time',
			scriptedFault('stall', { selfTest: true }),
			300,
			/self-test of one token: no token came within 0\.3 s; give it more/,
		],
		['dies of its first token', scriptedFault('die', { selfTest: true }), 60_000, /the engine process was killed \(SIGKILL\)/],
	] as const) {
		it(`that ${what} never was ready, and ends with words for a person`, async () => {
			const news = await firstNews([fault], withinMs);
			assert.equal(news.type, 'life-ended');
			assert.match(news.type === 'life-ended' ? news.failure.message : '', words);
		});
	}
});
