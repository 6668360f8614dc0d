/**
 * The memory of this machine that engines share: the main one, and that of each device that a tool lists; and which of it an engine takes.
 * Pure, but for a look at the system's own numbers. On an engine thread.
 */
import { freemem, totalmem } from 'node:os';
import type { DeviceMemory } from '../actors/serving/memory-messages.ts';
import { type Device, deviceLabel, visible } from './devices.ts';

/** Each null: as it is found. */
export interface MemoryBounds {
	readonly ramBytesMax: number | null;
	/** Of each device. */
	readonly vramBytesMax: number | null;
}

export const mainMemory = 'ram';
/** The rest is for everything else on the machine. */
const ramPart = 0.9;

export interface RamLook {
	readonly totalBytes: number;
	/** Null: the system does not tell what could be had. */
	readonly freeBytes: number | null;
}

/** As this process may use it. */
export function lookAtRam(): RamLook {
	const limit = process.constrainedMemory();
	// No limit is told as 0, or as one that no machine has.
	const limited = limit > 0 && limit < totalmem();
	// Within a limit nobody tells how much of it others have; elsewhere than on Linux what is free is what nobody uses at all.
	return { totalBytes: limited ? limit : totalmem(), freeBytes: limited || process.platform !== 'linux' ? null : freemem() };
}

export function machineMemory(devices: readonly Device[], bounds: MemoryBounds, ram: RamLook): DeviceMemory[] {
	const main = {
		device: mainMemory,
		totalBytes: Math.min(bounds.ramBytesMax ?? Math.floor(ram.totalBytes * ramPart), ram.totalBytes),
		freeBytes: ram.freeBytes,
	};
	// The memory of one that has none of its own is the main one.
	const own = devices.filter(({ unified }) => !unified);
	return [
		main,
		...own.map((device) => ({
			device: deviceLabel(device, devices),
			totalBytes:
				bounds.vramBytesMax === null ? device.memoryBytes : Math.min(bounds.vramBytesMax, device.memoryBytes ?? Number.POSITIVE_INFINITY),
			freeBytes: device.freeBytes,
		})),
	];
}

/** What an engine takes that may see these; null: all there are. */
export function usedBy(devices: readonly Device[], mask: readonly number[] | null): string[] {
	const seen = visible(devices, mask).filter(({ unified }) => !unified);
	return seen.length === 0 ? [mainMemory] : seen.map((device) => deviceLabel(device, devices));
}
