/**
 * When the models of pools are in memory, and how much of that there is for them: the keys of a pool and the section `memory`, in their final
 * form. Pure; part of loading the configuration.
 */
import { Type } from '@sinclair/typebox';
import { bytes, milliseconds, oneOf, section } from './config-fields.ts';
import type { PoolFile } from './config-schema.ts';

function bytesOrAuto(description: string) {
	const { anyOf, allowed } = bytes('0', description);
	return Type.Union([Type.Literal('auto'), ...anyOf], { default: 'auto', description, allowed: `auto, or ${String(allowed)}` });
}

/** Of a pool. */
export const residencyKeys = {
	residency: oneOf(['always', 'on_demand'], 'always', 'When the model is in memory: always, or from the first task that needs it on'),
	idle_ms: milliseconds(300_000, 'An on_demand model is unloaded after so long without a task; 0: not before others want its memory'),
	min_resident_ms: milliseconds(5_000, 'An on_demand model that is loaded stays for so long at least, whoever else wants the memory'),
	pinned: Type.Boolean({
		default: false,
		description: 'An on_demand model that is loaded stays, whoever else wants the memory',
		allowed: 'true or false',
	}),
	memory_bytes: bytesOrAuto('What one engine with the model takes of its devices, all together; auto: as estimated and measured'),
};

export const memorySection = section(
	{
		ram_bytes_max: bytesOrAuto('Main memory for all models together; auto: nine tenths of what this machine has'),
		vram_bytes_max: bytesOrAuto('Memory of each GPU for all models together; auto: what it has'),
	},
	'Memory that pools with residency: on_demand share with the others',
);

export type ResidencyConfig =
	| { readonly kind: 'always' }
	| { readonly kind: 'on_demand'; readonly idleMs: number; readonly minResidentMs: number; readonly pinned: boolean };

export interface MemoryConfig {
	/** Null: as it is found. */
	readonly ramBytesMax: number | null;
	readonly vramBytesMax: number | null;
}

export function residencyOf(pool: PoolFile, path: string, problems: string[]): ResidencyConfig {
	if (pool.residency === 'always') {
		if (pool.pinned) problems.push(`${path}.pinned is true, but ${path}.residency is always; it belongs to residency: on_demand`);
		return { kind: 'always' };
	}
	if (pool.provider === 'external')
		problems.push(
			`${path}.residency is on_demand, but ${path}.provider is external; only engines that are run here can be loaded on demand`,
		);
	return { kind: 'on_demand', idleMs: pool.idle_ms, minResidentMs: pool.min_resident_ms, pinned: pool.pinned };
}
