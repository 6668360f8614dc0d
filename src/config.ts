/**
 * The daemon's configuration: file, environment and flags become one plain, cloneable `DaemonConfig`. Runs on the main
 * thread and in the CLI. The only reader of `process.env` and of the configuration file; nothing else may look at either.
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { isAbsolute, join, resolve as resolvePath } from 'node:path';
import { Value } from '@sinclair/typebox/value';
import { type Document, LineCounter, parseDocument } from 'yaml';
import type { ArtifactsConfig } from './config-artifacts.ts';
import { type AuthConfig, openWithoutKeys, resolveAuth, resolveTls } from './config-auth.ts';
import { type CatalogConfig, resolveCatalog } from './config-catalog.ts';
import { ConfigError, problemsOf, withOrigin } from './config-check.ts';
import { applyOverride, isTree, type ParsedFlags, parseEnvironment, parseFlags, type Tree } from './config-overrides.ts';
import { type Places, pathOf, placesIn } from './config-places.ts';
import { type PoolConfig, resolvePool, type ThreadRoom } from './config-pool.ts';
import type { MemoryConfig } from './config-residency.ts';
import { packageRoot } from './config-root.ts';
import { type ConfigFile, configSchema, parseBytes } from './config-schema.ts';

export interface DaemonConfig {
	/** Where the settings came from; null without a file. */
	readonly configFile: string | null;
	readonly listen: {
		readonly hostname: string;
		readonly port: number;
		readonly host: 'auto' | 'uws' | 'node';
		readonly hosts: readonly string[];
		readonly corsOrigins: readonly string[];
		readonly http2: boolean;
	};
	/** Paths; null: no TLS. */
	readonly tls: { readonly cert: string; readonly key: string } | null;
	readonly auth: AuthConfig;
	readonly threads: { readonly front: number; readonly engine: number };
	readonly pools: readonly PoolConfig[];
	readonly tasks: {
		readonly disconnectGraceMs: number;
		readonly onDisconnect: 'detach' | 'cancel';
		readonly retentionMs: number;
		readonly retentionCount: number;
		readonly logBytesMax: number;
	};
	readonly responses: { readonly countMax: number; readonly bytesMax: number };
	readonly placement: { readonly pinning: boolean };
	readonly sessions: { readonly ttlMs: number; readonly turnsMax: number; readonly countMax: number };
	readonly sse: { readonly heartbeatMs: number; readonly stallMs: number; readonly microbatchMs: number };
	readonly limits: {
		readonly bodyBytes: number;
		readonly inflightBodyBytes: number;
		readonly headerCount: number;
		readonly connections: number;
		readonly headerMs: number;
		readonly bodyMs: number;
		readonly wsMessageBytes: number;
		readonly watchersPerKey: number;
	};
	readonly memory: MemoryConfig;
	readonly artifacts: ArtifactsConfig;
	readonly store: { readonly path: string; readonly journalBytesMax: number; readonly cacheDir: string };
	readonly catalog: CatalogConfig;
	readonly shutdown: { readonly graceMs: number };
	readonly log: {
		readonly level: 'debug' | 'info' | 'warn' | 'error';
		/** Folder for what managed engines write; null: it is kept in memory only. */
		readonly dir: string | null;
	};
	/** Descriptor that the restarting parent reads the task roll from; null: there is none. */
	readonly taskRollFd: number | null;
	/** Folder for Unix sockets and the like: per user where the system has one. */
	readonly runtimeDir: string;
	/** What engine processes inherit: our environment without our own settings. */
	readonly childEnv: Readonly<Record<string, string>>;
}

/** Tokens of a slot when neither the pool nor a smaller model says otherwise. */
export const defaultCtx = 2048;
/** Set by the parent that restarts the daemon, for it alone. */
const taskRollName = 'ORCHESTRATORD_TASK_ROLL_FD';

/** What loading depends on: the process's own, or a test's. */
export interface World {
	readonly env: Readonly<Record<string, string | undefined>>;
	readonly cwd: string;
	readonly cores: number;
	readFile(path: string): string;
}

export function processWorld(): World {
	return { env: process.env, cwd: process.cwd(), cores: availableParallelism(), readFile: readConfigFile };
}

/**
 * Loads the configuration that `flags` ask for. Precedence: flag, environment, file, default. Throws `ConfigError`.
 */
export function loadConfig(flags: readonly string[] | ParsedFlags, world: World = processWorld()): DaemonConfig {
	const parsed = 'overrides' in flags ? flags : parseFlags(flags, []);
	if (parsed.rest.length > 0 && !('overrides' in flags)) throw new ConfigError([`unexpected argument ${parsed.rest[0]}`]);
	const configFile = parsed.configFile ?? (world.env['ORCHD_CONFIG'] || null);
	const { tree, places } = configFile === null ? noFile() : readTree(configFile, world);
	tree['pools'] ??= [{ id: 'default', aliases: ['default'] }];

	const origins = new Map<string, string>();
	for (const override of [...parseEnvironment(world.env), ...parsed.overrides]) {
		applyOverride(tree, override, world.cwd, (path, origin) => origins.set(path, origin));
	}

	const withScript = Array.isArray(tree['pools']) ? tree['pools'].map((pool) => isTree(pool) && 'scripted' in pool) : [];
	const filled = Value.Default(configSchema, tree);
	const originOf = (path: string): string | null => origins.get(path) ?? places(path);
	if (!Value.Check(configSchema, filled)) throw new ConfigError(problemsOf(filled, originOf));
	return resolve(filled, { configFile, withScript, world, originOf });
}

interface Read {
	readonly tree: Tree;
	readonly places: Places;
}

function noFile(): Read {
	return { tree: {}, places: () => null };
}

const configBytesMax = 1024 * 1024;

function readTree(path: string, world: World): Read {
	let text: string;
	try {
		text = world.readFile(path);
	} catch (error) {
		throw new ConfigError([`cannot read the configuration file ${path}: ${error instanceof Error ? error.message : String(error)}`]);
	}
	const lineCounter = new LineCounter();
	const document = parseDocument(text, { prettyErrors: true, lineCounter });
	const [syntax] = document.errors;
	if (syntax !== undefined) throw new ConfigError([`${path} is not valid YAML: ${syntax.message}`]);
	const tree = plainTree(document, path) ?? {};
	if (!isTree(tree)) throw new ConfigError([`${path} must hold a mapping of keys, such as \`listen:\` and \`pools:\``]);
	return { tree, places: placesIn(document, lineCounter, path) };
}

/** Aliases that multiply themselves, or hold themselves, are found here: nothing behind could. */
function plainTree(document: Document.Parsed, path: string): unknown {
	try {
		const tree: unknown = document.toJS();
		JSON.stringify(tree);
		return tree;
	} catch (error) {
		const words = error instanceof TypeError ? 'an alias stands for what it is a part of' : 'its aliases repeat too much';
		throw new ConfigError([`${path} cannot be used: ${words}; write it without them`]);
	}
}

/** A device or a pipe may go on without end. */
function readConfigFile(path: string): string {
	const file = openSync(path, 'r');
	try {
		const text = Buffer.alloc(configBytesMax + 1);
		let length = 0;
		for (let count = -1; count !== 0 && length < text.length; length += count)
			count = readSync(file, text, length, text.length - length, null);
		if (length > configBytesMax) throw new Error(`it is longer than ${configBytesMax} bytes`);
		return text.toString('utf8', 0, length);
	} finally {
		closeSync(file);
	}
}

interface Around {
	readonly configFile: string | null;
	/** Of each pool: whether the file has a `scripted` section for it. */
	readonly withScript: readonly boolean[];
	readonly world: World;
	readonly originOf: (path: string) => string | null;
}

/** Checks what a schema cannot say, and gives every value its final form. */
function resolve(file: ConfigFile, { configFile, withScript, world, originOf }: Around): DaemonConfig {
	const problems: string[] = [];
	const { hosts, cors_origins: corsOrigins, http2 } = file.listen;
	if (http2 && file.listen.host === 'uws')
		problems.push('listen.http2 is true, but listen.host is uws, which has no HTTP/2; use auto or node');
	const listen = {
		...parseAddr(file.listen.addr, problems),
		host: http2 ? ('node' as const) : file.listen.host,
		hosts,
		corsOrigins,
		http2,
	};
	const tls = resolveTls(file.tls, world.cwd, problems);
	const auth = resolveAuth(file.auth, problems);
	if (auth.keys.length === 0) problems.push(...openWithoutKeys(file.listen.addr, listen.hostname, corsOrigins));
	const threads = {
		front: frontThreads(file.threads.front, listen.host, world.cores, problems),
		engine: oneThread('threads.engine', file.threads.engine, problems),
	};

	const coresLeft = Math.max(1, world.cores - threads.front);
	const computing = file.pools.reduce(
		(sum, pool) => sum + (pool.engine === 'llamacpp' && pool.provider === 'embedded' ? pool.replicas : 0),
		0,
	);
	const room: ThreadRoom = { most: coresLeft, share: Math.max(1, Math.floor(coresLeft / Math.max(1, computing))) };
	const pools = file.pools.map((pool, index) =>
		resolvePool(pool, { path: `pools[${index}]`, hasScript: withScript[index] === true, room, world, problems }),
	);
	for (const [index, pool] of pools.entries()) {
		const first = pools.findIndex((other) => other.id.toLowerCase() === pool.id.toLowerCase());
		if (first !== index) problems.push(`pools[${index}].id is ${JSON.stringify(pool.id)}, as is that of pools[${first}]; ids must differ`);
	}
	const store = {
		path: storePath(file.store.path, world),
		journalBytesMax: parseBytes(file.store.journal_bytes_max),
		cacheDir: cacheDir(file.store.cache_dir, world),
	};
	const catalog = resolveCatalog(file.catalog, parseBytes(file.catalog.quota_bytes), store.path, world, problems);
	if (problems.length > 0) throw new ConfigError(problems.map((problem) => withOrigin(problem, originOf(pathOf(problem) ?? ''))));

	return {
		configFile,
		listen,
		tls,
		auth,
		threads,
		pools,
		tasks: {
			disconnectGraceMs: file.tasks.disconnect_grace_ms,
			onDisconnect: file.tasks.on_disconnect,
			retentionMs: file.tasks.retention_ms,
			retentionCount: file.tasks.retention_count,
			logBytesMax: parseBytes(file.tasks.log_bytes_max),
		},
		responses: { countMax: file.responses.count_max, bytesMax: parseBytes(file.responses.bytes_max) },
		placement: { pinning: file.placement.pinning === 'on' },
		sessions: { ttlMs: file.sessions.ttl_ms, turnsMax: file.sessions.turns_max, countMax: file.sessions.count_max },
		sse: { heartbeatMs: file.sse.heartbeat_ms, stallMs: file.sse.stall_ms, microbatchMs: file.sse.microbatch_ms },
		limits: {
			bodyBytes: parseBytes(file.limits.body_bytes),
			inflightBodyBytes: parseBytes(file.limits.inflight_body_bytes),
			headerCount: file.limits.header_count,
			connections: file.limits.connections,
			headerMs: file.limits.header_ms,
			bodyMs: file.limits.body_ms,
			wsMessageBytes: parseBytes(file.limits.ws_message_bytes),
			watchersPerKey: file.limits.watchers_per_key,
		},
		memory: { ramBytesMax: autoBytes(file.memory.ram_bytes_max), vramBytesMax: autoBytes(file.memory.vram_bytes_max) },
		artifacts: { transcripts: file.artifacts.transcripts, quotaBytes: parseBytes(file.artifacts.quota_bytes) },
		store,
		catalog,
		shutdown: { graceMs: file.shutdown.grace_ms },
		log: { level: file.log.level, dir: logDir(file.log.dir, world) },
		taskRollFd: world.env[taskRollName] === undefined ? null : Number(world.env[taskRollName]),
		runtimeDir: world.env['XDG_RUNTIME_DIR'] || tmpdir(),
		childEnv: Object.fromEntries(
			Object.entries(world.env).filter(
				(entry): entry is [string, string] => entry[1] !== undefined && !entry[0].startsWith('ORCHD_') && entry[0] !== taskRollName,
			),
		),
	};
}

function autoBytes(size: number | string): number | null {
	return size === 'auto' ? null : parseBytes(size);
}

/** Where a user's programs keep what outlives them, and nobody else reads. */
function logDir(dir: string, world: World): string | null {
	if (dir === 'off') return null;
	if (dir !== 'auto') return resolvePath(world.cwd, dir);
	const state = world.env['XDG_STATE_HOME'] || (world.env['HOME'] ? join(world.env['HOME'], '.local', 'state') : '');
	return isAbsolute(state) ? join(state, 'orchestratord', 'log') : null;
}

/** Where a user's programs keep their data; for one without a home, where those of the system do. */
function storePath(path: string, world: World): string {
	if (path !== 'auto') return resolvePath(world.cwd, path);
	const data = world.env['XDG_DATA_HOME'] || (world.env['HOME'] ? join(world.env['HOME'], '.local', 'share') : '');
	return join(isAbsolute(data) ? data : '/var/lib', 'orchestratord');
}

/** Where a user's programs keep what can be made again. */
function cacheDir(dir: string, world: World): string {
	if (dir !== 'auto') return resolvePath(world.cwd, dir);
	const caches = world.env['XDG_CACHE_HOME'] || (world.env['HOME'] ? join(world.env['HOME'], '.cache') : '');
	return join(isAbsolute(caches) ? caches : '/var/cache', 'orchestratord', 'engines');
}

/** One relays tens of thousands of tokens a second: a second one is worth its core only where there are many. */
function frontThreads(value: 'auto' | number, host: 'auto' | 'uws' | 'node', cores: number, problems: string[]): number {
	if (value === 'auto') {
		if (host === 'node' || cores < 16) return 1;
		return cores < 32 ? 2 : 4;
	}
	if (value > 1 && host === 'node') {
		problems.push(
			`threads.front is ${value}, but listen.host is node, whose server cannot share a port between threads; use threads.front: 1, or listen.host: uws`,
		);
	}
	return value;
}

function oneThread(path: string, value: 'auto' | number, problems: string[]): number {
	if (value !== 'auto' && value !== 1)
		problems.push(`${path} is ${value}; one such thread looks after all engines, and no token passes it: use auto or 1`);
	return 1;
}

function parseAddr(addr: string, problems: string[]): { hostname: string; port: number } {
	const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s]*)):([0-9]{1,5})$/.exec(addr);
	const port = Number(match?.[3]);
	if (match === null || port > 65_535) {
		problems.push(`listen.addr is ${JSON.stringify(addr)}; it must be host:port, such as 127.0.0.1:8080`);
		return { hostname: '127.0.0.1', port: 0 };
	}
	// `:8080` is every address, as elsewhere
	return { hostname: match[1] ?? (match[2] || '0.0.0.0'), port };
}

export function packageVersion(): string {
	const manifest: unknown = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'));
	return isTree(manifest) ? String(manifest['version']) : 'unknown';
}

/** Ours, for a program that is run once. */
export function ownEnvironment(env: World['env'] = process.env): Readonly<Record<string, string>> {
	return Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** The environment of the daemon when it runs under the parent that restarts it: ours, and where the task roll goes. */
export function supervisedEnvironment(env: World['env'] = process.env): Readonly<Record<string, string>> {
	return { ...ownEnvironment(env), [taskRollName]: '3' };
}

/** Where a client of this machine finds the daemon, unless it is told otherwise. */
export function defaultDaemonUrl(env: World['env'] = process.env): string {
	return `http://${env['ORCHD_ADDR'] || env['ORCHD_LISTEN_ADDR'] || '127.0.0.1:8080'}`;
}

/** What this machine's clients send to the daemon; null: nothing. */
export function apiKey(env: World['env'] = process.env): string | null {
	return env['ORCHD_API_KEY'] || null;
}

/** The JSON Schema of the configuration file, for editors: without our private keywords, and what has a default may be left out. */
export function publishedSchema(): unknown {
	return { ...(forEditors(configSchema) as Tree), required: [] };
}

function forEditors(schema: unknown): unknown {
	if (Array.isArray(schema)) return schema.map(forEditors);
	if (!isTree(schema)) return schema;
	const { allowed: _ours, secret: _too, required, ...rest } = schema;
	const published = Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, key === 'default' ? value : forEditors(value)]));
	const { properties } = schema;
	if (!Array.isArray(required) || !isTree(properties)) return published;
	const needed = required.filter((name) => typeof name === 'string' && !Object.hasOwn(properties[name] as Tree, 'default'));
	return { ...published, required: needed };
}
