/** Engines that use no device: what they take is main memory. Wraps the driver that does the rest; on an engine thread. */
import type { EngineDriver } from '../actors/serving/engine-life.ts';
import { lookAtRam, type MemoryBounds, machineMemory, mainMemory } from './machine-memory.ts';

export function inMainMemory(driver: EngineDriver, bounds: MemoryBounds): EngineDriver {
	const { withModel, emptyCaches, memory } = driver;
	return {
		start: (spec, replica) => driver.start(spec, replica),
		...(withModel === undefined ? {} : { withModel: withModel.bind(driver) }),
		...(emptyCaches === undefined ? {} : { emptyCaches: emptyCaches.bind(driver) }),
		memory(settings, model, told, heard) {
			const tell = (bytes: number | null): void => told({ bytes, uses: [mainMemory], devices: machineMemory([], bounds, lookAtRam()) });
			if (memory === undefined) tell(null);
			else memory.call(driver, settings, model, ({ bytes }) => tell(bytes), heard);
		},
	};
}
