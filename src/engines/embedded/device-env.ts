/**
 * Binds an engine process to its devices by its environment, the one way that every GPU runtime honours. Pure.
 */

/** Names under which the runtimes look for the devices they may use: NVIDIA, AMD (two), Vulkan in ggml. */
const maskNames = ['CUDA_VISIBLE_DEVICES', 'HIP_VISIBLE_DEVICES', 'ROCR_VISIBLE_DEVICES', 'GGML_VK_VISIBLE_DEVICES'] as const;

/**
 * The environment of an engine process.
 * @param devices indices in the order of the PCI bus; null: whatever the engine sees
 */
export function deviceEnv(base: Readonly<Record<string, string>>, devices: readonly number[] | null): Readonly<Record<string, string>> {
	// By default CUDA numbers the fastest device first, and the tools that people look at number by bus.
	const env: Record<string, string> = { ...base, CUDA_DEVICE_ORDER: 'PCI_BUS_ID' };
	if (devices === null) return env;
	for (const name of maskNames) env[name] = devices.join(',');
	return env;
}
