/** What a person is told of devices: by `devices`, before a daemon starts, behind its start, and by `accelerate`. The machine is played. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type AccelerateOptions, accelerate } from '../../src/cli/accelerate.ts';
import { runCli } from '../../src/cli/cli.ts';
import { unusedDevices } from '../../src/cli/devices-command.ts';
import { type DevicesFound, noDevices } from '../../src/engines/devices.ts';
import { readNvidiaQuery, withMigDevices } from '../../src/engines/devices-nvidia.ts';
import { nvidiaMigList, nvidiaMigQuery, nvidiaTwoA40 } from '../fixtures/device-tools.ts';
import { fakeTerminal } from './fake-daemon.ts';

const folder = mkdtempSync(join(tmpdir(), 'orchestratord-devices-'));
after(() => rmSync(folder, { recursive: true }));

const twoGpus: DevicesFound = { devices: readNvidiaQuery(nvidiaTwoA40, true).devices, problems: [] };

async function cli(found: DevicesFound, ...argv: string[]) {
	const terminal = fakeTerminal();
	const supervised: (readonly string[])[] = [];
	const code = await runCli(
		argv,
		{
			serve: async (config, _reread, onReady) => {
				const pools = config.pools.map((pool) => ({
					...pool,
					engineVersion: null,
					ctx: null,
					device: 'CPU (1 thread)',
					onDemand: false,
					trouble: null,
					mayUseGpu: pool.devices?.length !== 0,
				}));
				const threads = { front: 1, control: 1, engine: 1 };
				onReady({ version: '1', url: 'http://127.0.0.1:8080', httpHost: 'uws', threads, configFile: null, pools, hint: null });
				await new Promise((resolve) => setImmediate(resolve));
				return 0;
			},
			supervise: async (words) => {
				supervised.push(words);
				return 0;
			},
			devices: { look: async () => found },
			cpu: { cores: 2, memoryBytes: 8 * 2 ** 30 },
			npm: async () => null,
			store: async () => ({ folder: '/store', parts: [] }),
		},
		terminal,
	);
	return { code, out: terminal.stdout.join(''), said: terminal.stderr.join('\n'), supervised };
}

function configured(pool: string): string {
	const path = join(folder, 'config.yaml');
	writeFileSync(path, `pools:\n  - ${pool}\n`);
	return path;
}

test('devices lists what is there, with the MIG devices of a GPU, or says that there is none', async () => {
	const { out, code } = await cli(
		{ ...twoGpus, devices: withMigDevices(readNvidiaQuery(nvidiaMigQuery, true).devices, nvidiaMigList) },
		'devices',
	);
	assert.equal(code, 0);
	assert.match(out, /^DEVICE +NAME +MEMORY +FREE +BUSY +BUS\n0 +NVIDIA A100-SXM4-40GB +40\.0 GiB +26\.0 GiB +- +00000000:07:00\.0\n/);
	assert.match(out, /\n +MIG 1: 1g\.5gb +4\.7 GiB +- +- +MIG-fe9bc608-60f5-5479-8cc4-1827021d27a9\n/);
	const none = await cli({ devices: [], problems: ['nvidia-smi says: it has failed'] }, 'devices');
	assert.deepEqual([none.code, none.said], [0, 'nvidia-smi says: it has failed']);
	assert.equal(none.out, 'No GPU was found. Engines of llamacpp run on the CPU: 2 cores, 8.0 GiB.\n');
	const rows = (await cli(twoGpus, 'devices', '--json')).out.trim().split('\n');
	assert.deepEqual(
		rows.map((row) => (JSON.parse(row) as { index: number; free_bytes: number }).free_bytes),
		[45_416 * 2 ** 20, 15_207 * 2 ** 20],
	);
});

test('a pool with devices that are not there is refused before anything starts, and told what is', async () => {
	const path = configured('{ id: big, devices: [1, 7] }');
	for (const argv of [['serve'], ['config', 'check']]) {
		const { code, said, supervised } = await cli(twoGpus, ...argv, '--config', path);
		assert.deepEqual([code, supervised], [78, []]);
		assert.match(said, /error: devices of pool big names 7; the devices here are 0 \(NVIDIA A40, 45\.0 GiB\), 1 \(NVIDIA A40, 45\.0 GiB\)/);
	}
	assert.equal((await cli(twoGpus, 'serve', '--config', configured('{ id: big, devices: [1, 0] }'))).code, 0);
	const elsewhere = '{ id: far, engine: openai, provider: external, url: "http://10.0.0.7:8000", devices: [7] }';
	assert.equal((await cli(twoGpus, 'serve', '--config', configured(elsewhere))).code, 0, 'the devices of another machine');
});

test('where no tool lists a GPU, a pool that wants one is started with a warning', async () => {
	const { code, said } = await cli(noDevices, 'serve', '--no-supervise', '--config', configured('{ id: big, devices: [0] }'));
	assert.equal(code, 0);
	assert.match(said, /^warning: no tool here lists any GPU, but big wants 0: an engine that sees none will not start, or will use the CPU/);
	assert.equal((await cli(noDevices, 'serve', '--no-supervise')).said, '', 'who wants none hears nothing');
});

test('serve says so when a GPU is there and llama.cpp runs on the CPU, and how to change that', async () => {
	const { out } = await cli(twoGpus, 'serve', '--no-supervise');
	assert.match(
		out,
		/note +GPU 0 \(NVIDIA A40, 45\.0 GiB\), 1 \(.*\) is not used by default: .* npx orchestratord accelerate installs the other/,
	);
	assert.doesNotMatch((await cli(twoGpus, 'serve', '--no-supervise', '--config', configured('{ id: small, devices: [] }'))).out, /note/);
	assert.doesNotMatch((await cli(noDevices, 'serve', '--no-supervise')).out, /note/);
	assert.equal(unusedDevices(twoGpus.devices, [{ id: 'a', device: 'GPU NVIDIA A40 (cuda)', mayUseGpu: true }]), null);
});

test('accelerate puts the build for the GPU that is here, of the version that is here, in its place, and nothing else', async () => {
	const modules = join(folder, 'node_modules');
	mkdirSync(join(modules, 'node-llama-cpp'), { recursive: true });
	writeFileSync(join(modules, 'node-llama-cpp', 'package.json'), '{ "version": "3.22.1" }');
	mkdirSync(join(modules, '@node-llama-cpp', 'linux-x64-cuda'), { recursive: true });
	writeFileSync(join(modules, '@node-llama-cpp', 'linux-x64-cuda', 'index.js'), '// empty');
	const asked: (readonly string[])[] = [];
	let code: number | null = 0;
	const options: AccelerateOptions = {
		wanted: null,
		devices: twoGpus.devices,
		platform: 'linux-x64',
		root: folder,
		async npm(args) {
			asked.push(args);
			const prefix = args[args.indexOf('--prefix') + 1] ?? '';
			for (const each of args.filter((word) => word.startsWith('@node-llama-cpp/'))) {
				const path = join(prefix, 'node_modules', each.replace(/@[\d.]+$/, ''));
				mkdirSync(path, { recursive: true });
				writeFileSync(join(path, 'index.js'), `// ${each}`);
			}
			return code;
		},
	};
	const terminal = fakeTerminal();
	assert.equal(await accelerate(options, terminal), 0);
	assert.deepEqual(
		asked[0]?.filter((word) => word.startsWith('@')),
		['@node-llama-cpp/linux-x64-cuda@3.22.1', '@node-llama-cpp/linux-x64-cuda-ext@3.22.1'],
	);
	assert.equal(
		readFileSync(join(modules, '@node-llama-cpp', 'linux-x64-cuda', 'index.js'), 'utf8'),
		'// @node-llama-cpp/linux-x64-cuda@3.22.1',
	);
	assert.deepEqual(readdirSync(modules).sort(), ['@node-llama-cpp', 'node-llama-cpp'], 'nothing is left over');
	assert.match(terminal.stdout.join(''), /The cuda build of llama\.cpp 3\.22\.1 is installed/);

	code = 1;
	await assert.rejects(accelerate({ ...options, wanted: 'vulkan' }, terminal), /npm ended with exit code 1/);
	assert.deepEqual([existsSync(join(modules, '@node-llama-cpp', 'linux-x64-vulkan')), readdirSync(modules).length], [false, 2]);
	await assert.rejects(accelerate({ ...options, devices: [] }, terminal), /no GPU was found/);
	await assert.rejects(accelerate({ ...options, platform: 'linux-arm64' }, terminal), /no build of llama\.cpp for GPUs on linux-arm64/);
	assert.equal(await accelerate({ ...options, platform: 'darwin-arm64' }, terminal), 0);
});
