/** Engines that use devices: what is looked at before they start and while they run, and what their pools and the metrics hear of it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Labels, Telemetry } from '../../src/actors/kernel/telemetry.ts';
import { silentTelemetry } from '../../src/actors/kernel/telemetry.ts';
import type { EngineLife, LifeNews } from '../../src/actors/serving/engine-life.ts';
import type { ReplicaFacts, ReplicaSpec } from '../../src/actors/serving/messages.ts';
import { type DevicesFound, noDevices } from '../../src/engines/devices.ts';
import { DevicesDriver } from '../../src/engines/devices-driver.ts';
import { readNvidiaQuery } from '../../src/engines/devices-nvidia.ts';
import { DeviceWatch } from '../../src/engines/devices-watch.ts';
import { nvidiaTwoA40 } from '../fixtures/device-tools.ts';

const mib = 2 ** 20;
const twoGpus: DevicesFound = { devices: readNvidiaQuery(nvidiaTwoA40, true).devices, problems: [] };
const spec: ReplicaSpec = { replicaId: 'big-0', poolId: 'big', engine: 'llamacpp', model: 'm', settings: { devices: [1] } };
const facts: ReplicaFacts = {
	replicaId: 'big-0',
	poolId: 'big',
	engine: 'llamacpp',
	engineVersion: 'v1',
	modelDigest: null,
	modelName: 'm',
	address: '',
	slots: 1,
	ctx: 128,
	workloads: ['completion'],
	samplerProfileVersion: '1',
	chatTemplate: null,
	device: 'GPU NVIDIA A40 (cuda)',
	features: [],
};

/** Tools that find what `looks` has, one after the other, the last for ever; and what an engine on them leads to. */
function world(looks: readonly DevicesFound[], mask: readonly number[] | null) {
	const gauges: [string, Labels, number][] = [];
	const news: LifeNews[] = [];
	const problems: string[] = [];
	const starts: ((news: LifeNews) => void)[] = [];
	let looked = 0;
	let heard: () => void = () => {};
	const telemetry: Telemetry = { ...silentTelemetry, gauge: (metric, labels, value) => gauges.push([metric, labels, value]) };
	const watch = new DeviceWatch({
		probe: {
			look() {
				looked += 1;
				heard();
				return Promise.resolve(looks[Math.min(looked, looks.length) - 1] ?? noDevices);
			},
		},
		everyMs: 1,
		onProblem: (words) => problems.push(words),
	});
	const driver = new DevicesDriver({
		watch,
		telemetry,
		bounds: { ramBytesMax: null, vramBytesMax: null },
		maskOf: () => mask,
		driver: {
			start(_spec, replica): EngineLife {
				starts.push((each) => replica.tell(each));
				return {
					audit() {},
					stop: () => replica.tell({ type: 'life-ended', failure: { code: 'WORKER_RESET', message: '', retriable: true } }),
				};
			},
		},
	});
	const life = driver.start(spec, {
		tell(each) {
			news.push(each);
			return 'accepted';
		},
	});
	return {
		life,
		news,
		gauges,
		problems,
		starts,
		looks: () => looked,
		/** Resolves when it has been looked so often. */
		lookedTimes: (times: number): Promise<void> =>
			new Promise((resolve) => {
				// The watch keeps no process alive.
				const alive = setInterval(() => {}, 10_000);
				heard = () => {
					if (looked < times) return;
					clearInterval(alive);
					setImmediate(resolve);
				};
				heard();
			}),
		async begun() {
			await watch.first();
			await Promise.resolve();
			const [tell] = starts;
			assert.ok(tell, 'the engine was started');
			return tell;
		},
	};
}

describe('an engine on devices', () => {
	it('is measured as long as it runs: what its own devices do, and to its pool what is free there, when that has changed', async () => {
		const later = (free: number): DevicesFound => ({
			devices: twoGpus.devices.map((device) => ({
				...device,
				freeBytes: free * mib,
				usedBytes: 46_068 * mib - free * mib,
				utilization: 0.5,
			})),
			problems: [],
		});
		const at = world([twoGpus, later(15_200), later(15_190), later(1_000)], [1]);
		const tell = await at.begun();
		assert.deepEqual(at.gauges, [], 'not before it is ready');
		tell({ type: 'life-ready', facts });
		const labels = { engine: 'llamacpp', engine_version: 'v1', pool_id: 'big', replica_id: 'big-0', device: '1' };
		assert.deepEqual(at.gauges, [
			['gpu_utilization', labels, 0.87],
			['vram_used_bytes', labels, 30_210 * mib],
		]);
		await at.lookedTimes(5);
		assert.deepEqual(
			at.news.map((each) => (each.type === 'life-memory' ? each.vramFreeBytes : each.type)),
			['life-ready', 15_207 * mib, 1_000 * mib],
		);
		assert.deepEqual(at.gauges.at(-1), ['vram_used_bytes', labels, 45_068 * mib]);
		at.life.stop();
		assert.deepEqual(at.gauges.slice(-2), [
			['gpu_utilization', labels, 0],
			['vram_used_bytes', labels, 0],
		]);
		const looks = at.looks();
		await new Promise((resolve) => setImmediate(resolve));
		assert.equal(at.looks() - looks <= 1, true, 'nobody looks for one that has ended');
	});

	it('is not started with a mask that names devices which are not there', async () => {
		const at = world([twoGpus], [1, 4]);
		await at.lookedTimes(1);
		assert.equal(at.starts.length, 0);
		const [ended] = at.news;
		assert.ok(ended?.type === 'life-ended');
		assert.equal(ended.failure.message, 'devices of big names 4; the devices here are 0 (NVIDIA A40, 45.0 GiB), 1 (NVIDIA A40, 45.0 GiB)');
		assert.deepEqual([ended.failure.code, ended.failure.retriable], ['POOL_UNAVAILABLE', false]);
	});

	it('where there is no GPU is started as ever, and looked at once: nothing is recorded', async () => {
		const at = world([noDevices], [0]);
		(await at.begun())({ type: 'life-ready', facts: { ...facts, device: 'CPU (1 thread)' } });
		assert.deepEqual(at.news, [{ type: 'life-ready', facts: { ...facts, device: 'CPU (1 thread)' } }]);
		assert.deepEqual([at.gauges, at.looks()], [[], 1]);
	});

	it('on the CPU of a machine with GPUs records nothing of these', async () => {
		const at = world([twoGpus], null);
		(await at.begun())({ type: 'life-ready', facts: { ...facts, device: 'CPU (2 threads)' } });
		assert.deepEqual([at.gauges, at.news.length, at.looks()], [[], 1, 1]);
	});

	it('is not started when it was stopped before the devices were known', async () => {
		const at = world([twoGpus], null);
		at.life.stop();
		await at.lookedTimes(1);
		assert.deepEqual([at.starts.length, at.news.map(({ type }) => type)], [0, ['life-ended']]);
	});

	it('goes on while a tool fails, which is told once', async () => {
		const broken: DevicesFound = { devices: [], problems: ['nvidia-smi says: GPU is lost'] };
		const at = world([twoGpus, broken, broken, twoGpus], [1]);
		(await at.begun())({ type: 'life-ready', facts });
		await at.lookedTimes(5);
		assert.deepEqual(at.problems, ['nvidia-smi says: GPU is lost']);
		assert.deepEqual(
			at.news.map((each) => (each.type === 'life-memory' ? each.vramFreeBytes : each.type)),
			['life-ready', 15_207 * mib, null, 15_207 * mib],
		);
		at.life.stop();
	});
});
