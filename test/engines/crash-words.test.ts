/** Why an engine process is gone, in words that a person can act on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ChildExit, describeExit, spawnChild } from '../../src/engines/child-process.ts';
import { killsIn } from '../../src/engines/memory-kills.ts';

const exit = (more: Partial<ChildExit>): ChildExit => ({ code: null, signal: null, notStarted: null, ...more });

/** As node itself reports it. */
function exitOf(command: string, args: readonly string[]): Promise<ChildExit> {
	const child = spawnChild({ command, args, env: null, stdio: { stdin: 'ignore', output: 'pipe', status: false } });
	return new Promise((resolve) => child.onExit(resolve));
}

test('each way that an engine process can end says what it means and what to do', async () => {
	for (const [how, words] of [
		[exit({ signal: 'SIGKILL' }), /no memory left: use a smaller model/],
		[exit({ signal: 'SIGBUS' }), /model file was cut or changed/],
		[exit({ signal: 'SIGILL' }), /built for a CPU with more instructions/],
		[exit({ signal: 'SIGTERM' }), /ended from outside/],
		[exit({ signal: 'SIGUSR1' }), /^ended on SIGUSR1$/],
		[exit({ notStarted: 'spawn EAGAIN' }), /the system allows no more processes/],
		[await exitOf('/no/such/program', []), /could not be started: .*ENOENT.*its program is not there/],
		[
			await exitOf(process.execPath, ['-e', 'process.kill(process.pid, "SIGSEGV"); setTimeout(() => {}, 60_000)']),
			/SIGSEGV.*damaged model/,
		],
		[await exitOf(process.execPath, ['-e', 'process.exit(3)']), /^ended with exit code 3$/],
	] as const) {
		assert.match(describeExit(how), words);
	}
});

test('a process that the system has killed for want of memory is told from one that somebody killed', () => {
	assert.equal(killsIn('low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n'), 2);
	assert.equal(killsIn('nothing of the kind'), null);
	assert.match(describeExit(exit({ signal: 'SIGKILL' }), true), /taken more memory than there is/);
});
