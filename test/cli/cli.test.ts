/**
 * The command line as a whole: which command runs with what, which exit code comes out, what is said. The daemon itself
 * is an injected function; the files are of this test's own folder.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { after, test } from 'node:test';
import { banner, type DaemonFacts } from '../../src/cli/banner.ts';
import { type CliEffects, runCli } from '../../src/cli/cli.ts';
import { mayRestart } from '../../src/cli/exit-codes.ts';
import { drainPool, listPools, poolHealth, purgePool, reloadPool, undrainPool } from '../../src/cli/pools-command.ts';
import { checkModelFiles } from '../../src/cli/preflight.ts';
import { nativeBinaryMissing, Problem, portInUse } from '../../src/cli/problem.ts';
import type { StorePart } from '../../src/cli/store-command.ts';
import { cancel, explain, list } from '../../src/cli/tasks-command.ts';
import { terminalOf } from '../../src/cli/terminal.ts';
import { type DaemonConfig, loadConfig } from '../../src/config.ts';
import { packageRoot } from '../../src/config-root.ts';
import { noDevices } from '../../src/engines/devices.ts';
import { fakeDaemon, fakeTerminal, json } from './fake-daemon.ts';

const folder = mkdtempSync(join(tmpdir(), 'orchestratord-cli-'));
after(() => rmSync(folder, { recursive: true }));

const facts: DaemonFacts = {
	version: '0.1.0',
	url: 'http://127.0.0.1:8080',
	httpHost: 'uws',
	threads: { front: 1, control: 1, engine: 1 },
	configFile: null,
	hint: null,
	pools: [
		{
			id: 'default',
			engine: 'llamacpp',
			engineVersion: 'b1',
			model: 'builtin:tiny-chat',
			aliases: ['default'],
			replicas: 1,
			slots: 4,
			ctx: 1024,
			device: 'CPU (1 thread)',
			mayUseGpu: true,
			onDemand: false,
			trouble: null,
		},
	],
};

interface Ran {
	readonly code: number;
	readonly out: string;
	readonly said: string;
	readonly served: DaemonConfig[];
	readonly supervised: (readonly string[])[];
}

const cli = (...argv: string[]): Promise<Ran> => cliWith({}, ...argv);

async function cliWith(more: Partial<CliEffects>, ...argv: string[]): Promise<Ran> {
	const terminal = fakeTerminal();
	const served: DaemonConfig[] = [];
	const supervised: (readonly string[])[] = [];
	const effects: CliEffects = {
		serve: async (config, _reread, onReady) => {
			served.push(config);
			if (config.listen.port === 1) throw portInUse('127.0.0.1:1');
			onReady(facts);
			return 0;
		},
		supervise: async (words) => {
			supervised.push(words);
			return 143;
		},
		devices: { look: async () => noDevices },
		cpu: { cores: 2, memoryBytes: 8 * 2 ** 30 },
		npm: async () => null,
		store: async () => ({ folder: '/store', parts: [] }),
		...more,
	};
	const code = await runCli(argv, effects, terminal);
	return { code, out: terminal.stdout.join(''), said: terminal.stderr.join('\n'), served, supervised };
}

test('serve hands its flags on to a child under the parent, and its exit code back', async () => {
	const { code, supervised, served } = await cli('serve', '--slots', '2', '--sse.heartbeat-ms=0', '--model', 'builtin');
	assert.equal(code, 143);
	assert.deepEqual(supervised, [['serve', '--no-supervise', '--slots=2', '--sse.heartbeat-ms=0', '--model=builtin']]);
	assert.deepEqual(served, []);
});

test('serve --no-supervise serves here and prints the banner', async () => {
	const { code, served, out } = await cli('serve', '--no-supervise', '--slots', '2');
	assert.deepEqual([code, served[0]?.pools[0]?.slots], [0, 2]);
	assert.match(out, /orchestratord 0\.1\.0 is ready on http:\/\/127\.0\.0\.1:8080/);
});

test('a configuration that cannot be used is told before anything starts', async () => {
	const { code, said, supervised } = await cli('serve', '--slots', '0');
	assert.deepEqual([code, supervised], [78, []]);
	assert.match(said, /error: pools\[0\]\.slots is 0/);
});

test('a model that cannot be served is told before anything starts', async () => {
	writeFileSync(join(folder, 'text.gguf'), 'hello');
	writeFileSync(join(folder, 'empty.gguf'), '');
	writeFileSync(join(folder, 'right.gguf'), 'GGUF\u0003');
	const missing = await cli('serve', '--model', join(folder, 'nothing.gguf'));
	assert.deepEqual([missing.code, missing.supervised.length], [78, 0]);
	assert.match(missing.said, /error: the model of pool default does not exist: .*nothing\.gguf/);
	assert.match((await cli('serve', '--model', folder)).said, /is not a regular file/);
	assert.match((await cli('serve', '--model', join(folder, 'text.gguf'))).said, /is not a GGUF file \(it begins with "hell"\)/);
	assert.match((await cli('serve', '--model', join(folder, 'empty.gguf'))).said, /is not a GGUF file \(the file is empty\)/);
	assert.equal((await cli('serve', '--model', join(folder, 'right.gguf'))).supervised.length, 1);
});

test('the built-in model is there', () => {
	checkModelFiles(loadConfig([], { env: {}, cwd: folder, cores: 2, readFile: () => '' }));
});

test('a port in use is told with what to do', async () => {
	const { code, said } = await cli('serve', '--no-supervise', '--addr', '127.0.0.1:1');
	assert.equal(code, 69);
	assert.match(said, /127\.0\.0\.1:1 is in use .*\n.*--addr 127\.0\.0\.1:2/);
});

test('a slip on the command line is answered with the nearest word and code 2', async () => {
	for (const [argv, said] of [
		[['serv'], /did you mean serve/i],
		[['serve', '--slot', '2'], /did you mean --slots/],
		[['serve', 'now'], /too many arguments/],
		[['run'], /missing required argument/],
		[['run', ' '], /the prompt is empty/],
		[['run', '--max-tokens', '0', 'x'], /whole number of at least 1/],
		[['run', '--temperature', 'hot', 'x'], /number of at least 0/],
		[['run', '--url', 'http://', 'x'], /is not a URL/],
		[['tasks', '--state', 'lost'], /Allowed choices are/],
		[[], /Usage: orchestratord/],
	] as const) {
		const ran = await cli(...argv);
		assert.equal(ran.code, 2, argv.join(' '));
		assert.match(ran.said, said);
	}
});

test('help and version go to stdout and are no failure', async () => {
	for (const argv of [['--help'], ['serve', '--help'], ['--version'], ['version']]) {
		const { code, out } = await cli(...argv);
		assert.equal(code, 0);
		assert.match(out, /orchestratord|^0\.1\.0/);
	}
	assert.match((await cli('serve', '--help')).out, /--sse\.heartbeat-ms\n.*\n\s+ORCHD_SSE_HEARTBEAT_MS/);
});

test('a daemon that is not running is named, with how to start it', async () => {
	for (const argv of [['run', 'hi'], ['tasks'], ['cancel', 'x']]) {
		// nothing can listen on the discard port of an address that no test uses
		const { code, said } = await cli(...argv, '--url', 'http://127.0.0.99:17');
		assert.equal(code, 69, argv[0]);
		assert.match(said, /nothing answers on|the connection to/);
	}
});

test('config schema prints the schema, and config check what would be served, without the environment of engines', async () => {
	assert.equal((JSON.parse((await cli('config', 'schema')).out) as { title: string }).title, 'orchestratord configuration');
	const checked = JSON.parse((await cli('config', 'check', '--slots', '3')).out) as { pools: { slots: number }[]; childEnv?: unknown };
	assert.equal(checked.pools[0]?.slots, 3);
	assert.equal(checked.childEnv, undefined);
	const managed = ['--pools.default.engine', 'openai', '--pools.default.provider', 'managed', '--pools.default.command', 'x {port}'];
	const secret = await cli('config', 'check', ...managed, '--pools.default.env', '{ TOKEN: very-secret }');
	assert.equal(secret.code, 0, secret.said);
	assert.match(secret.out, /"TOKEN": "\(set\)"/);
	assert.doesNotMatch(secret.out, /very-secret/);
	assert.equal((await cli('config', 'check', '--slots', '0')).code, 78);
});

test('pools are listed, asked for their health, drained and undrained in words', async () => {
	const pool = {
		pool_id: 'p',
		engine: 'scripted',
		model: 'm',
		state: 'ready',
		draining: false,
		slots_total: 4,
		slots_free: 1,
		last_error: null,
	};
	const { client, requests } = fakeDaemon({
		'GET /v2/pools': () =>
			json(200, {
				pools: [
					{ ...pool, queue_depth: { interactive: 2, batch: 1 } },
					{ ...pool, pool_id: 'q', draining: true },
					{ ...pool, pool_id: 'r', state: 'starting', ready_in_ms: 4_321, slots_total: 0, slots_free: 0 },
				],
			}),
		'GET /v2/pools/p/health': () =>
			json(200, {
				live: true,
				ready: false,
				draining: true,
				metrics: { queue_depth: 3, slots_total: 4, slots_free: 1 },
				last_error: 'gone',
			}),
		'GET /v2/pools/r/health': () =>
			json(200, {
				live: true,
				ready: false,
				ready_in_ms: 4_321,
				draining: false,
				metrics: { queue_depth: 3, slots_total: 0, slots_free: 0 },
				last_error: null,
			}),
		'POST /v2/pools/p/drain': ({ body }) => json(202, { pool_id: 'p', draining: true, deadline_ms: 1500, ...(body as object) }),
		'POST /v2/pools/p/undrain': () => json(202, { pool_id: 'p', draining: false }),
	});
	const terminal = fakeTerminal();
	assert.equal(await listPools(client, false, terminal), 0);
	assert.equal(await poolHealth(client, 'p', false, terminal), 75);
	assert.equal(await poolHealth(client, 'r', false, terminal), 75);
	assert.equal(await drainPool(client, 'p', 1500, false, terminal), 0);
	assert.equal(await undrainPool(client, 'p', false, terminal), 0);
	assert.deepEqual(terminal.stdout.join('').split('\n'), [
		'POOL  ENGINE    MODEL  STATE            SLOTS  QUEUED  LAST ERROR',
		'p     scripted  m      ready            3/4    3       -',
		'q     scripted  m      draining         3/4    0       -',
		'r     scripted  m      starting, 4.3 s  0/0    0       -',
		'p is draining: 1 of 4 slots free, 3 queued; last error: gone',
		'r is not ready, ready in about 4.3 s: 0 of 0 slots free, 3 queued',
		'p is draining: no task starts there, running ones may go on for 1.5 s',
		'p takes tasks again',
		'',
	]);
	assert.deepEqual(requests.at(-2)?.body, { deadline_ms: 1500 });
});

test('a pool is reloaded and purged to its end: the exit code says whether it serves, --json the pool as it is then', async () => {
	const asking: unknown[] = [];
	let looks = 0;
	let now = { pool_id: 'p', model: 'old', state: 'ready', reloading_to: null as string | null, last_error: null as string | null };
	const after = (pool: typeof now): typeof now => ({ ...now, ...(looks++ < 2 ? { reloading_to: 'x' } : pool) });
	const { client } = fakeDaemon({
		'POST /v2/pools/p/reload': ({ body }) => {
			asking.push(body);
			looks = 0;
			return json(202, { pool_id: 'p' });
		},
		'POST /v2/pools/p/purge': ({ body }) => {
			asking.push(body);
			looks = 0;
			return json(202, {
				pool_id: 'p',
				purging: true,
				cache_dirs: (body as { delete_cache_dirs?: boolean }).delete_cache_dirs === true ? ['/caches/p-0'] : [],
			});
		},
		'GET /v2/pools/p': () => json(200, after(now)),
	});
	const terminal = fakeTerminal();
	const none = { models: [], drainFirst: true, force: false, deleteCaches: false };
	assert.equal(await reloadPool(client, 'p', 'new', false, terminal, 0), 1);
	now = { ...now, model: 'new' };
	assert.equal(await reloadPool(client, 'p', 'new', true, terminal, 0), 0);
	assert.equal(await purgePool(client, 'p', none, false, terminal, 0), 0);
	now = { ...now, state: 'failed', last_error: 'it is broken' };
	assert.equal(
		await purgePool(client, 'p', { models: ['new'], drainFirst: false, force: true, deleteCaches: true }, false, terminal, 0),
		1,
	);
	assert.equal(await purgePool(client, 'p', none, true, terminal, 0), 1);
	assert.deepEqual(asking.slice(0, 4), [
		{ new_model_ref: 'new' },
		{ new_model_ref: 'new' },
		{ drain_first: true, force: false, delete_cache_dirs: false },
		{ purge_models: ['new'], drain_first: false, force: true, delete_cache_dirs: true },
	]);
	assert.deepEqual(terminal.stdout, [
		`${JSON.stringify({ ...now, state: 'ready', last_error: null })}\n`,
		'p serves again, with nothing in its caches\n',
		`${JSON.stringify(now)}\n`,
	]);
	assert.deepEqual(
		terminal.stderr.filter((line) => !/is being/.test(line)),
		['p serves old', 'deleting /caches/p-0', 'it is broken'],
	);
});

test('explain says why a task waits, pool by pool', async () => {
	const body = {
		human: 'Queued in pool p: next to start.',
		pools: [
			{ pool_id: 'p', engine: 'scripted', state: 'ready', chosen: true, reason: 'the task waits for one of its 2 slots' },
			{ pool_id: 'q', engine: 'scripted', state: 'ready', chosen: false, reason: 'it serves m, not n' },
		],
		decision: { total_us: 7, stages: [{ stage: 'ranking', us: 7 }] },
	};
	const { client } = fakeDaemon({ 'GET /v2/tasks/T/explain': () => json(200, body) });
	const terminal = fakeTerminal();
	assert.equal(await explain(client, 'T', false, terminal), 0);
	assert.deepEqual(terminal.stdout, [
		'Queued in pool p: next to start.\n',
		'* p (scripted, ready): the task waits for one of its 2 slots\n',
		'  q (scripted, ready): it serves m, not n\n',
		'decided in 7 µs (ranking 7)\n',
	]);
});

test('tasks prints a table, or one object a line', async () => {
	const task = { task_id: 'T', state: 'running', model_ref: 'default', pool_id: 'p', priority: 'interactive', tokens_in: 3, tokens_out: 4 };
	const daemon = () => fakeDaemon({ 'GET /v2/tasks': () => json(200, { tasks: [task], next_cursor: null }) });
	const options = { state: null, pool: null, limit: 5, json: false };
	const table = fakeTerminal();
	assert.equal(await list(daemon().client, options, table), 0);
	assert.equal(
		table.stdout.join(''),
		'TASK  STATE    MODEL    POOL  PRIORITY     IN  OUT  STARTS\nT     running  default  p     interactive  3   4    -\n',
	);
	const lines = fakeTerminal();
	const asked = daemon();
	await list(asked.client, { state: 'running', pool: 'p', limit: 5, json: true }, lines);
	assert.deepEqual(JSON.parse(lines.stdout.join('')), task);
	assert.equal(asked.requests[0]?.path, '/v2/tasks?limit=5&state=running&pool_id=p');
});

test('cancel tells what became of each task, and of one that is unknown', async () => {
	const { client } = fakeDaemon({
		'POST /v2/tasks/A/cancel': () => new Response(null, { status: 204 }),
		'POST /v2/tasks/B/cancel': () => new Response(null, { status: 204 }),
		'GET /v2/tasks/A': () => json(200, { task_id: 'A', state: 'canceled' }),
		'GET /v2/tasks/B': () => json(404, { code: 'NOT_FOUND', message: 'x', retriable: false }),
	});
	const terminal = fakeTerminal();
	assert.equal(await cancel(client, ['A', 'B'], terminal), 1);
	assert.deepEqual([terminal.stdout, terminal.stderr], [['A canceled\n'], ['B: the daemon knows no such task']]);
});

test('the banner says what runs where and gives one line to try', () => {
	const plain = (text: string | number | null | undefined): string => String(text);
	const paint = { bold: plain, dim: plain, red: plain, cyan: plain };
	assert.equal(
		banner(facts, paint),
		`orchestratord 0.1.0 is ready on http://127.0.0.1:8080
  threads  main, 1 front, 1 control, 1 engine (HTTP by uws)
  config   built-in defaults (no file)
  pool     default: builtin:tiny-chat, asked for as "default"
           llamacpp b1 on CPU (1 thread), 1 replica with 4 slots of 1024 tokens
  try      npx orchestratord run "Tell me a story about a fox"
`,
	);
	const elsewhere = {
		...facts,
		url: 'http://127.0.0.1:9000',
		pools: facts.pools.map((pool) => ({ ...pool, aliases: ['fox'], trouble: 'still loading' })),
	};
	assert.match(banner(elsewhere, paint), /^orchestratord 0\.1\.0 cannot serve a model yet; it listens on http:\/\/127\.0\.0\.1:9000\n/);
	assert.match(banner(elsewhere, paint), /does not serve yet: still loading\n.*run --url http:\/\/127\.0\.0\.1:9000 --model fox "Tell/);
});

test('what a model writes cannot steer the terminal', () => {
	const sink = () => Object.assign(new Writable({ write: (_chunk, _encoding, done) => done() }), { isTTY: true });
	const terminal = terminalOf({
		stdin: process.stdin,
		stdout: sink(),
		stderr: sink(),
		on: () => undefined,
		removeListener: () => undefined,
	});
	assert.equal(terminal.safe('a\u001b[2Jb\u009b1mc\td\ne\r\u0007é🦊'), 'a[2Jb1mc\td\neé🦊');
});

test('only an end that could go differently the next time is worth a restart', () => {
	assert.deepEqual([0, 2, 69, 78, 130].filter(mayRestart), []);
	assert.deepEqual([1, 75, 134].filter(mayRestart), [1, 75, 134]);
});

test('a missing native binary names the platform and what to do', () => {
	const problem = nativeBinaryMissing('uWebSockets.js', 'no such file');
	assert.match(problem.message, new RegExp(`uWebSockets\\.js does not load on ${process.platform}-${process.arch}`));
	assert.match(problem.advice ?? '', /npm ci/);
});

test('the command says so when nothing is built', () => {
	cpSync(join(packageRoot(), 'bin'), join(folder, 'bin'), { recursive: true });
	writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
	const { status, stderr } = spawnSync(process.execPath, [join(folder, 'bin', 'orchestratord.js'), 'version'], { encoding: 'utf8' });
	assert.deepEqual([status, stderr.split('.')[0]], [69, 'orchestratord is not built yet']);
});

test('a new key is printed alone, and its lines make a daemon know it', async () => {
	const { code, out, said } = await cli('keys', 'new', 'ci', '--tenant', 'team-a', '--role', 'client', 'operator');
	assert.equal(code, 0);
	assert.match(out, /^orchd-[A-Za-z0-9_-]{43}\n$/);
	const key = out.trim();
	assert.ok(!said.includes(key));
	const file = said.slice(said.indexOf('auth:'), said.lastIndexOf('Clients send'));
	const [known] = loadConfig([], { env: { ORCHD_CONFIG: 'c' }, cwd: '/', cores: 1, readFile: () => file }).auth.keys;
	const sha256 = createHash('sha256').update(key).digest('hex');
	assert.deepEqual([known?.name, known?.sha256, known?.tenant, known?.roles], ['ci', sha256, 'team-a', ['client', 'operator']]);
	assert.notEqual((await cli('keys', 'new')).out, out);
	assert.equal((await cli('keys', 'new', '--role', 'admin')).code, 2);
});

test('a daemon that wants a key is told apart from one that refuses, with where the key comes from', async () => {
	const message = 'a key is needed, as Authorization: Bearer … or X-API-Key: …';
	const { client } = fakeDaemon({ 'GET /v2/pools': () => json(401, { code: 'UNAUTHORIZED', message, retriable: false }) });
	await assert.rejects(listPools(client, false, fakeTerminal()), (error) => {
		assert.ok(error instanceof Problem);
		assert.deepEqual(
			[error.message, error.advice, error.exitCode],
			[`${message} [UNAUTHORIZED]`, 'this command line takes its key from ORCHD_API_KEY', 1],
		);
		return true;
	});
});

test('store check and repair say what is whole, what was lost and where the damaged file is, as a person or a script reads it', async () => {
	const part = { name: 'journal', entries: 12, problems: [], keptAs: null, mended: 0 };
	const damagedPart = { ...part, problems: ['live: page 7 is not what belongs there'] };
	const tell = async (parts: readonly StorePart[], ...argv: string[]) => {
		const asked: [string, boolean][] = [];
		const ran = await cliWith(
			{ store: async ({ store }, repair) => (asked.push([store.path, repair]), { folder: '/s', parts }) },
			'store',
			...argv,
		);
		return { ...ran, asked };
	};
	const whole = await tell([part], 'check', '--store.path', '/elsewhere');
	assert.deepEqual([whole.code, whole.out, whole.asked], [0, 'journal: whole, 12 entries\n', [['/elsewhere', false]]]);
	const bad = await tell([damagedPart], 'check');
	assert.equal(bad.code, 1);
	assert.match(bad.out, /^journal: damaged, 12 entries can be read\n {2}live: page 7 .*\nMend it with: orchestratord store repair\n$/);
	const mended = await tell([{ ...damagedPart, keptAs: '/s/data.mdb.damaged', mended: 11 }], 'repair');
	assert.deepEqual([mended.code, mended.asked[0]?.[1]], [0, true]);
	assert.match(
		mended.out,
		/^journal: mended, with 11 entries; what was lost:\n {2}live: page 7 .*\n {2}the damaged file is kept as \/s\/data\.mdb\.damaged\n$/,
	);
	const json = await tell([damagedPart], 'check', '--json');
	const said = { name: 'journal', entries: 12, problems: damagedPart.problems, kept_as: null, mended: 0 };
	assert.deepEqual([json.code, JSON.parse(json.out)], [1, { folder: '/s', parts: [said] }]);
	assert.match((await tell([], 'check')).out, /There is no store in \/s/);
	assert.equal((await tell([], 'mend')).code, 2);
});
