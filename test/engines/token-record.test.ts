/** The record of what a scripted engine has made: every token, before it leaves, whoever it was for. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { HostDecodePort } from '../../src/engines/wire/host-decode-port.ts';
import { generate } from './decode-world.ts';
import { innerScriptedHost } from './host-world.ts';

test('a scripted engine that keeps a record has each token of each stream in it, with its seed and index', async () => {
	const folder = mkdtempSync(join(tmpdir(), 'orchd-record-'));
	const record = join(folder, 'made.tsv');
	const made = await innerScriptedHost({ record, tokens: 5 });
	const port = new HostDecodePort((words) => assert.fail(words));
	try {
		const tasks = await Promise.all([1, 2].map((seed) => generate(port, made.replica, { seed })));
		for (const [at, task] of tasks.entries()) {
			const lines = readFileSync(record, 'utf8')
				.trim()
				.split('\n')
				.map((line) => line.split('\t'))
				.filter(([seed]) => seed === String(at + 1));
			assert.deepEqual(
				lines.map(([, index, text]) => [index, JSON.parse(text ?? '')]),
				task.pieces.map(({ text }, index) => [String(index), text]),
			);
			assert.equal(lines.length, 5);
		}
	} finally {
		port.close();
		await made.close();
		rmSync(folder, { recursive: true });
	}
});
