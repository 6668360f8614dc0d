/** Engines that are not ours: started, read, ended, and gone in every case, by small ones that are made to misbehave. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ChildExit } from '../../src/engines/child-process.ts';

import { endLeftovers } from '../../src/engines/managed/leftovers.ts';
import { ManagedProcess } from '../../src/engines/managed/managed-process.ts';

const built = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
const reaper = new URL(`../../src/roles/reaper${built}`, import.meta.url);
const fileOf = (name: string) => fileURLToPath(new URL(`./${name}${built}`, import.meta.url));
/** Of daemons that are played here, and of no other. */
const runtimeDir = `/nowhere/${process.pid}`;
/** The last resort for tests that fail: by their ids, what they started. */
const seen = new Set<number>();
after(() => {
	for (const pid of seen) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
});

function isAlive(pid: number): boolean {
	const status = `/proc/${pid}/status`;
	try {
		return !/^State:\s+[ZX]/m.test(readFileSync(status, 'utf8'));
	} catch {
		return existsSync(status);
	}
}

/** What was written, and a promise of what is waited for. */
class Lines {
	readonly all: string[] = [];
	readonly #waiting = new Set<() => void>();

	add(line: string): void {
		this.all.push(line);
		const pid = /^(?:engine|child) (\d+)$/.exec(line)?.[1];
		if (pid !== undefined) seen.add(Number(pid));
		for (const look of this.#waiting) look();
	}

	count(pattern: RegExp, count: number): Promise<readonly string[]> {
		return new Promise((resolve) => {
			const look = (): void => {
				const found = this.all.filter((line) => pattern.test(line));
				if (found.length < count) return;
				this.#waiting.delete(look);
				resolve(found);
			};
			this.#waiting.add(look);
			look();
		});
	}

	async pids(count: number): Promise<readonly number[]> {
		return (await this.count(/^(engine|child) \d+$/, count)).map((line) => Number(line.split(' ')[1]));
	}
}

interface Started {
	readonly engine: ManagedProcess;
	readonly lines: Lines;
	readonly exit: Promise<ChildExit>;
}

function start(command: readonly string[], graceMs = 500, env: Readonly<Record<string, string>> = {}): Started {
	const lines = new Lines();
	let onExit: (exit: ChildExit) => void = () => undefined;
	const exit = new Promise<ChildExit>((resolve) => {
		onExit = resolve;
	});
	const engine = new ManagedProcess({ reaper, command, env, runtimeDir, graceMs, onLine: (_source, line) => lines.add(line), onExit });
	return { engine, lines, exit };
}

const engineIn = (...ways: string[]) => [process.execPath, fileOf('managed-engine'), ...ways];

/** Waits for the end of processes that are no children of this one: the system has no word for it. */
async function gone(pids: readonly number[], withinMs = 10_000): Promise<void> {
	const deadline = performance.now() + withinMs;
	await new Promise<void>((resolve, reject) => {
		const look = setInterval(() => {
			const left = pids.filter(isAlive);
			if (left.length > 0 && performance.now() < deadline) return;
			clearInterval(look);
			if (left.length === 0) resolve();
			else reject(new Error(`${left.join(', ')} of ${pids.join(', ')} still run after ${withinMs} ms`));
		}, 20);
	});
}

/** The daemon's side in a process of its own. */
async function parentOf(...ways: string[]): Promise<{ readonly parent: ChildProcess; readonly lines: Lines }> {
	const parent = spawn(process.execPath, [fileOf('managed-parent'), runtimeDir, ...ways], { stdio: ['ignore', 'pipe', 'inherit'] });
	const lines = new Lines();
	let text = '';
	parent.stdout.setEncoding('utf8').on('data', (part: string) => {
		text += part;
		const whole = text.split('\n');
		text = whole.pop() ?? '';
		for (const line of whole) lines.add(line);
	});
	return { parent, lines };
}

function childrenOf(pid: number): readonly number[] {
	return readdirSync(`/proc/${pid}/task`).flatMap((thread) => {
		const children = readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').trim();
		return children === '' ? [] : children.split(' ').map(Number);
	});
}

describe('a managed engine', () => {
	it('is started with its environment, its lines are told, and its end by itself with its exit code', async () => {
		const { engine, lines, exit } = start(engineIn('short'), 500, { CUDA_VISIBLE_DEVICES: '1,3' });
		const [pid] = await lines.pids(1);
		assert.deepEqual(await exit, { code: 3, signal: null, notStarted: null });
		assert.ok(lines.all.includes('sees 1,3'));
		assert.ok(engine.pid !== null && lines.all.includes(`engine ${engine.pid}`));
		assert.ok(pid !== undefined);
		await gone(await lines.pids(2));
	});

	it('is stopped with all that it started, politely', async () => {
		const { engine, lines, exit } = start(engineIn(), 20_000);
		const pids = await lines.pids(2);
		engine.stop();
		engine.stop();
		assert.deepEqual(await exit, { code: null, signal: 'SIGTERM', notStarted: null });
		assert.deepEqual(pids.filter(isAlive), []);
	});

	it('is stopped by force when it does not listen', async () => {
		const { engine, lines, exit } = start(engineIn('stubborn'), 300);
		const pids = await lines.pids(2);
		engine.stop();
		assert.deepEqual(await exit, { code: null, signal: 'SIGKILL', notStarted: null });
		assert.deepEqual(pids.filter(isAlive), []);
		assert.ok(lines.all.includes('asked to end'), 'it was asked before');
	});

	it('says why it cannot be started', async () => {
		const { engine, exit } = start(['/nowhere/engine', '--port', '1']);
		assert.match((await exit).notStarted ?? '', /ENOENT/);
		engine.stop();
	});

	it('is gone when the process that started it is killed with SIGKILL, children, runaways and all', async () => {
		const { parent, lines } = await parentOf('runaway');
		const pids = await lines.pids(3);
		assert.deepEqual(
			pids.filter((pid) => !isAlive(pid)),
			[],
		);
		parent.kill('SIGKILL');
		await gone(pids);
	});

	it('is gone in that case, too, when it does not listen to SIGTERM, whether or not it was being stopped', async () => {
		const cases = await Promise.all([parentOf('runaway', 'stubborn'), parentOf('stubborn')]);
		const [first = [], second = []] = await Promise.all(cases.map(({ lines }, index) => lines.pids(3 - index)));
		cases[1]?.parent.kill('SIGUSR2');
		await cases[1]?.lines.count(/^asked to end$/, 2);
		for (const { parent } of cases) parent.kill('SIGKILL');
		await gone([...first, ...second]);
	});

	it('is gone when its reaper is killed instead, and its end is told', async () => {
		const { parent, lines } = await parentOf();
		const pids = await lines.pids(2);
		const [reaperPid] = childrenOf(parent.pid ?? 0);
		assert.ok(reaperPid !== undefined);
		process.kill(reaperPid, 'SIGKILL');
		await lines.count(/^exit /, 1);
		await gone(pids);
		parent.kill('SIGKILL');
	});

	it('is gone when the next daemon starts, if its daemon and its reaper were killed at once; those of others are left alone', {
		skip: process.platform !== 'linux',
	}, async () => {
		const ours = start(engineIn(), 20_000);
		const [lost, kept] = await Promise.all([parentOf('runaway', 'stubborn'), parentOf()]);
		const [lostPids, keptPids, ourPids] = await Promise.all([lost.lines.pids(3), kept.lines.pids(2), ours.lines.pids(2)]);
		const [reaperPid] = childrenOf(lost.parent.pid ?? 0);
		assert.ok(reaperPid !== undefined);
		// So that it cannot do its work between the two.
		process.kill(reaperPid, 'SIGSTOP');
		lost.parent.kill('SIGKILL');
		process.kill(reaperPid, 'SIGKILL');
		await gone([lost.parent.pid ?? 0, reaperPid]);
		assert.deepEqual(lostPids.map(isAlive), [true, true, true], 'nobody is left who could end them');
		const ended = await endLeftovers(runtimeDir);
		assert.deepEqual(
			lostPids.filter((pid) => !ended.includes(pid)),
			[],
		);
		assert.deepEqual(lostPids.map(isAlive), [false, false, false]);
		assert.deepEqual([...keptPids, ...ourPids].map(isAlive), [true, true, true, true]);
		kept.parent.kill('SIGKILL');
		ours.engine.stop();
		await gone([...keptPids, ...ourPids]);
	});

	it('does not end because its reaper is asked to by somebody else', async () => {
		const { parent, lines } = await parentOf();
		const pids = await lines.pids(2);
		const [reaperPid] = childrenOf(parent.pid ?? 0);
		assert.ok(reaperPid !== undefined);
		for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.kill(reaperPid, signal);
		parent.kill('SIGKILL');
		await gone([...pids, reaperPid]);
		assert.ok(!lines.all.some((line) => line.startsWith('exit')), 'it ended when the parent did, not before');
	});
});
