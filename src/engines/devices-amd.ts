/**
 * Reads what AMD's tools print as JSON: `amd-smi`, and `rocm-smi` where that is not there. Both print warnings before it, and say `N/A` in
 * the place of a number. Pure.
 */
import { type Device, toldNumber, toldPart } from './devices.ts';

export const amdMetricArgs: readonly string[] = ['metric', '--usage', '--mem-usage', '--json'];
export const amdListArgs: readonly string[] = ['list', '--json'];
export const amdNameArgs: readonly string[] = ['static', '--asic', '--json'];
export const rocmArgs: readonly string[] = [
	'--showproductname',
	'--showbus',
	'--showuniqueid',
	'--showuse',
	'--showmeminfo',
	'vram',
	'--json',
];

type Json = Readonly<Record<string, unknown>>;

const mib = 2 ** 20;

/** What does not change from look to look. */
export interface AmdName {
	readonly index: number;
	readonly name: string | null;
	readonly uuid: string | null;
	readonly bus: string | null;
}

/** Of `list` and `static`, either of which may be missing. Null: not the JSON that it should be. */
export function readAmdNames(list: string, asics: string): readonly AmdName[] | null {
	const listed = rowsOf(list);
	if (listed === null) return null;
	const named = new Map((rowsOf(asics) ?? []).map((row) => [toldNumber(row['gpu']), objectOf(row['asic'])['market_name']]));
	return listed.flatMap((row) => {
		const index = toldNumber(row['gpu']);
		return index === null ? [] : [{ index, name: told(named.get(index)), uuid: told(row['uuid']), bus: told(row['bdf']) }];
	});
}

/** Of `metric`. Null: not the JSON that it should be. */
export function readAmdMetrics(text: string, names: readonly AmdName[]): readonly Device[] | null {
	const rows = rowsOf(text);
	if (rows === null) return null;
	const devices = rows.flatMap((row): Device[] => {
		const index = toldNumber(row['gpu']);
		if (index === null) return [];
		const known = names.find((name) => name.index === index);
		const memory = objectOf(row['mem_usage']);
		const memoryBytes = bytesOf(memory['total_vram']);
		const usedBytes = bytesOf(memory['used_vram']);
		return [
			{
				vendor: 'amd',
				index,
				name: known?.name ?? 'AMD GPU',
				uuid: known?.uuid ?? null,
				bus: known?.bus ?? null,
				memoryBytes,
				usedBytes,
				freeBytes: bytesOf(memory['free_vram']) ?? left(memoryBytes, usedBytes),
				utilization: toldPart(valueOf(objectOf(row['usage'])['gfx_activity'])),
				unified: false,
				parts: [],
			},
		];
	});
	return devices.toSorted((a, b) => a.index - b.index);
}

/** Of `rocm-smi`. Null: not the JSON that it should be. */
export function readRocm(text: string): readonly Device[] | null {
	const cards = jsonIn(text);
	if (!isObject(cards)) return null;
	const devices = Object.entries(cards).flatMap(([key, value]): Device[] => {
		const index = /^card(\d+)$/.exec(key)?.[1];
		// Beside the cards it tells of the system.
		if (index === undefined || !isObject(value)) return [];
		const memoryBytes = toldNumber(value['VRAM Total Memory (B)']);
		const usedBytes = toldNumber(value['VRAM Total Used Memory (B)']);
		return [
			{
				vendor: 'amd',
				index: Number(index),
				// Releases before 6 write it small.
				name: told(value['Card Series']) ?? told(value['Card series']) ?? told(value['Device Name']) ?? 'AMD GPU',
				uuid: told(value['Unique ID']),
				bus: told(value['PCI Bus']),
				memoryBytes,
				usedBytes,
				freeBytes: left(memoryBytes, usedBytes),
				utilization: toldPart(value['GPU use (%)']),
				unified: false,
				parts: [],
			},
		];
	});
	return devices.toSorted((a, b) => a.index - b.index);
}

/** A list, or since ROCm 7 an object with one. */
function rowsOf(text: string): readonly Json[] | null {
	const json = jsonIn(text);
	const rows = isObject(json) ? json['gpu_data'] : json;
	return Array.isArray(rows) ? rows.filter(isObject) : null;
}

/** What stands behind the warnings. */
function jsonIn(text: string): unknown {
	const at = text.search(/^[[{]/m);
	if (at < 0) return null;
	try {
		return JSON.parse(text.slice(at));
	} catch (error) {
		if (error instanceof SyntaxError) return null;
		throw error;
	}
}

/** `{ "value": 42, "unit": "%" }`, or the number alone. */
function valueOf(cell: unknown): unknown {
	return isObject(cell) ? cell['value'] : cell;
}

/** It says MB and counts in MiB. */
function bytesOf(cell: unknown): number | null {
	const value = toldNumber(valueOf(cell));
	if (value === null) return null;
	const unit = isObject(cell) ? cell['unit'] : 'MB';
	return unit === 'GB' ? value * 1024 * mib : unit === 'B' ? value : value * mib;
}

function left(total: number | null, used: number | null): number | null {
	return total === null || used === null ? null : Math.max(0, total - used);
}

function told(value: unknown): string | null {
	return typeof value === 'string' && value !== '' && value !== 'N/A' ? value : null;
}

function objectOf(value: unknown): Json {
	return isObject(value) ? value : {};
}

function isObject(value: unknown): value is Json {
	return typeof value === 'object' && value !== null && !Array.isArray(value);
}
