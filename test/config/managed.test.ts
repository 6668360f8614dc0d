/** Managed engines in the configuration: what is taken, what comes out, and how the rest is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadConfig } from '../../src/config.ts';
import { ConfigError } from '../../src/config-check.ts';
import { resolveManaged } from '../../src/config-managed.ts';
import type { PoolFile } from '../../src/config-schema.ts';

function load(pool: string, env: Readonly<Record<string, string>> = {}, flags: readonly string[] = []) {
	const world = { env: { ORCHD_CONFIG: '/c.yaml', ...env }, cwd: '/work', cores: 4, readFile: () => `pools: [${pool}]` };
	return loadConfig(flags, world);
}

function managed(pool: string, env?: Readonly<Record<string, string>>, flags?: readonly string[]) {
	const [found] = load(`{ id: m, engine: openai, provider: managed, ${pool} }`, env, flags).pools;
	assert.ok(found !== undefined && found.managed !== null && found.provider === 'managed');
	return { ...found.managed, name: found.model };
}

function refusal(pool: string): string {
	try {
		load(pool);
	} catch (error) {
		assert.ok(error instanceof ConfigError);
		return error.problems.join('\n');
	}
	return 'nothing was refused';
}

test('a command is a line or its words; with {model} in it the engine is asked for the one model it has, else for that of the pool', () => {
	const line = managed(`model: "file:/models/a b.gguf", command: "'my server' -m {model} --port {port}", env: { N: 3, ON: true }`);
	assert.deepEqual(line.command, ['my server', '-m', '{model}', '--port', '{port}']);
	assert.deepEqual([line.name, line.modelWord, line.model], ['file:/models/a b.gguf', '/models/a b.gguf', null]);
	assert.deepEqual(line.env, { N: '3', ON: 'true' });
	const words = managed('model: big, command: [run, "--port={port}", "a | b"], key_env: K', { K: 'secret' });
	assert.deepEqual([words.command, words.model, words.key], [['run', '--port={port}', 'a | b'], 'big', 'secret']);
	assert.equal(managed('model: "hf:org/name", command: "x {model} {port}"').modelWord, 'org/name');
});

test('a preset is a command, with what the pool says and what it adds', () => {
	const { command } = managed('preset: llama-server, model: "file:/m.gguf", ctx: 512, slots: 3, args: "-ngl 99"');
	assert.deepEqual(
		command.join(' '),
		'llama-server --host {host} --port {port} --model {model} --parallel {slots} --ctx-size {total_ctx} --metrics --slots -ngl 99',
	);
	assert.match(
		managed('preset: vllm, model: "org/name", devices: [0, 1]').command.join(' '),
		/serve \{model\} .*--tensor-parallel-size \{device_count\}$/,
	);
});

test('by flag and by environment too', () => {
	const flags = ['--pools.m.command', 'other {port}', '--pools.m.env', '{ A: "1" }'];
	const { command, env } = managed('preset: vllm, command: "x {port}"'.replace('preset: vllm, ', ''), {}, flags);
	assert.deepEqual([command, env], [['other', '{port}'], { A: '1' }]);
});

const pool = (more: string) => `{ id: m, engine: openai, provider: managed, ${more} }`;
const refusals: readonly (readonly [name: string, pool: string, said: RegExp])[] = [
	[
		'neither command nor preset',
		pool('model: x'),
		/pools\[0\]\.command is missing; provider: managed needs it, such as .* or a preset: llama-server, /,
	],
	['both', pool('model: x, preset: vllm, command: "a"'), /has command and preset; one of them/],
	['an unknown macro', pool('command: "a {prot}"'), /pools\[0\]\.command has \{prot\}, which is no macro; there are \{host\}/],
	[
		'an unknown macro of the environment',
		pool('command: "a {port}", env: { X: "{y}" }'),
		/pools\[0\]\.env\.X has \{y\}, which is no macro/,
	],
	['a macro without a value', pool('command: "a {port} {ctx}"'), /command has \{ctx\}, but the pool does not say its ctx/],
	['a shell', pool('command: "a {port} > log"'), /command has >, but there is no shell/],
	[
		'a preset without a model',
		pool('preset: tgi'),
		/pools\[0\]\.model is missing; preset: tgi needs the model of the Hugging Face hub, or a folder$/,
	],
	[
		'a preset of another engine',
		pool('preset: triton, model: x'),
		/preset is triton, for engine: triton, but pools\[0\]\.engine is openai/,
	],
	['a url', pool('command: "a {port}", url: "http://h:1"'), /url is set, but a managed engine is told where to listen/],
	[
		'a command of an engine that is ours',
		'{ id: m, command: "a" }',
		/command is set, but pools\[0\]\.provider is embedded; it belongs to provider: managed/,
	],
	[
		'an engine that is only ours',
		'{ id: m, engine: scripted, provider: managed, command: "a {port}" }',
		/engine is scripted; with provider: managed it is one of/,
	],
	['a name that no environment has', pool('command: "a {port}", env: { "A B": 1 }'), /env/],
];

for (const [name, file, said] of refusals) {
	test(`refused in words: ${name}`, () => assert.match(refusal(file), said));
}

test('each preset goes with the engine whose API it speaks', () => {
	const engines = { 'llama-server': 'llamacpp', vllm: 'vllm', tgi: 'tgi', triton: 'triton' } as const;
	for (const [preset, engine] of Object.entries(engines) as ['vllm', 'vllm'][]) {
		const problems: string[] = [];
		const file = { id: 'm', engine, preset, model: 'x', connect_ms: 1, ready_ms: 1, stop_ms: 1 } as PoolFile;
		resolveManaged(file, 'p', [engine], null, {}, problems);
		assert.deepEqual(problems, []);
	}
});

test('an engine that is told where it may cache has a folder for that; a preset says so of itself, unless the pool or the environment does', () => {
	assert.equal(managed('command: "x {port}"').keepsCache, false);
	assert.equal(managed('command: "x {port} --cache {cache_dir}"').keepsCache, true);
	assert.equal(managed('command: "x {port}", env: { C: "{cache_dir}/c" }').keepsCache, true);
	assert.equal(managed('command: "x {port} {{cache_dir}}"').keepsCache, false);
	const vllm = 'preset: vllm, model: "org/name"';
	assert.deepEqual(managed(vllm).env, { VLLM_CACHE_ROOT: '{cache_dir}/vllm', TRITON_CACHE_DIR: '{cache_dir}/triton' });
	const own = managed(`${vllm.replace('"org/name"', 'm')}, env: { VLLM_CACHE_ROOT: /c }`, { TRITON_CACHE_DIR: '/t' });
	assert.deepEqual([own.env, own.keepsCache], [{ VLLM_CACHE_ROOT: '/c' }, false]);
});

test('folders for caches are where the user keeps such things, or where told', () => {
	const dirOf = (env: Readonly<Record<string, string>>, flags: readonly string[] = []) => load('{ id: m }', env, flags).store.cacheDir;
	assert.equal(dirOf({ XDG_CACHE_HOME: '/cache', HOME: '/h' }), '/cache/orchestratord/engines');
	assert.equal(dirOf({ HOME: '/h' }), '/h/.cache/orchestratord/engines');
	assert.equal(dirOf({}), '/var/cache/orchestratord/engines');
	assert.equal(dirOf({}, ['--store.cache-dir', 'caches']), '/work/caches');
});

test('files of what engines write are kept where the user keeps such things, where told, or nowhere', () => {
	const dirOf = (env: Readonly<Record<string, string>>, flags: readonly string[] = []) => load('{ id: m }', env, flags).log.dir;
	assert.equal(dirOf({ XDG_STATE_HOME: '/state', HOME: '/h' }), '/state/orchestratord/log');
	assert.equal(dirOf({ HOME: '/h' }), '/h/.local/state/orchestratord/log');
	assert.equal(dirOf({}), null);
	assert.equal(dirOf({ HOME: '/h' }, ['--log.dir', 'off']), null);
	assert.equal(dirOf({}, ['--log.dir', 'logs']), '/work/logs');
});
