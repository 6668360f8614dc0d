/**
 * Asks the tools of this machine for its devices: each with a timeout and a bound on what it may print, none of them twice once it is known
 * not to be there. A machine without tools has no devices that anybody could list, and that is no problem.
 */
import { runTool, type ToolRun } from './child-process.ts';
import type { Device, DeviceProbe, DevicesFound } from './devices.ts';
import { type AmdName, amdListArgs, amdMetricArgs, amdNameArgs, readAmdMetrics, readAmdNames, readRocm, rocmArgs } from './devices-amd.ts';
import { ioregArgs, memoryArgs, profilerArgs, readApple } from './devices-apple.ts';
import { doesNotKnowMig, nvidiaQuery, readNvidiaQuery, withMigDevices } from './devices-nvidia.ts';

/** Runs a tool to its end. Null: it is not there. */
export type RunTool = (command: string, args: readonly string[]) => Promise<ToolRun | null>;

/** A driver that wakes its cards up takes seconds. */
const timeoutMs = 10_000;
const outputMax = 1024 * 1024;
const wordsMax = 200;

export function toolsOf(env: Readonly<Record<string, string>>): RunTool {
	return (command, args) => runTool({ command, args, env, timeoutMs, outputMax });
}

export class ToolProbe implements DeviceProbe {
	readonly #run: RunTool;
	readonly #isMac: boolean;
	readonly #missing = new Set<string>();
	#knowsMig = true;
	#amdNames: readonly AmdName[] | null = null;

	constructor(run: RunTool, platform: string) {
		this.#run = run;
		this.#isMac = platform === 'darwin';
	}

	async look(): Promise<DevicesFound> {
		const problems: string[] = [];
		const vendors = this.#isMac ? [this.#apple(problems)] : [this.#nvidia(problems), this.#amd(problems)];
		return { devices: (await Promise.all(vendors)).flat(), problems };
	}

	async #nvidia(problems: string[]): Promise<readonly Device[]> {
		const tool = 'nvidia-smi';
		const asked = this.#knowsMig;
		const ran = await this.#ask(tool, nvidiaQuery(asked));
		if (ran === null) return [];
		if (asked && doesNotKnowMig(ran.stdout)) {
			this.#knowsMig = false;
			return this.#nvidia(problems);
		}
		// It says so on stdout, and is no problem: the cards may be somebody else's.
		if (/^No devices were found/m.test(ran.stdout)) return [];
		const found = readNvidiaQuery(ran.stdout, asked);
		if (found.strange.length > 0 || (ran.code !== 0 && found.devices.length === 0)) problems.push(complaint(tool, ran));
		if (!found.mig) return found.devices;
		const list = await this.#ask(tool, ['-L']);
		return withMigDevices(found.devices, list?.stdout ?? '');
	}

	async #amd(problems: string[]): Promise<readonly Device[]> {
		const tool = 'amd-smi';
		const ran = await this.#ask(tool, amdMetricArgs);
		if (ran === null) return this.#rocm(problems);
		this.#amdNames ??= readAmdNames((await this.#ask(tool, amdListArgs))?.stdout ?? '', (await this.#ask(tool, amdNameArgs))?.stdout ?? '');
		const devices = readAmdMetrics(ran.stdout, this.#amdNames ?? []);
		if (devices !== null) return devices;
		problems.push(complaint(tool, ran));
		return this.#rocm(problems);
	}

	async #rocm(problems: string[]): Promise<readonly Device[]> {
		const tool = 'rocm-smi';
		const ran = await this.#ask(tool, rocmArgs);
		if (ran === null) return [];
		const devices = readRocm(ran.stdout);
		if (devices === null) problems.push(complaint(tool, ran));
		return devices ?? [];
	}

	async #apple(problems: string[]): Promise<readonly Device[]> {
		const tool = 'system_profiler';
		const profiler = await this.#ask(tool, profilerArgs);
		if (profiler === null) return [];
		const memory = await this.#ask('sysctl', memoryArgs);
		const ioreg = await this.#ask('ioreg', ioregArgs);
		const devices = readApple(profiler.stdout, memory?.stdout ?? '', ioreg?.stdout ?? '');
		if (devices === null) problems.push(complaint(tool, profiler));
		return devices ?? [];
	}

	async #ask(command: string, args: readonly string[]): Promise<ToolRun | null> {
		if (this.#missing.has(command)) return null;
		const ran = await this.#run(command, args);
		if (ran === null) this.#missing.add(command);
		return ran;
	}
}

/** What a tool said instead of what it was asked for. */
function complaint(tool: string, { code, stdout, stderr, late }: ToolRun): string {
	if (late) return `${tool} did not answer within ${timeoutMs / 1000} s`;
	const said = [stdout, stderr].map((text) => text.trim().split(/\s*\n\s*/)[0] ?? '').find((text) => text !== '') ?? '';
	const words = said.length > wordsMax ? `${said.slice(0, wordsMax)}…` : said;
	return words === '' ? `${tool} ended with exit code ${code ?? 'unknown'} and said nothing` : `${tool} says: ${words}`;
}
