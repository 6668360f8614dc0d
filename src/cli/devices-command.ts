/** `devices`: what devices this machine has, as `devices:` of a pool names them, and what became of the tools that should tell. */
import { type Device, type DeviceProbe, describeDevice, deviceLabel, gibibytes } from '../engines/devices.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import { table } from './table.ts';
import type { Terminal } from './terminal.ts';

export interface CpuFacts {
	readonly cores: number;
	readonly memoryBytes: number;
}

export async function listDevices(probe: DeviceProbe, cpu: CpuFacts, json: boolean, terminal: Terminal): Promise<ExitCode> {
	const { devices, problems } = await probe.look();
	for (const problem of problems) terminal.say(terminal.paint.red(terminal.safe(problem)));
	if (json) {
		for (const device of devices) terminal.out(`${JSON.stringify(jsonOf(device))}\n`);
		return exitCodes.ok;
	}
	const cores = `${cpu.cores} core${cpu.cores === 1 ? '' : 's'}`;
	if (devices.length === 0)
		terminal.out(`No GPU was found. Engines of llamacpp run on the CPU: ${cores}, ${gibibytes(cpu.memoryBytes)}.\n`);
	else terminal.out(table([['DEVICE', 'NAME', 'MEMORY', 'FREE', 'BUSY', 'BUS'], ...devices.flatMap((device) => rows(device, devices))]));
	return exitCodes.ok;
}

function rows(device: Device, all: readonly Device[]): string[][] {
	const { name, memoryBytes, freeBytes, utilization, bus, unified, parts } = device;
	const memory = `${bytes(memoryBytes)}${unified ? ' (shared)' : ''}`;
	const own = [
		deviceLabel(device, all),
		name,
		memory,
		bytes(freeBytes),
		utilization === null ? '-' : `${Math.round(utilization * 100)} %`,
		bus ?? '-',
	];
	return [own, ...parts.map((part) => ['', `  MIG ${part.index}: ${part.profile}`, bytes(part.memoryBytes), '-', '-', part.uuid])];
}

function bytes(value: number | null): string {
	return value === null ? '-' : gibibytes(value);
}

function jsonOf(device: Device): unknown {
	return {
		vendor: device.vendor,
		index: device.index,
		name: device.name,
		uuid: device.uuid,
		bus: device.bus,
		memory_bytes: device.memoryBytes,
		used_bytes: device.usedBytes,
		free_bytes: device.freeBytes,
		utilization: device.utilization,
		unified_memory: device.unified,
		mig_devices: device.parts.map(({ index, profile, uuid, memoryBytes }) => ({ index, profile, uuid, memory_bytes: memoryBytes })),
	};
}

/** A line for each GPU that is here while llama.cpp of a pool, which may use it, runs on the CPU; null: there is none. */
export function unusedDevices(
	devices: readonly Device[],
	pools: readonly { readonly id: string; readonly device: string | null; readonly mayUseGpu: boolean }[],
): string | null {
	const idle = pools.filter(({ device, mayUseGpu }) => mayUseGpu && device?.startsWith('CPU') === true);
	if (devices.length === 0 || idle.length === 0) return null;
	const gpus = devices.map((device) => describeDevice(device, devices)).join(', ');
	const which = idle.map(({ id }) => id).join(', ');
	return `GPU ${gpus} is not used by ${which}: the CPU build of llama.cpp is installed; npx orchestratord accelerate installs the other`;
}
