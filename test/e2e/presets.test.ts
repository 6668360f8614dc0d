/**
 * A daemon whose pools start engines by their presets, with a stand-in under the name of each program in the path: it takes no flag that its
 * engine does not document, and is then spoken to as that engine.
 */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { nvidiaTwoA40 } from '../fixtures/device-tools.ts';
import { submit, Watch } from './client.ts';
import { type Daemon, ended, startDaemon } from './daemon.ts';

const standIn = fileURLToPath(
	new URL(`../engines/fakes/preset-stand-in${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url),
);
const both = { devices: [0, 1] };
/** Each as one writes it who has such an engine, and the flags that say it; `*`: any value. */
const presets: readonly (readonly [program: string, pool: Readonly<Record<string, unknown>>, flags: Readonly<Record<string, string>>])[] = [
	[
		'llama-server',
		{ engine: 'llamacpp', preset: 'llama-server', model: 'file:/models/mine.gguf', slots: 3, ctx: 1_024 },
		{ '--model': '/models/mine.gguf', '--parallel': '3', '--ctx-size': '3072', '--metrics': '', '--slots': '' },
	],
	[
		'vllm',
		{ engine: 'vllm', preset: 'vllm', model: 'org/fake-7b', slots: 5, ctx: 4_096, args: '--dtype bfloat16', ...both },
		{ '--max-num-seqs': '5', '--max-model-len': '4096', '--tensor-parallel-size': '2', '--dtype': 'bfloat16' },
	],
	[
		'vllm',
		{
			engine: 'vllm',
			preset: 'vllm',
			model: 'org/fake-7b',
			slots: 4,
			ctx: 512,
			vllm: { priority_scheduling: true },
			args: '--scheduling-policy priority',
		},
		{ '--max-num-seqs': '4', '--max-model-len': '512', '--scheduling-policy': 'priority' },
	],
	[
		'text-generation-launcher',
		{ engine: 'tgi', preset: 'tgi', model: 'org/fake-7b-instruct', slots: 6, ctx: 2_048, args: '--prometheus-port {port_3}', ...both },
		{
			'--model-id': 'org/fake-7b-instruct',
			'--max-concurrent-requests': '6',
			'--max-total-tokens': '2048',
			'--num-shard': '2',
			'--shard-uds-path': '*',
			'--master-port': '*',
			'--prometheus-port': '*',
		},
	],
	[
		'tritonserver',
		{ engine: 'triton', preset: 'triton', model: 'vllm_model', slots: 2, ctx: 2_048, args: '--model-repository /models' },
		{ '--allow-grpc': 'false', '--metrics-port': '*', '--model-repository': '/models' },
	],
];

interface Started {
	readonly pid: number;
	readonly flags: Readonly<Record<string, string>>;
	readonly devices: string;
}

describe('a daemon that starts engines by their presets', () => {
	const dir = mkdtempSync(join(tmpdir(), 'orchd-presets-'));
	let daemon: Daemon;
	const started: number[] = [];
	const strayed = join(dir, 'strayed');
	const pools = presets.map(([, pool], at) => ({ id: `p${at}`, provider: 'managed', stop_ms: 2_000, ...pool }));

	before(async () => {
		const bin = join(dir, 'bin');
		mkdirSync(bin);
		for (const program of new Set(presets.map(([name]) => name))) {
			writeFileSync(join(bin, program), `#!/bin/sh\nexec '${process.execPath}' '${standIn}' ${program} "$@"\n`);
			chmodSync(join(bin, program), 0o755);
		}
		writeFileSync(join(bin, 'nvidia-smi'), `#!/bin/sh\ncat <<'END'\n${nvidiaTwoA40}END\n`, { mode: 0o755 });
		mkdirSync(strayed);
		const env = { STRAYED: strayed, PATH: `${bin}:${process.env['PATH'] ?? ''}`, XDG_RUNTIME_DIR: dir };
		daemon = await startDaemon({ config: { pools, log: { dir: 'off' } }, env });
	});
	after(async () => {
		assert.equal(await daemon.stop(), 0);
		await Promise.all(started.map((pid) => ended(pid)));
		const asked = readdirSync(strayed).map((file) => readFileSync(join(strayed, file), 'utf8'));
		assert.deepEqual(asked, [], 'asked as the engines specify');
		rmSync(dir, { recursive: true });
	});

	const linesOf = async (pool: string, pattern: RegExp): Promise<RegExpExecArray> => {
		for (;;) {
			const { lines } = (await (await fetch(`${daemon.url}/v2/pools/${pool}/logs?tail=1000`)).json()) as { lines: { text: string }[] };
			const found = lines.map(({ text }) => pattern.exec(text)).find((match) => match !== null);
			if (found !== undefined) return found;
			await new Promise((resolve) => setTimeout(resolve, 20));
		}
	};
	const startOf = async (pool: string): Promise<Started> => {
		const [, pid, flags = '', devices = ''] = await linesOf(pool, /^listens (\d+) (\{.*\}) devices (.*)$/);
		started.push(Number(pid));
		return { pid: Number(pid), flags: JSON.parse(flags) as Record<string, string>, devices };
	};

	for (const [at, [program, pool, flags]] of presets.entries()) {
		it(`has ${program} told what the pool says by flags that it documents, and serves from it (${at})`, async () => {
			const id = `p${at}`;
			const { task_id: task } = await submit(daemon.url, {
				model_ref: String(pool['model']),
				placement: { pin_pool_id: id },
				prompt: 'Once',
				raw: true,
				max_tokens: 5,
			});
			const end = (await (await Watch.open(daemon.url, task)).all()).at(-1);
			assert.deepEqual([end?.name, end?.data['tokens_out']], ['end', 5], JSON.stringify(end));
			const { flags: given, devices } = await startOf(id);
			const own = Object.entries(given).filter(([flag]) => !/^--(host|hostname|port|http-address|http-port)$/.test(flag));
			assert.deepEqual(Object.fromEntries(own.map(([flag, value]) => [flag, flags[flag] === '*' && value !== '' ? '*' : value])), flags);
			assert.equal(devices, pool['devices'] === undefined ? 'all' : '0,1');
			const state = (await (await fetch(`${daemon.url}/v2/pools/${id}`)).json()) as { slots_total?: number; ctx?: number };
			assert.deepEqual([state.slots_total, state.ctx], [pool['slots'], pool['ctx']]);
		});
	}

	it('says what a program said that takes no such flag', async () => {
		const pool = { id: 'wrong', provider: 'managed', engine: 'vllm', preset: 'vllm', model: 'org/fake-7b', args: '--no-such-flag 1' };
		const wrong = await startDaemon({
			config: { pools: [pool], log: { dir: 'off' } },
			env: { PATH: `${join(dir, 'bin')}:${process.env['PATH'] ?? ''}`, XDG_RUNTIME_DIR: dir },
			ready: /the engine process ended with exit code 2; its last words: error: unexpected argument '--no-such-flag' found/,
		});
		assert.equal(await wrong.stop(), 0);
	});
});
