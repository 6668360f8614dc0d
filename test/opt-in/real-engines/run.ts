/**
 * `npm run test:real-engines`: installs each real engine that can be had, starts it on a free loopback port, prints its version and runs the
 * suites of its adapters against it, one process of it a suite. Ends what it started, by id. An engine that cannot be had is named with
 * the reason and is no failure; one that does not start, or whose suite fails, is.
 *
 *   npm run test:real-engines [-- engine …]
 *
 * With `REAL_ENGINES_WITHIN_S` what would not be over by then is left out, as long as it was not begun.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageRoot } from '../../../src/config-root.ts';
import { freePort } from '../../e2e/daemon.ts';
import { endGroup, type Installed } from './packages.ts';
import type { Told } from './real-checks.ts';
import { installKit, notToBeHad, type RealEngineKit, type RealSuite, realEngineKits } from './real-engine-kits.ts';

const linesKept = 40;
/** Of all, from the start of this process: what has no time left is named, and no failure. */
const withinMs = 1_000 * Number(process.env['REAL_ENGINES_WITHIN_S'] ?? Number.MAX_SAFE_INTEGER / 1_000);
/** For the suites themselves, and the engines that come behind. */
const othersMs = 150_000;

function say(words: string): void {
	process.stdout.write(`${words}\n`);
}

function seconds(from: number): string {
	return `${((performance.now() - from) / 1000).toFixed(0)} s`;
}

interface Running {
	readonly url: string;
	/** Where its metrics are. */
	readonly accounts: string;
	readonly child: ChildProcess;
	/** The end of what it wrote. */
	readonly lines: readonly string[];
}

async function start(kit: RealEngineKit, installed: Installed): Promise<Running> {
	const ports = { main: await freePort(), second: await freePort() };
	const url = `http://127.0.0.1:${ports.main}`;
	const { words, env } = kit.command(installed, ports);
	const [file = '', ...args] = words;
	const child = spawn(file, args, {
		stdio: ['ignore', 'pipe', 'pipe'],
		detached: true,
		cwd: installed.folder,
		env: { ...process.env, ...env },
	});
	const lines: string[] = [];
	for (const stream of [child.stdout, child.stderr]) {
		stream.setEncoding('utf8').on('data', (text: string) => {
			lines.push(...text.trimEnd().split('\n'));
			lines.splice(0, lines.length - linesKept);
		});
	}
	const until = performance.now() + kit.readyWithinMs;
	for (;;) {
		const ready = await fetch(url + kit.ready, { signal: AbortSignal.timeout(5_000) }).then(
			({ ok }) => ok,
			() => false,
		);
		const accounts = kit.metrics === 'second' ? `http://127.0.0.1:${ports.second}` : url;
		if (ready) return { url, accounts, child, lines };
		const why = child.exitCode !== null ? `it ended with ${child.exitCode}` : performance.now() > until ? 'it is not ready in time' : null;
		if (why !== null) {
			endGroup(child.pid, 'SIGKILL');
			throw new Error(`${why}:\n${lines.join('\n')}`);
		}
		await new Promise((resolve) => setTimeout(resolve, 200));
	}
}

/** A file of tests as a process of node's test runner; false: it failed. */
async function runTests(name: string, withinMs: number, env: Readonly<Record<string, string>>): Promise<boolean> {
	const file = fileURLToPath(new URL(`./${name}.test${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url));
	const tests = spawn(process.execPath, ['--test', '--test-reporter=spec', file], {
		stdio: 'inherit',
		cwd: packageRoot(),
		detached: true,
		env: { ...process.env, ...env },
	});
	const timer = setTimeout(() => {
		say(`${name}: not over in ${withinMs / 1000} s`);
		endGroup(tests.pid, 'SIGKILL');
	}, withinMs);
	const code = await new Promise<number | null>((resolve) => tests.once('close', resolve));
	clearTimeout(timer);
	return code === 0;
}

interface Outcome {
	readonly passed: boolean;
	readonly what: string;
	/** What the engine took to start. */
	readonly readyMs: number;
}

/** The suites of one adapter against a process of their own. */
async function runSuite(kit: RealEngineKit, installed: Installed, suite: RealSuite): Promise<Outcome> {
	const from = performance.now();
	let readyMs = 0;
	let what = `${kit.name}, adapter ${suite.adapter}`;
	let running: Running | null = null;
	let passed = false;
	try {
		running = await start(kit, installed);
		readyMs = performance.now() - from;
		const { url, accounts, child, lines } = running;
		what = `${await kit.version(installed, url)}, adapter ${suite.adapter}${suite.model === null ? '' : `, model ${suite.model}`}`;
		say(`\n${what}: ready after ${seconds(from)}`);
		const told: Told = { engine: kit.name, adapter: suite.adapter, model: suite.model, url, accounts, pid: child.pid ?? 0 };
		passed = await runTests('real-engine', suite.withinMs, { REAL_ENGINE: JSON.stringify(told) });
		if (!passed) say(`the end of what ${kit.name} wrote:\n${lines.join('\n')}`);
	} catch (error) {
		say(`${what}: ${String(error)}`);
	} finally {
		endGroup(running?.child.pid, 'SIGKILL');
	}
	return { passed, what, readyMs };
}

const wanted = process.argv.slice(2);
const kits = realEngineKits.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
const summary: string[] = [];
let failed = false;

function tell(from: number, { passed, what }: Pick<Outcome, 'passed' | 'what'>): void {
	failed ||= !passed;
	summary.push(`${passed ? 'passed' : 'FAILED'} against the real engine: ${what}, in ${seconds(from)}`);
}

for (const kit of kits) {
	const from = performance.now();
	const installed = await installKit(kit);
	if (typeof installed === 'string') {
		summary.push(`not run against the real engine: ${kit.name}: ${installed}`);
		say(`\n${summary.at(-1)}`);
		continue;
	}
	say(`\n${kit.name}: there after ${seconds(from)}`);
	let readyMs = 0;
	for (const suite of kit.suites) {
		const started = performance.now();
		const outcome = await runSuite(kit, installed, suite);
		readyMs = Math.max(readyMs, outcome.readyMs);
		tell(started, outcome);
	}
	const started = performance.now();
	const byPreset = kit.preset(installed);
	const leftMs = withinMs - started;
	if (leftMs < 3 * readyMs + othersMs) {
		const words = `${Math.max(0, leftMs / 1000).toFixed(0)} s are left, and it starts twice, in ${(readyMs / 1000).toFixed(0)} s each`;
		summary.push(`not run against the real engine: ${kit.name}, started by its preset: ${words}`);
		continue;
	}
	const { bin, env = {}, withinMs: presetMs, ...preset } = byPreset;
	const path = [bin, join(installed.folder, 'bin'), process.env['PATH'] ?? ''].join(':');
	const passed = await runTests('real-managed', Math.min(presetMs, leftMs), { ...env, REAL_PRESET: JSON.stringify(preset), PATH: path });
	tell(started, { passed, what: `${kit.name}, started by its preset` });
}
if (wanted.length === 0) {
	for (const [name, why] of Object.entries(notToBeHad)) summary.push(`not run against the real engine: ${name}: ${why}`);
}
say(`\n${summary.join('\n')}`);
process.exitCode = failed ? 1 : 0;
