/**
 * `accelerate`: puts a build of llama.cpp for GPUs in the place that is kept empty for it, of the version that is installed. The builds are
 * hundreds of megabytes, so that a plain installation leaves them out. Nothing but that folder is touched; `npm ci` takes it out again.
 */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Device } from '../engines/devices.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import { Problem } from './problem.ts';
import type { Terminal } from './terminal.ts';

export const accelerations = ['cuda', 'vulkan'] as const;
export type Acceleration = (typeof accelerations)[number];

export interface AccelerateOptions {
	/** Null: what the devices here want. */
	readonly wanted: Acceleration | null;
	readonly devices: readonly Device[];
	/** `linux-x64`. */
	readonly platform: string;
	/** The folder of this package. */
	readonly root: string;
	/** Runs npm with these words and shows what it says; its exit code, null: it is not there. */
	npm(args: readonly string[]): Promise<number | null>;
}

/** Of each platform, its builds; CUDA's libraries are a package of their own. */
const packages: Readonly<Record<string, Readonly<Record<Acceleration, readonly string[]>>>> = {
	'linux-x64': { cuda: ['linux-x64-cuda', 'linux-x64-cuda-ext'], vulkan: ['linux-x64-vulkan'] },
	'win32-x64': { cuda: ['win-x64-cuda', 'win-x64-cuda-ext'], vulkan: ['win-x64-vulkan'] },
};
const scope = '@node-llama-cpp';

export async function accelerate({ wanted, devices, platform, root, npm }: AccelerateOptions, terminal: Terminal): Promise<ExitCode> {
	if (platform.startsWith('darwin-')) {
		terminal.out('On macOS llama.cpp comes with Metal; there is nothing to install.\n');
		return exitCodes.ok;
	}
	const builds = packages[platform];
	if (builds === undefined) throw new Problem(exitCodes.unavailable, `there is no build of llama.cpp for GPUs on ${platform}`);
	const chosen = wanted ?? choice(devices);
	if (chosen === null) {
		throw new Problem(
			exitCodes.unavailable,
			'no GPU was found here, so there is nothing to accelerate',
			'to install a build all the same, name it: orchestratord accelerate cuda, or vulkan',
		);
	}
	const modules = join(root, 'node_modules');
	const library = join(modules, 'node-llama-cpp', 'package.json');
	if (!existsSync(library)) throw new Problem(exitCodes.unavailable, 'node-llama-cpp is not installed', 'install it first: npm ci');
	const { version } = JSON.parse(readFileSync(library, 'utf8')) as { readonly version: string };
	// Beside the place where it is to go, so that it need not be copied to another disk.
	const folder = mkdtempSync(join(modules, '.accelerate-'));
	try {
		const names = builds[chosen];
		terminal.note(`installing ${names.join(' and ')} ${version}`);
		const quiet = ['--no-save', '--no-audit', '--no-fund', '--ignore-scripts', '--prefix', folder];
		const code = await npm(['install', ...quiet, ...names.map((name) => `${scope}/${name}@${version}`)]);
		if (code !== 0) {
			const why = code === null ? 'npm is not there' : `npm ended with exit code ${code}`;
			throw new Problem(exitCodes.failure, `the build could not be installed: ${why}`, 'what npm said stands above');
		}
		for (const name of names) {
			const target = join(modules, scope, name);
			rmSync(target, { recursive: true, force: true });
			cpSync(join(folder, 'node_modules', scope, name), target, { recursive: true });
		}
	} finally {
		rmSync(folder, { recursive: true, force: true });
	}
	terminal.out(`The ${chosen} build of llama.cpp ${version} is installed; start the daemon again to use it.\n`);
	return exitCodes.ok;
}

function choice(devices: readonly Device[]): Acceleration | null {
	if (devices.some(({ vendor }) => vendor === 'nvidia')) return 'cuda';
	return devices.length > 0 ? 'vulkan' : null;
}
