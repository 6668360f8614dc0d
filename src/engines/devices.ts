/**
 * What devices a machine has, as its tools tell: the port to them, and what can be said of their numbers. Pure; what runs the tools is
 * `devices-probe.ts`, what looks again and again is `devices-watch.ts`.
 */

export interface Device {
	readonly vendor: 'nvidia' | 'amd' | 'apple';
	/** What `devices:` names it by: on Linux its place in the order of the PCI bus. Two vendors count each from 0. */
	readonly index: number;
	readonly name: string;
	readonly uuid: string | null;
	/** `00000000:4F:00.0`; null: not told. */
	readonly bus: string | null;
	/** Each null where the tool does not tell, or may not. */
	readonly memoryBytes: number | null;
	readonly usedBytes: number | null;
	readonly freeBytes: number | null;
	/** 0 to 1. */
	readonly utilization: number | null;
	/** Its memory is that of the CPU. */
	readonly unified: boolean;
	/** MIG devices that it is cut into; an engine gets one of them, never the whole. */
	readonly parts: readonly DevicePart[];
}

export interface DevicePart {
	readonly index: number;
	/** `3g.20gb`. */
	readonly profile: string;
	readonly uuid: string;
	/** As its profile says, about. */
	readonly memoryBytes: number | null;
}

export interface DevicesFound {
	readonly devices: readonly Device[];
	/** Of tools that are there and did not answer as they should: a sentence each. */
	readonly problems: readonly string[];
}

/** What looks. It never rejects. */
export interface DeviceProbe {
	look(): Promise<DevicesFound>;
}

export const noDevices: DevicesFound = { devices: [], problems: [] };

/** What a mask lets an engine see; null: all. */
export function visible(devices: readonly Device[], mask: readonly number[] | null): readonly Device[] {
	return mask === null ? devices : devices.filter(({ index }) => mask.includes(index));
}

/** `0`; `amd:0` where another vendor has one of that number, too. */
export function deviceLabel(device: Device, all: readonly Device[]): string {
	const alone = all.every(({ vendor }) => vendor === device.vendor);
	return alone ? String(device.index) : `${device.vendor}:${device.index}`;
}

/** `0 (NVIDIA A40, 45.0 GiB)`. */
export function describeDevice(device: Device, all: readonly Device[]): string {
	const { name, memoryBytes, parts } = device;
	const memory = memoryBytes === null ? '' : `, ${gibibytes(memoryBytes)}`;
	const cut = parts.length === 0 ? '' : `, ${parts.length} MIG devices`;
	return `${deviceLabel(device, all)} (${name}${memory}${cut})`;
}

/** What is wrong with a mask; null: nothing, or nobody can tell for no tool lists any device. */
export function maskProblem(mask: readonly number[] | null, { devices }: DevicesFound): string | null {
	if (mask === null || devices.length === 0) return null;
	const missing = mask.filter((wanted) => devices.every(({ index }) => index !== wanted));
	if (missing.length === 0) return null;
	return `names ${missing.join(', ')}; the devices here are ${devices.map((device) => describeDevice(device, devices)).join(', ')}`;
}

/** Free bytes of all devices that a mask lets an engine see; null: not told of one of them. */
export function freeBytesOf(devices: readonly Device[], mask: readonly number[] | null): number | null {
	const seen = visible(devices, mask);
	let sum = 0;
	for (const { freeBytes } of seen) {
		if (freeBytes === null) return null;
		sum += freeBytes;
	}
	return seen.length === 0 ? null : sum;
}

/** `9.1 GiB`, `350 MiB`. */
export function gibibytes(bytes: number): string {
	const gib = bytes / 2 ** 30;
	return gib >= 1 ? `${gib.toFixed(1)} GiB` : `${Math.ceil(bytes / 2 ** 20)} MiB`;
}

/** A number as a tool prints it; null for `[N/A]`, `[Not Supported]`, `N/A (Secondary die)`, ''. */
export function toldNumber(text: unknown): number | null {
	if (typeof text === 'number') return Number.isFinite(text) ? text : null;
	if (typeof text !== 'string' || text.trim() === '') return null;
	const value = Number(text.trim());
	return Number.isFinite(value) ? value : null;
}

/** Of a percentage; null: not told, or none. */
export function toldPart(text: unknown): number | null {
	const percent = toldNumber(text);
	return percent === null || percent < 0 || percent > 100 ? null : percent / 100;
}
