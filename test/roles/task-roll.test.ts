/** The lines that front threads write for the restarting parent, into a real pipe. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { test } from 'node:test';

const roll = new URL(`../../src/roles/task-roll${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url);

/** What a process writes to its descriptor 3 with `script`. */
function written(script: string): { readonly text: string; readonly status: number | null } {
	const source = `import { taskRoll } from ${JSON.stringify(roll.href)};\n${script}`;
	const { output, status } = spawnSync(process.execPath, ['--input-type=module', '-e', source], {
		stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
		encoding: 'utf8',
		timeout: 20_000,
	});
	return { text: output[3] ?? '', status };
}

test('a line tells of a beginning and of an end, whoever writes it', () => {
	const { text, status } = written("const [a, b] = [taskRoll(3), taskRoll(3)]; a.started('x'); b.started('y'); a.ended('x');");
	assert.deepEqual([text, status], ['+x\n+y\n-x\n', 0]);
});

test('nobody who wants them, and a reader that is gone, end nothing', () => {
	const { text, status } = written(`
		import { closeSync } from 'node:fs';
		taskRoll(null).started('x');
		const one = taskRoll(3);
		one.started('y');
		closeSync(3);
		one.ended('y');
		one.ended('y');`);
	assert.deepEqual([text, status], ['+y\n', 0]);
});

test('a reader that is slow for a while gets every line, whole, of all who write', async () => {
	const lines = 5000;
	const script = `import { taskRoll } from ${JSON.stringify(roll.href)};
		import { Socket } from 'node:net';
		// As main has it: from then on it does not block.
		new Socket({ fd: 3, readable: false, writable: true }).unref();
		const [a, b] = [taskRoll(3), taskRoll(3)];
		for (let n = 0; n < ${lines}; n += 1) (n % 2 === 0 ? a : b).started('task-' + n);
		console.log('done');
		setInterval(() => {}, 1000);`;
	const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit', 'pipe'] });
	try {
		await once(child.stdout as Readable, 'data');
		const seen: string[] = [];
		let text = '';
		for await (const bytes of child.stdio[3] as Readable) {
			text += String(bytes);
			const whole = text.split('\n');
			text = whole.pop() ?? '';
			seen.push(...whole);
			if (seen.length >= lines) break;
		}
		const expected = Array.from({ length: lines }, (_none, n) => `+task-${n}`);
		assert.deepEqual(seen.toSorted(), expected.toSorted());
	} finally {
		child.kill('SIGKILL');
		await once(child, 'exit');
	}
});
