/** The example of the package's public entry runs, says what it promises, and ends by itself. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

test('the example of a supervised worker runs on the public entry and ends by itself', async () => {
	const path = fileURLToPath(new URL('../../examples/supervised-worker.js', import.meta.url));
	const output = await new Promise<string>((resolve, reject) => {
		execFile(process.execPath, [path], { timeout: 30_000 }, (error, stdout) => (error === null ? resolve(stdout) : reject(error)));
	});
	assert.deepEqual(output.trimEnd().split('\n'), [
		'the worker failed: cannot square 1 today; decision: restart',
		'1 squared is unknown (timeout, maybe begun): again',
		'1 squared is 1',
		'2 squared is 4',
		'3 squared is 9',
	]);
});
