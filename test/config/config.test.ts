/**
 * The configuration as its users meet it: what comes out without a file, which source wins, and what a slip is answered.
 * No files are read but the repository's own: the world is given in.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { type DaemonConfig, defaultDaemonUrl, publishedSchema, type World } from '../../src/config.ts';
import { ConfigError } from '../../src/config-check.ts';
import { describeKeys, envName, parseFlags } from '../../src/config-overrides.ts';
import { builtinModel } from '../../src/config-pool.ts';
import { globalKeys, parseBytes, poolKeys } from '../../src/config-schema.ts';
import { load, refusal } from './loading.ts';

const listening = { host: 'auto', hosts: [], corsOrigins: [], http2: false };

/** What stands at `sse.heartbeat_ms` and the like in the loaded configuration. */
function at(config: DaemonConfig, path: string): unknown {
	const camel = path.split('.').map((name) => name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()));
	return camel.reduce<unknown>(
		(value, name) => (typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined),
		config,
	);
}

test('without a file there is one pool with the built-in model, called default', () => {
	const config = load([]);
	assert.deepEqual(config.listen, { hostname: '127.0.0.1', port: 8080, ...listening });
	assert.equal(config.pools.length, 1);
	const [pool] = config.pools;
	assert.ok(pool?.modelPath);
	assert.ok(existsSync(pool.modelPath), pool.modelPath);
	assert.deepEqual(
		[pool.id, pool.engine, pool.model, pool.aliases, pool.replicas, pool.slots, pool.ctx, pool.maxTokensOut, pool.cpuThreads],
		['default', 'llamacpp', builtinModel, ['default'], 1, 4, null, 1024, 1],
	);
	assert.equal(pool.queue.bytesMax, 256 * 1024 * 1024);
});

test('the result is plain data that crosses to a worker unchanged', () => {
	const config = load([], 'pools: [{ id: a, engine: scripted, scripted: { faults: [{ kind: stall, after_tokens: 3 }] } }, { id: b }]');
	assert.deepEqual(structuredClone(config), config);
});

test('--model serves a file relative to the working directory under the alias default', () => {
	const [pool] = load(['--model', 'models/x.gguf']).pools;
	assert.deepEqual(
		[pool?.id, pool?.modelPath, pool?.model, pool?.aliases],
		['default', '/srv/fox/models/x.gguf', 'file:/srv/fox/models/x.gguf', ['default']],
	);
	assert.equal(load(['--model=/m/y.gguf']).pools[0]?.modelPath, '/m/y.gguf');
	assert.equal(load(['--model', 'file:/m/z.gguf']).pools[0]?.modelPath, '/m/z.gguf');
	assert.equal(load(['--model', 'scripted:demo']).pools[0]?.engine, 'scripted');
});

test('a flag wins over the environment, the environment over the file, the file over the default', () => {
	const numeric = globalKeys.filter(({ schema }) => schema['type'] === 'integer');
	assert.ok(numeric.length >= 8);
	for (const { path, schema } of numeric) {
		const base = Number(schema['minimum'] ?? 0);
		const [group = '', name = ''] = path.split('.');
		const file = `${group}: { ${name}: ${base + 1} }`;
		const env = { [envName(path)]: String(base + 2) };
		const flag = [`--${path}`, String(base + 3)];
		assert.equal(at(load([]), path), schema['default'], path);
		assert.equal(at(load([], file), path), base + 1, path);
		assert.equal(at(load([], file, env), path), base + 2, path);
		assert.equal(at(load(flag, file, env), path), base + 3, path);
	}
});

test('every key of a pool can be set by its flag and by its environment name', () => {
	for (const { path, schema } of poolKeys) {
		const sample = schema['type'] === 'integer' || schema['type'] === 'number' ? String(Number(schema['minimum'] ?? 1) + 1) : null;
		if (sample === null) continue;
		const engine = path.startsWith('scripted') ? 'scripted' : 'llamacpp';
		const external = 'pools: [{ id: my-pool.1, engine: openai, provider: external, url: "http://127.0.0.1:1" }]';
		const managed = 'pools: [{ id: my-pool.1, engine: openai, provider: managed, command: "x {port}" }]';
		const residency = ['idle_ms', 'min_resident_ms'].includes(path) ? 'on_demand' : 'always';
		const ours = `pools: [{ id: my-pool.1, engine: ${engine}, residency: ${residency} }]`;
		const file = path === 'connect_ms' ? external : ['ready_ms', 'stop_ms'].includes(path) ? managed : ours;
		const byFlag = load([`--pools.my-pool.1.${path.replaceAll('_', '-')}`, sample], file);
		const byEnv = load([], file, { [`ORCHD_POOLS_MY_POOL_1_${path.toUpperCase().replaceAll('.', '_')}`]: sample });
		assert.deepEqual(byFlag, byEnv, path);
		assert.notDeepEqual(byFlag, load([], file), path);
	}
});

test('the environment names that are kept from before still work', () => {
	const config = load([], '', {
		ORCHD_ADDR: '127.0.0.1:9000',
		ORCHD_ADMISSION_CAPACITY: '7',
		ORCHD_ADMISSION_POLICY: 'reject',
		ORCHD_SSE_MICROBATCH: '20',
		ORCHD_SSE_HEARTBEAT_MS: '0',
		CANCEL_ON_DISCONNECT: '1',
		ORCHD_PREFER_H2: '0',
	});
	assert.equal(config.listen.port, 9000);
	assert.equal(config.pools[0]?.queue.capacity, 7);
	assert.deepEqual(config.sse, { heartbeatMs: 0, stallMs: 30_000, microbatchMs: 20 });
	assert.equal(config.tasks.onDisconnect, 'cancel');
	const preferred = load([], undefined, { ORCHD_PREFER_H2: '1' }).listen;
	assert.deepEqual([preferred.http2, preferred.host], [true, 'node']);
	assert.match(refusal(['--listen.host', 'uws'], '', { ORCHD_PREFER_H2: '1' }), /listen\.http2 is true, but listen\.host is uws/);
	assert.match(refusal([], 'listen: { http2: maybe }'), /^listen\.http2 is "maybe"; it must be true or false/);
	assert.match(refusal([], '', { CANCEL_ON_DISCONNECT: 'maybe' }), /CANCEL_ON_DISCONNECT is "maybe"; it must be 1 or 0/);
});

test('an empty variable counts as unset, and what a container platform injects is ignored', () => {
	const env = { ORCHD_ADDR: '', ORCHD_SERVICE_HOST: '10.0.0.1', ORCHD_PORT: 'tcp://10.0.0.1:80', ORCHD_PORT_80_TCP: 'x' };
	assert.deepEqual(load([], '', env).listen, load([]).listen);
});

const refusals: readonly (readonly [name: string, flags: readonly string[], file: string, env: World['env'], said: RegExp])[] = [
	['an unknown key', [], 'sse: { hearbeat_ms: 1 }', {}, /^unknown key sse\.hearbeat_ms; did you mean sse\.heartbeat_ms\?$/],
	[
		'an unknown key of a pool',
		[],
		'pools: [{ id: a }, { id: b, modle: x }]',
		{},
		/^unknown key pools\[1\]\.modle; did you mean pools\[1\]\.model\?$/,
	],
	['an unknown section', [], 'listn: {}', {}, /^unknown key listn; did you mean listen\?$/],
	['a key like no other', [], 'zebra: 1', {}, /^unknown key zebra; known here: listen, tls, auth, threads, pools/],
	['a wrong type', [], 'sse: { stall_ms: soon }', {}, /^sse\.stall_ms is "soon"; it must be a whole number from 1 to 2147483647$/],
	['a fraction', [], 'pools: [{ id: a, slots: 1.5 }]', {}, /^pools\[0\]\.slots is 1\.5; it must be a whole number from 1 to 4096$/],
	['a number out of range', ['--slots', '0'], '', {}, /^pools\[0\]\.slots is 0; .* from 1 to 4096 \(from --slots\)$/],
	[
		'a word that is none of the allowed',
		[],
		'log: { level: loud }',
		{},
		/^log\.level is "loud"; it must be one of debug, info, warn, error$/,
	],
	[
		'a size with an unknown unit',
		[],
		'limits: { body_bytes: 4MX }',
		{},
		/^limits\.body_bytes is "4MX"; it must be bytes .* such as 512KiB/,
	],
	['a negative size', [], 'limits: { body_bytes: -1 }', {}, /^limits\.body_bytes is -1; /],
	['a section that is no mapping', [], 'sse: 3', {}, /^sse is 3; it must be a mapping$/],
	['pools that are no list', [], 'pools: 3', {}, /^pools is 3; it must be a list of at least one pool$/],
	['an empty list of pools', [], 'pools: []', {}, /^pools is \[\]; it must be a list of at least one pool$/],
	['a pool without an id', [], 'pools: [{ slots: 1 }]', {}, /^pools\[0\]\.id is missing; it must be letters/],
	['two pools of one name', [], 'pools: [{ id: a }, { id: A }]', {}, /^pools\[1\]\.id is "A", as is that of pools\[0\]; ids must differ$/],
	['a path instead of a reference', [], 'pools: [{ id: a, model: /m/x.gguf }]', {}, /did you mean file:\/m\/x\.gguf\?/],
	['a relative file reference', [], 'pools: [{ id: a, model: "file:x.gguf" }]', {}, /file: needs an absolute path/],
	['a repository that is none', [], 'pools: [{ id: a, model: "hf:repo" }]', {}, /hf: needs an organisation and a repository/],
	[
		'an engine that runs elsewhere without its url',
		[],
		'pools: [{ id: a, engine: vllm }]',
		{},
		/^pools\[0\]\.engine is vllm, which runs elsewhere; it needs provider: external and a url$/,
	],
	[
		'an unknown fault',
		[],
		'pools: [{ id: a, engine: scripted, scripted: { faults: [{ kind: sulk }] } }]',
		{},
		/faults\[0\]\.kind is "sulk"; it must be one of stall, die/,
	],
	['an unknown engine', [], 'pools: [{ id: a, engine: vlm }]', {}, /must be one of llamacpp, vllm, tgi/],
	[
		'a script for another engine',
		[],
		'pools: [{ id: a, scripted: {} }]',
		{},
		/pools\[0\]\.engine is llamacpp; it belongs to engine: scripted/,
	],
	[
		'layers on a GPU for an engine that is not ours',
		[],
		'pools: [{ id: a, engine: vllm, provider: external, url: "http://x:1", gpu_layers: 3 }]',
		{},
		/^pools\[0\]\.gpu_layers is 3, but .*it belongs to engine: llamacpp with provider: embedded/,
	],
	['more threads than cores', [], 'pools: [{ id: a, cpu_threads: 8 }]', {}, /^pools\[0\]\.cpu_threads is 8; it must be at most 7 here/],
	['a queue without a place', ['--pools.default.queue.capacity', '0'], '', {}, /queue\.capacity is 0; it must be a whole number from 1/],
	['an unknown flag', ['--slot', '1'], '', {}, /^unknown option --slot; did you mean --slots\?$/],
	['an unknown flag of a pool', ['--pools.default.queue.capcity', '1'], '', {}, /did you mean --pools\.default\.queue\.capacity\?$/],
	['a flag of no pool', ['--pools.other.slots', '1'], '', {}, /^--pools\.other\.slots names an unknown pool; there is default$/],
	[
		'a short flag with several pools',
		['--slots', '1'],
		'pools: [{ id: a }, { id: b }]',
		{},
		/ambiguous with 2 pools; use --pools\.<id>\.slots, <id> one of a, b$/,
	],
	['a flag without a value', ['--slots'], '', {}, /^--slots needs a value$/],
	[
		'an unknown variable',
		[],
		'',
		{ ORCHD_SSE_HEARTBET_MS: '1' },
		/^unknown environment variable ORCHD_SSE_HEARTBET_MS; did you mean ORCHD_SSE_HEARTBEAT_MS\?$/,
	],
	['a bad variable', [], '', { ORCHD_SSE_MICROBATCH: '51' }, /from 0 to 50 \(from ORCHD_SSE_MICROBATCH\)$/],
	['a file that is no YAML', [], 'pools: [', {}, /^\/etc\/orchestratord\.yaml is not valid YAML: /],
	['a key given twice', [], 'sse: { stall_ms: 1, stall_ms: 2 }', {}, /is not valid YAML: Map keys must be unique/],
	['a file that is a list', [], '- 1', {}, /must hold a mapping/],
	[
		'a flag below what is no mapping',
		['--sse.stall-ms', '1'],
		'sse: 3',
		{},
		/^--sse\.stall-ms cannot be set: sse in the file is not a mapping$/,
	],
];

for (const [name, flags, file, env, said] of refusals) {
	test(`${name} is refused in words`, () => assert.match(refusal(flags, file, env), said));
}

test('several slips are told at once', () => {
	assert.equal(refusal([], 'sse: { stall_ms: x }\nlog: { level: y }\nfoo: 1').split('\n').length, 3);
});

test('an address that other machines can reach is refused', () => {
	for (const addr of ['0.0.0.0:8080', '10.0.0.1:80', '[::]:8080', ':8080', 'example.com:80', '128.0.0.1:80', '127.0.0.1.example.com:80']) {
		assert.match(refusal(['--addr', addr]), /which other machines can reach; that needs auth\.keys/, addr);
	}
	for (const addr of ['8080', '127.0.0.1', '127.0.0.1:99999', 'localhost:x', '']) {
		assert.match(refusal([`--addr=${addr}`]), /must be host:port/, addr);
	}
	assert.deepEqual(load(['--addr', '[::1]:81']).listen, { hostname: '::1', port: 81, ...listening });
	assert.deepEqual(load(['--addr', 'localhost:0']).listen, { hostname: 'localhost', port: 0, ...listening });
	assert.deepEqual(load(['--addr', '127.1.2.3:65535']).listen, { hostname: '127.1.2.3', port: 65_535, ...listening });
});

test('a max_tokens_out above the ctx means the ctx', () => {
	assert.equal(load(['--ctx', '512']).pools[0]?.maxTokensOut, 512);
	assert.equal(load([]).pools[0]?.perfPrior.configured, false);
	assert.equal(load(['--pools.default.perf_prior.decode_tokens_per_s', '20']).pools[0]?.perfPrior.configured, true);
});

test('engines do not inherit our own settings', () => {
	const { childEnv } = load([], '', { PATH: '/bin', ORCHD_ADDR: '127.0.0.1:1' });
	assert.deepEqual(childEnv, { PATH: '/bin' });
});

test('a client finds the daemon where the environment says it listens', () => {
	assert.equal(defaultDaemonUrl({}), 'http://127.0.0.1:8080');
	assert.equal(defaultDaemonUrl({ ORCHD_ADDR: '127.0.0.1:9' }), 'http://127.0.0.1:9');
});

test('sizes are powers of two or of ten, as written', () => {
	assert.deepEqual(
		['1KiB', '2MiB', '1GiB', '5kB', '1MB', '1.5KiB', '7', '7 B'].map(parseBytes),
		[1024, 2_097_152, 1_073_741_824, 5000, 1_000_000, 1536, 7, 7],
	);
	fc.assert(
		fc.property(
			fc.nat(),
			(bytes) => parseBytes(String(bytes)) === bytes && parseBytes(bytes) === bytes && parseBytes(`${bytes}KiB`) === bytes * 1024,
		),
	);
});

test('whatever stands in the file, it is accepted or refused in words', () => {
	const names = fc.constantFrom(
		'listen',
		'pools',
		'sse',
		'id',
		'slots',
		'queue',
		'capacity',
		'model',
		'tasks',
		'scripted',
		'faults',
		'__proto__',
		'constructor',
	);
	const { tree } = fc.letrec((tie) => ({
		tree: fc.oneof(
			{ maxDepth: 4 },
			fc.constantFrom(null, true, 0, -1, 1.5, 'auto', '', 'x', 1e300),
			fc.array(tie('tree'), { maxLength: 3 }),
			fc.dictionary(names, tie('tree'), { maxKeys: 4 }),
		),
	}));
	fc.assert(
		fc.property(tree, (value) => {
			try {
				load([], JSON.stringify(value));
			} catch (error) {
				assert.ok(error instanceof ConfigError, String(error));
				assert.ok(error.problems.length > 0 && error.problems.every((problem) => problem.length > 10));
			}
		}),
		{ numRuns: 300 },
	);
});

test('YAML that repeats, holds or breaks itself is refused in words', () => {
	const bomb = [
		'a: &a [x, x, x, x, x, x, x, x, x]',
		...'bcdefgh'.split('').map((name, i) => `${name}: &${name} [${`*${'abcdefg'[i]}, `.repeat(9)}]`),
	];
	assert.match(refusal([], bomb.join('\n')), /aliases repeat too much/);
	assert.match(refusal([], 'pools: &a [*a]'), /part of/);
	assert.match(refusal([], 'listen: &a { addr: *a }'), /part of|not valid YAML/);
	assert.match(refusal([], '['.repeat(100_000)), /not valid YAML/);
	const part = fc.constantFrom(
		'pools',
		'listen',
		'sse',
		':',
		': ',
		'- ',
		'\n',
		'  ',
		'[',
		']',
		'{',
		'}',
		'&a ',
		'*a',
		'!!binary ',
		'!!set ',
		'? ',
		'|',
		'"',
		"'",
		'#',
		'<<: ',
		'.inf',
		'0x1F',
		'---',
		'%YAML 1.1',
		'\u0000',
		'\ufeff',
	);
	fc.assert(
		fc.property(fc.array(fc.oneof(part, fc.string({ maxLength: 4 })), { maxLength: 25 }), (parts) => {
			try {
				load([], parts.join(''));
			} catch (error) {
				assert.ok(error instanceof ConfigError, String(error));
			}
		}),
		{ numRuns: 500 },
	);
});

test('whatever stands in flags and the environment, it is accepted or refused in words', () => {
	const text = fc.oneof(
		fc.string({ maxLength: 12 }),
		fc.constantFrom(
			'[',
			'[[1',
			'{',
			'NaN',
			'1e999',
			'-0',
			'0x10',
			'99999999999999999999',
			'9'.repeat(400),
			'1GiB',
			'-1MiB',
			'auto',
			'::',
			'\u0000',
		),
	);
	const given = fc.array(fc.tuple(fc.constantFrom(...describeKeys()), text), { maxLength: 4 });
	fc.assert(
		fc.property(given, given, (flags, variables) => {
			try {
				load(
					flags.map(([{ flag }, value]) => `${flag.replace('<id>', 'default')}=${value}`),
					'',
					Object.fromEntries(variables.map(([{ env }, value]) => [env.replace('<ID>', 'DEFAULT'), value])),
				);
			} catch (error) {
				assert.ok(error instanceof ConfigError, String(error));
			}
		}),
		{ numRuns: 500 },
	);
});

/** They are the same but for one letter at most: dropped, added or another. */
function isSlip(one: string, other: string): boolean {
	let same = 0;
	while (same < one.length && one[same] === other[same]) same += 1;
	const [a, b] = [one.slice(same), other.slice(same)];
	return a.slice(1) === b.slice(1) || a.slice(1) === b || a === b.slice(1) || `${a[1]}${a[0]}${a.slice(2)}` === b;
}

test('a slip in one letter of a key is answered with that key', () => {
	const known = globalKeys.map((key) => key.path);
	const paths = known.filter((path) => (path.split('.')[1] ?? '').length >= 5);
	fc.assert(
		fc.property(fc.constantFrom(...paths), fc.nat(), (path, drop) => {
			const [group = '', name = ''] = path.split('.');
			const cut = drop % name.length;
			const wrong = name.slice(0, cut) + name.slice(cut + 1);
			// such as hots, of hosts and of host
			fc.pre(!known.some((other) => other !== path && isSlip(other, `${group}.${wrong}`)));
			assert.match(refusal([], `${group}: { ${wrong}: 1 }`), new RegExp(`did you mean ${group}\\.${name}\\?`));
		}),
	);
});

test('what is not configuration is left for the command line', () => {
	const { overrides, rest, configFile } = parseFlags(
		['--no-supervise', '--slots', '2', '--config=c.yaml', 'x', '--', '--slots'],
		['--no-supervise'],
	);
	assert.deepEqual(rest, ['--no-supervise', 'x', '--', '--slots']);
	assert.deepEqual([overrides.length, configFile], [1, 'c.yaml']);
	assert.throws(() => load(['x']), /unexpected argument x/);
});

test('the published schema names every key and nothing private', () => {
	const published = JSON.stringify(publishedSchema());
	assert.doesNotMatch(published, /"allowed"/);
	for (const { path } of [...globalKeys, ...poolKeys]) assert.ok(published.includes(`"${path.split('.').at(-1)}"`), path);
	assert.equal(describeKeys().length, globalKeys.length + poolKeys.length);
});

test('an editor that holds a file to the published schema asks for nothing that has a default', () => {
	const needed: string[] = [];
	const look = (schema: unknown, path: string): void => {
		if (typeof schema !== 'object' || schema === null) return;
		for (const [key, value] of Object.entries(schema)) {
			if (key === 'required' && Array.isArray(value)) needed.push(...value.map((name) => `${path} ${String(name)}`));
			else look(value, key === 'properties' || key === 'items' ? path : `${path}/${key}`);
		}
	};
	look(publishedSchema(), '');
	assert.deepEqual(needed.sort(), [
		'/auth/keys name',
		'/auth/keys sha256',
		'/catalog/oci password_env',
		'/catalog/oci registry',
		'/catalog/oci username',
		'/catalog/trust/identities issuer',
		'/catalog/trust/identities subject',
		'/pools id',
		'/pools/scripted/faults kind',
	]);
});
