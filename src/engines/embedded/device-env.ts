/**
 * Binds an engine process to its devices by its environment, the one way that every GPU runtime honours. Pure.
 */
import type { Device } from '../devices.ts';

/** Names under which the runtimes look for the devices they may use: NVIDIA, AMD (two), Vulkan in ggml. */
const cudaName = 'CUDA_VISIBLE_DEVICES';
const maskNames = [cudaName, 'HIP_VISIBLE_DEVICES', 'ROCR_VISIBLE_DEVICES', 'GGML_VK_VISIBLE_DEVICES'] as const;

/** Of the machine, as far as it is known, and which of its pool's replicas asks. */
export interface DeviceShare {
	readonly devices: readonly Device[];
	readonly replica: number;
}

/**
 * The environment of an engine process.
 * @param mask indices in the order of the PCI bus; null: whatever the engine sees
 */
export function deviceEnv(
	base: Readonly<Record<string, string>>,
	mask: readonly number[] | null,
	share: DeviceShare,
): Readonly<Record<string, string>> {
	// By default CUDA numbers the fastest device first, and the tools that people look at number by bus.
	const env: Record<string, string> = { ...base, CUDA_DEVICE_ORDER: 'PCI_BUS_ID' };
	if (mask === null) return env;
	for (const name of maskNames) env[name] = mask.join(',');
	const cut = cudaDevices(mask, share);
	return cut === null ? env : { ...env, [cudaName]: cut };
}

/**
 * A GPU that is cut into MIG devices cannot be used whole: each replica has one of these, by the only name that they have, in turn.
 * Null: none of the mask is.
 */
function cudaDevices(mask: readonly number[], { devices, replica }: DeviceShare): string | null {
	const wanted = mask.map((index) => devices.find((device) => device.vendor === 'nvidia' && device.index === index));
	if (!wanted.some((device) => device !== undefined && device.parts.length > 0)) return null;
	const names = wanted.map((device, at) => {
		const part = device?.parts[replica % device.parts.length];
		return part?.uuid ?? device?.uuid ?? String(mask[at]);
	});
	return names.join(',');
}

/** Its number among those of its pool: `stories-2` has 2. */
export function replicaNumber(replicaId: string): number {
	return Number(/-(\d+)$/.exec(replicaId)?.[1] ?? 0);
}
