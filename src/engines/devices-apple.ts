/**
 * Reads what macOS tells of its GPU, whose memory is that of the CPU: `system_profiler` its name, `sysctl` the memory, `ioreg` how busy it
 * is and what it holds. Pure.
 */
import { type Device, toldNumber, toldPart } from './devices.ts';

export const profilerArgs: readonly string[] = ['-json', '-detailLevel', 'mini', 'SPDisplaysDataType'];
export const memoryArgs: readonly string[] = ['-n', 'hw.memsize', 'iogpu.wired_limit_mb'];
export const ioregArgs: readonly string[] = ['-r', '-d', '1', '-w', '0', '-c', 'IOAccelerator'];

/** Of the memory that Metal lets a GPU hold, unless the system says otherwise. */
const wiredPart = 0.75;
const mib = 2 ** 20;

/** Null: not the JSON that it should be. Macs without a chip of Apple's have no device that llama.cpp uses well: none is told. */
export function readApple(profiler: string, memory: string, ioreg: string): readonly Device[] | null {
	const displays = displaysOf(profiler);
	if (displays === null) return null;
	const [memsize, wiredMb] = memory.trim().split('\n').map(toldNumber);
	const memoryBytes = wiredMb ? wiredMb * mib : typeof memsize === 'number' ? Math.floor(memsize * wiredPart) : null;
	const usedBytes = statistic(ioreg, 'In use system memory');
	const busy = statistic(ioreg, 'Device Utilization %');
	return displays
		.filter((display) => display['spdisplays_vendor'] === 'sppci_vendor_Apple')
		.map(
			(display, index): Device => ({
				vendor: 'apple',
				index,
				name: typeof display['sppci_model'] === 'string' ? display['sppci_model'] : 'Apple GPU',
				uuid: null,
				bus: null,
				memoryBytes,
				usedBytes,
				freeBytes: memoryBytes === null || usedBytes === null ? null : Math.max(0, memoryBytes - usedBytes),
				utilization: toldPart(busy),
				unified: true,
				parts: [],
			}),
		);
}

function displaysOf(text: string): readonly Readonly<Record<string, unknown>>[] | null {
	try {
		const list = (JSON.parse(text) as { readonly SPDisplaysDataType?: unknown } | null)?.SPDisplaysDataType;
		return Array.isArray(list) ? (list as Readonly<Record<string, unknown>>[]) : null;
	} catch (error) {
		if (error instanceof SyntaxError) return null;
		throw error;
	}
}

/** With its closing quote: there is one `(driver)`, too. */
function statistic(ioreg: string, name: string): number | null {
	const statistics = /"PerformanceStatistics" = \{([^}]*)\}/.exec(ioreg)?.[1] ?? '';
	const at = statistics.indexOf(`"${name}"=`);
	return at < 0 ? null : toldNumber(/^\d+/.exec(statistics.slice(at + name.length + 3))?.[0]);
}
