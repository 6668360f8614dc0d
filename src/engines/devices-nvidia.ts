/**
 * Reads what `nvidia-smi` prints: `--query-gpu` as CSV without units, where a field that is not known is words in brackets, and `-L` for
 * MIG devices. Pure. Fields as in `nvidia-smi --help-query-gpu`.
 */
import { type Device, type DevicePart, toldNumber, toldPart } from './devices.ts';

/** Drivers before 450 do not know the last, and refuse the whole query for it. */
const fields = ['index', 'uuid', 'pci.bus_id', 'name', 'memory.total', 'memory.used', 'memory.free', 'utilization.gpu'];
const migField = 'mig.mode.current';

export function nvidiaQuery(withMig: boolean): readonly string[] {
	const asked = withMig ? [...fields, migField] : fields;
	return [`--query-gpu=${asked.join(',')}`, '--format=csv,noheader,nounits'];
}

export function doesNotKnowMig(text: string): boolean {
	return text.includes(`"${migField}" is not a valid field`);
}

export interface NvidiaFound {
	readonly devices: readonly Device[];
	/** One of them is cut into MIG devices: `-L` tells which. */
	readonly mig: boolean;
	/** Lines that are no device, such as what a driver has to complain of. */
	readonly strange: readonly string[];
}

const mib = 2 ** 20;
/** Before and behind the name, which may hold anything. */
const leading = 3;

export function readNvidiaQuery(text: string, withMig: boolean): NvidiaFound {
	const devices: Device[] = [];
	const strange: string[] = [];
	let mig = false;
	const trailing = withMig ? 5 : 4;
	for (const line of text.split('\n')) {
		if (line.trim() === '') continue;
		const cells = line.split(',').map((cell) => cell.trim());
		const index = toldNumber(cells[0]);
		if (index === null || cells.length < leading + 1 + trailing) {
			strange.push(line.trim());
			continue;
		}
		const [total, used, free, busy, mode] = cells.slice(cells.length - trailing);
		const memoryBytes = bytesOf(total);
		const usedBytes = bytesOf(used);
		// Older drivers count what they keep for themselves as neither.
		const freeBytes = bytesOf(free) ?? (memoryBytes === null || usedBytes === null ? null : memoryBytes - usedBytes);
		if (mode === 'Enabled') mig = true;
		devices.push({
			vendor: 'nvidia',
			index,
			name: cells.slice(leading, cells.length - trailing).join(', '),
			uuid: told(cells[1]),
			bus: told(cells[2]),
			memoryBytes,
			usedBytes,
			freeBytes,
			utilization: toldPart(busy),
			unified: false,
			parts: [],
		});
	}
	return { devices: devices.toSorted((a, b) => a.index - b.index), mig, strange };
}

function bytesOf(text: string | undefined): number | null {
	const value = toldNumber(text);
	return value === null ? null : value * mib;
}

function told(text: string | undefined): string | null {
	return text === undefined || text === '' || text.startsWith('[') || text === 'N/A' ? null : text;
}

const gpuLine = /^GPU (\d+): .*\(UUID: (GPU-[^)]+)\)/;
const migLine = /^\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (MIG-[^)]+)\)/;

/** The devices with the MIG devices that `nvidia-smi -L` lists below them. */
export function withMigDevices(devices: readonly Device[], list: string): readonly Device[] {
	const parts = new Map<number, DevicePart[]>();
	let below: DevicePart[] = [];
	for (const line of list.split('\n')) {
		const gpu = gpuLine.exec(line);
		if (gpu !== null) parts.set(Number(gpu[1]), (below = []));
		const [, profile = '', index, uuid = ''] = migLine.exec(line) ?? [];
		if (index !== undefined) below.push({ index: Number(index), profile, uuid, memoryBytes: bytesOfProfile(profile) });
	}
	return devices.map((device) => ({ ...device, parts: parts.get(device.index) ?? [] }));
}

/** `1c.3g.20gb` has about twenty. */
function bytesOfProfile(profile: string): number | null {
	const gigabytes = /(\d+)gb\b/.exec(profile)?.[1];
	return gigabytes === undefined ? null : Number(gigabytes) * 1e9;
}
