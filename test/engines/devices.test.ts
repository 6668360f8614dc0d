/** What the tools of GPU vendors print, and what becomes of it: devices, what is missing of them, and what is wrong with a tool. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ToolRun } from '../../src/engines/child-process.ts';
import { type DevicesFound, deviceLabel, freeBytesOf, maskProblem } from '../../src/engines/devices.ts';
import { ToolProbe, toolsOf } from '../../src/engines/devices-probe.ts';
import * as printed from '../fixtures/device-tools.ts';

const mib = 2 ** 20;

/** A machine whose tools print what they were seen to print; those that it does not name are not there. */
function machine(tools: Readonly<Record<string, (args: string) => string | ToolRun>>, platform = 'linux') {
	const asked: string[] = [];
	const probe = new ToolProbe((command, args) => {
		asked.push(`${command} ${args.join(' ')}`);
		const said = tools[command]?.(args.join(' '));
		if (said === undefined) return Promise.resolve(null);
		return Promise.resolve(typeof said === 'string' ? { code: 0, stdout: said, stderr: '', late: false } : said);
	}, platform);
	return { probe, asked };
}

function failing(code: number, stdout: string): ToolRun {
	return { code, stdout, stderr: '', late: false };
}

describe('devices', () => {
	it('of NVIDIA are told with memory, use and place, in the order that a mask counts them', async () => {
		const { devices, problems } = await machine({ 'nvidia-smi': () => printed.nvidiaTwoA40 }).probe.look();
		assert.deepEqual(problems, []);
		assert.deepEqual(devices[1], {
			vendor: 'nvidia',
			index: 1,
			name: 'NVIDIA A40',
			uuid: 'GPU-9b6c0d6f-9c60-5b3f-8d0e-1f9a4b7a3c11',
			bus: '00000000:52:00.0',
			memoryBytes: 46_068 * mib,
			usedBytes: 30_210 * mib,
			freeBytes: 15_207 * mib,
			utilization: 0.87,
			unified: false,
			parts: [],
		});
		assert.equal(devices.length, 2);
	});

	it('that do not tell a number, or may not, are told without it', async () => {
		const [laptop] = (await machine({ 'nvidia-smi': () => printed.nvidiaBrackets }).probe.look()).devices;
		assert.deepEqual(
			[laptop?.name, laptop?.memoryBytes, laptop?.usedBytes, laptop?.freeBytes, laptop?.utilization],
			['NVIDIA GeForce MX150', 2002 * mib, null, null, null],
		);
		const [slice] = (await machine({ 'nvidia-smi': () => printed.nvidiaNoPermission }).probe.look()).devices;
		assert.deepEqual([slice?.memoryBytes, slice?.freeBytes, slice?.parts], [null, null, []]);
	});

	it('that are cut into MIG devices are told with these', async () => {
		const { probe, asked } = machine({
			'nvidia-smi': (args) => (args === '-L' ? printed.nvidiaMigList : printed.nvidiaMigQuery),
		});
		const [cut, whole] = (await probe.look()).devices;
		assert.deepEqual(
			cut?.parts.map(({ index, profile, memoryBytes }) => [index, profile, memoryBytes]),
			[
				[0, '3g.20gb', 20e9],
				[1, '1g.5gb', 5e9],
				[2, '1c.3g.20gb', 20e9],
			],
		);
		assert.equal(cut?.parts[1]?.uuid, 'MIG-fe9bc608-60f5-5479-8cc4-1827021d27a9');
		assert.deepEqual([whole?.index, whole?.parts], [1, []]);
		assert.equal(asked.includes('nvidia-smi -L'), true);
	});

	it('of a driver that is older than MIG are asked for again without it', async () => {
		const { probe, asked } = machine({
			'nvidia-smi': (args) =>
				args.includes('mig.mode') ? failing(2, printed.nvidiaOldDriver) : printed.nvidiaTwoA40.replaceAll(', Disabled', ''),
		});
		for (const look of [1, 2]) {
			const { devices, problems } = await probe.look();
			assert.deepEqual([devices.length, devices[1]?.utilization, problems], [2, 0.87, []], `look ${look}`);
		}
		assert.equal(asked.filter((each) => each.includes('mig.mode')).length, 1);
	});

	it('are none, in the words of the tool, where its driver is not there', async () => {
		for (const [code, said, words] of [
			[9, printed.nvidiaNoDriver, /nvidia-smi says: NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver/],
			[18, printed.nvidiaMismatch, /nvidia-smi says: Failed to initialize NVML: Driver\/library version mismatch$/],
			[1, '', /nvidia-smi ended with exit code 1 and said nothing/],
		] as const) {
			const { devices, problems } = await machine({ 'nvidia-smi': () => failing(code, said) }).probe.look();
			assert.deepEqual(devices, []);
			assert.match(problems.join(), words);
		}
		const late = await machine({ 'nvidia-smi': () => ({ code: null, stdout: '', stderr: '', late: true }) }).probe.look();
		assert.deepEqual(late.problems, ['nvidia-smi did not answer within 10 s']);
	});

	it('are none, and that is no problem, where a tool says so or there is no tool', async () => {
		assert.deepEqual(await machine({ 'nvidia-smi': () => failing(6, printed.nvidiaNone) }).probe.look(), { devices: [], problems: [] });
		const { probe, asked } = machine({});
		assert.deepEqual(await probe.look(), { devices: [], problems: [] });
		const first = asked.length;
		await probe.look();
		assert.equal(asked.length, first, 'nobody asks again for a tool that is not there');
	});

	it('of AMD are told by amd-smi, as a list and as an object', async () => {
		const tools = (metric: string) => ({
			'amd-smi': (args: string) => (args.startsWith('metric') ? metric : args.startsWith('list') ? printed.amdList : printed.amdStatic),
		});
		const [pro] = (await machine(tools(printed.amdMetricList)).probe.look()).devices;
		assert.deepEqual(
			[pro?.vendor, pro?.memoryBytes, pro?.usedBytes, pro?.freeBytes, pro?.utilization],
			['amd', 30_704 * mib, 5120 * mib, 25_584 * mib, 0.42],
		);
		const { probe, asked } = machine(tools(printed.amdMetricObject));
		const { devices } = await probe.look();
		assert.deepEqual(
			devices.map(({ index, name, bus, usedBytes, freeBytes, utilization }) => [index, name, bus, usedBytes, freeBytes, utilization]),
			[
				[0, 'AMD Instinct MI300X', '0000:05:00.0', 17_153 * mib, (196_592 - 17_153) * mib, 0.94],
				[1, 'AMD GPU', '0000:26:00.0', 284 * mib, (196_592 - 284) * mib, 0],
				[2, 'AMD GPU', null, null, null, null],
			],
		);
		await probe.look();
		assert.equal(asked.filter((each) => each.startsWith('amd-smi static')).length, 1, 'a name does not change');
	});

	it('of AMD are told by rocm-smi where amd-smi is not there, or says no JSON', async () => {
		for (const amd of [{}, { 'amd-smi': () => failing(255, 'Traceback (most recent call last):\n') }]) {
			const { devices } = await machine({ ...amd, 'rocm-smi': () => printed.rocmTwoCards }).probe.look();
			assert.deepEqual(
				devices.map(({ index, name, uuid, bus, memoryBytes, usedBytes, utilization }) => [
					index,
					name,
					uuid,
					bus,
					memoryBytes,
					usedBytes,
					utilization,
				]),
				[
					[0, 'Radeon RX 7900 XT', '0x8c6a1f0d2b3e4f50', '0000:03:00.0', 21_458_059_264, 27_856_896, 0],
					[1, 'AMD INSTINCT MI250 (MCM) OAM AC MBA', null, null, 68_702_699_520, 51_527_024_640, 0.5],
				],
			);
		}
	});

	it('of Apple have a part of the memory of the CPU, or what the system lets them have', async () => {
		const tools = (memory: string) => ({
			system_profiler: () => printed.appleProfiler,
			sysctl: () => memory,
			ioreg: () => printed.appleIoreg,
		});
		const [chip] = (await machine(tools(printed.appleMemory), 'darwin').probe.look()).devices;
		assert.deepEqual(
			[chip?.name, chip?.unified, chip?.memoryBytes, chip?.usedBytes, chip?.utilization],
			['Apple M1', true, 12_884_901_888, 2_363_801_600, 0.16],
		);
		const [wired] = (await machine(tools('17179869184\n14336\n'), 'darwin').probe.look()).devices;
		assert.equal(wired?.memoryBytes, 14_336 * mib);
		const [old] = (await machine(tools('17179869184\n'), 'darwin').probe.look()).devices;
		assert.equal(old?.memoryBytes, 12_884_901_888, 'a system that does not know the limit');
	});

	it('of this machine can be asked for, whatever it has', async () => {
		const { devices } = await new ToolProbe(toolsOf({ PATH: '/usr/bin:/bin:/opt/rocm/bin' }), process.platform).look();
		for (const { index, name } of devices) assert.equal(index >= 0 && name !== '', true);
	});
});

describe('a device mask', () => {
	const both: DevicesFound = { devices: [], problems: [] };

	it('is held against what is there, and a wrong one is told what that is', async () => {
		const found = await machine({ 'nvidia-smi': () => printed.nvidiaTwoA40 }).probe.look();
		assert.equal(maskProblem([1, 0], found), null);
		assert.equal(maskProblem(null, found), null);
		assert.equal(maskProblem([], found), null);
		assert.equal(maskProblem([0, 2, 5], found), 'names 2, 5; the devices here are 0 (NVIDIA A40, 45.0 GiB), 1 (NVIDIA A40, 45.0 GiB)');
		assert.equal(maskProblem([3], both), null, 'where no tool lists any, an engine may still see some');
	});

	it('says how much memory is free for who may see what', async () => {
		const { devices } = await machine({ 'nvidia-smi': () => printed.nvidiaTwoA40 }).probe.look();
		assert.equal(freeBytesOf(devices, [1]), 15_207 * mib);
		assert.equal(freeBytesOf(devices, null), (45_416 + 15_207) * mib);
		assert.equal(freeBytesOf(devices, []), null);
		const [laptop] = (await machine({ 'nvidia-smi': () => printed.nvidiaBrackets }).probe.look()).devices;
		assert.equal(freeBytesOf(laptop === undefined ? [] : [laptop], null), null);
	});

	it('counts the devices of each vendor, whose names differ then', async () => {
		const { devices } = await machine({
			'nvidia-smi': () => printed.nvidiaTwoA40,
			'rocm-smi': () => printed.rocmTwoCards,
		}).probe.look();
		assert.deepEqual(
			devices.map((device) => deviceLabel(device, devices)),
			['nvidia:0', 'nvidia:1', 'amd:0', 'amd:1'],
		);
	});
});
