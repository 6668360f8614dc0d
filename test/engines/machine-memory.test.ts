/** What engines take of the memory of a machine, and what there is of it: told before anything is loaded. */
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentTelemetry } from '../../src/actors/kernel/telemetry.ts';
import type { EngineDriver } from '../../src/actors/serving/engine-life.ts';
import type { MemoryTold } from '../../src/actors/serving/memory-messages.ts';
import type { ModelFetch } from '../../src/actors/serving/warm-up-messages.ts';
import { packageRoot } from '../../src/config-root.ts';
import { type DevicesFound, noDevices } from '../../src/engines/devices.ts';
import { DevicesDriver } from '../../src/engines/devices-driver.ts';
import { readNvidiaQuery } from '../../src/engines/devices-nvidia.ts';
import { DeviceWatch } from '../../src/engines/devices-watch.ts';
import type { EmbeddedSettings } from '../../src/engines/embedded/embedded-settings.ts';
import { memoryOfFile } from '../../src/engines/embedded/model-memory.ts';
import { PreparedDriver } from '../../src/engines/embedded/prepared-driver.ts';
import { machineMemory, usedBy } from '../../src/engines/machine-memory.ts';
import { inMainMemory } from '../../src/engines/main-memory-driver.ts';
import { nvidiaTwoA40 } from '../fixtures/device-tools.ts';

const mib = 2 ** 20;
const unbounded = { ramBytesMax: null, vramBytesMax: null };
const twoGpus: DevicesFound = { devices: readNvidiaQuery(nvidiaTwoA40, true).devices, problems: [] };
const ram = { totalBytes: 1000 * mib, freeBytes: 700 * mib };
const model = join(packageRoot(), 'models', 'tiny-chat.gguf');
const settings: EmbeddedSettings = {
	modelPath: model,
	slots: 2,
	ctx: 512,
	defaultCtx: 2048,
	cpuThreads: 1,
	gpuLayers: null,
	devices: null,
};

const toldBy = (driver: EngineDriver, of: unknown = settings, heard: (fetch: ModelFetch) => void = () => undefined): Promise<MemoryTold> =>
	new Promise((resolve) => driver.memory?.(of, 'a-model', resolve, heard));
const nowhere: EngineDriver['start'] = () => assert.fail('nothing is started to know what it takes');

test('the memory of a machine is nine tenths of the main one and what each GPU has, or less where that is said', () => {
	const [main, first, second] = machineMemory(twoGpus.devices, unbounded, ram);
	assert.deepEqual(main, { device: 'ram', totalBytes: 900 * mib, freeBytes: 700 * mib });
	const [a40] = twoGpus.devices;
	assert.deepEqual([first, second?.device], [{ device: '0', totalBytes: a40?.memoryBytes, freeBytes: a40?.freeBytes }, '1']);
	const bounded = machineMemory(twoGpus.devices, { ramBytesMax: 5 * mib, vramBytesMax: 9 * mib }, ram);
	assert.deepEqual(
		bounded.map(({ totalBytes }) => totalBytes),
		[5 * mib, 9 * mib, 9 * mib],
	);
	assert.equal(machineMemory([], { ramBytesMax: 9e15, vramBytesMax: null }, ram)[0]?.totalBytes, ram.totalBytes);
});

test('an engine takes what it may see of the devices, and main memory where that is none', () => {
	assert.deepEqual(usedBy(twoGpus.devices, null), ['0', '1']);
	assert.deepEqual(usedBy(twoGpus.devices, [1]), ['1']);
	assert.deepEqual(usedBy(twoGpus.devices, []), ['ram']);
	assert.deepEqual(usedBy([], null), ['ram']);
	const shared = twoGpus.devices.map((device) => ({ ...device, unified: true }));
	assert.deepEqual([usedBy(shared, null), machineMemory(shared, unbounded, ram).length], [['ram'], 1]);
});

test('what a model takes is its weights, its cache and the process around it, and more with more slots', () => {
	const bytes = memoryOfFile(settings) ?? 0;
	assert.ok(bytes > statSync(model).size + 60 * mib && bytes < 300 * mib, String(bytes));
	assert.ok((memoryOfFile({ ...settings, slots: 64 }) ?? 0) > bytes);
	assert.ok((memoryOfFile({ ...settings, gpuLayers: 1 }) ?? 0) < bytes);
	assert.equal(memoryOfFile({ ...settings, modelPath: '/nowhere.gguf' }), null);
});

test('a driver of engines on devices tells what they take and what is free as it is by then', async () => {
	let looks = 0;
	const probe = {
		look() {
			looks += 1;
			const devices = twoGpus.devices.map((device) => ({ ...device, freeBytes: looks * mib }));
			return Promise.resolve({ ...twoGpus, devices });
		},
	};
	const watch = new DeviceWatch({ probe, everyMs: 1_000, onProblem: () => undefined });
	const options = { watch, telemetry: silentTelemetry, bounds: unbounded, maskOf: () => [1] };
	const knows = new DevicesDriver({
		...options,
		driver: { start: nowhere, memory: (_settings, _model, told) => told({ bytes: 7, uses: [], devices: [] }) },
	});
	await watch.first();
	for (const free of [2, 3]) {
		const told = await toldBy(knows);
		assert.deepEqual([told.bytes, told.uses, told.devices.map(({ device }) => device)], [7, ['1'], ['ram', '0', '1']]);
		assert.equal(told.devices.at(-1)?.freeBytes, free * mib);
	}
	assert.equal((await toldBy(new DevicesDriver({ ...options, driver: { start: nowhere } }))).bytes, null);
	const without = new DeviceWatch({ probe: { look: () => Promise.resolve(noDevices) }, everyMs: 1, onProblem: () => undefined });
	assert.deepEqual((await toldBy(new DevicesDriver({ ...options, watch: without, driver: { start: nowhere } }))).uses, ['ram']);
});

test('engines without devices take main memory', async () => {
	const driver = inMainMemory(
		{ start: nowhere, memory: (_settings, _model, told) => told({ bytes: 0, uses: [], devices: [] }) },
		{ ...unbounded, ramBytesMax: 5 },
	);
	assert.deepEqual((await toldBy(driver)).devices[0]?.totalBytes, 5);
	const { bytes, uses } = await toldBy(inMainMemory({ start: nowhere }, unbounded));
	assert.deepEqual([bytes, uses], [null, ['ram']]);
});

test('a model that is elsewhere comes here before anybody says what it takes, and tells how far it is', async () => {
	const coming: ModelFetch = { status: 'running', bytesDone: 1, bytesTotal: 2, leftMs: null, note: null };
	const fetches: ModelFetch[] = [];
	const source = {
		prepare: (_model: string, path: string | null, heard: (fetch: ModelFetch) => void) => {
			assert.equal(path, null);
			heard(coming);
			return Promise.resolve({ ok: true, model: { path: model, files: [], expectedDigest: null } } as const);
		},
	};
	const driver = new PreparedDriver({ driver: { start: nowhere }, source });
	const { bytes } = await toldBy(driver, { ...settings, modelPath: '', ref: 'hf:org/repo' }, (fetch) => fetches.push(fetch));
	assert.deepEqual([bytes, fetches], [memoryOfFile(settings), [coming]]);
	const failing = { prepare: () => Promise.reject(new Error('away')) };
	assert.equal(
		(await toldBy(new PreparedDriver({ driver: { start: nowhere }, source: failing }), { ...settings, modelPath: '' })).bytes,
		null,
	);
});
