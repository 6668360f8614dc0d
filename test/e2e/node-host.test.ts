/** The daemon where the binary of uWebSockets.js does not load. The whole end-to-end suite over node's server: `npm run test:node-host`. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { checkOrder, submit, Watch } from './client.ts';
import { startDaemon } from './daemon.ts';

const folder = mkdtempSync(join(tmpdir(), 'orchd-no-uws-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Loaded before all else, by every thread: the module is not there. */
function withoutUws(): Readonly<Record<string, string>> {
	const file = join(folder, 'no-uws.cjs');
	writeFileSync(
		file,
		`const Module = require('node:module');
const load = Module._load;
Module._load = function (request, ...rest) {
	if (request === 'uWebSockets.js') throw new Error('no binary for this platform');
	return load.call(this, request, ...rest);
};
`,
	);
	return { NODE_OPTIONS: `--require ${file}` };
}

describe('without the binary of uWebSockets.js', () => {
	it('the daemon says so once, in one clear line, and serves over node, by one front thread whatever was asked for', async () => {
		const daemon = await startDaemon({ env: { ...withoutUws(), ORCHD_LISTEN_HOST: 'auto' }, fronts: 2 });
		const { task_id: id } = await submit(daemon.url, { model_ref: 'default', prompt: 'a fox', max_tokens: 8 });
		const seen = await (await Watch.open(daemon.url, id)).all();
		checkOrder(seen);
		assert.equal(seen.at(-1)?.name, 'end');
		const lines = daemon
			.output()
			.split('\n')
			.filter((line) => line.includes('"http-host"'));
		assert.equal(lines.length, 1);
		assert.match(
			String((JSON.parse(lines[0] ?? '') as { human: string }).human),
			/no binary for this platform\. HTTP is served by node's own server.*, and by one front thread instead of 2: it cannot share a port\.$/,
		);
		assert.match(daemon.output(), /main, 1 front, .*HTTP by node/);
		assert.doesNotMatch(daemon.output(), /front-1/);
		assert.equal(await daemon.stop(), 0);
	});

	it('a daemon that demands it does not start, and says what to do', async () => {
		await assert.rejects(startDaemon({ env: { ...withoutUws(), ORCHD_LISTEN_HOST: 'uws' } }), /uWebSockets\.js/);
	});
});
