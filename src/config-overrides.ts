/**
 * Flags and environment names of the configuration: how `--pools.default.slots 2` and `ORCHD_POOLS_DEFAULT_SLOTS=2` find
 * their key. Pure: works on the argv and environment it is given and writes into a plain tree.
 *
 * Rule: a key's flag is `--` and its path, `_` or `-` alike; its environment name is `ORCHD_` and its path in capitals with
 * every `.` and `-` as `_`. A pool's key stands behind `pools.<id>`.
 */
import { isAbsolute, resolve } from 'node:path';
import type { TSchema } from '@sinclair/typebox';
import { parse as parseYaml } from 'yaml';
import { ConfigError } from './config-check.ts';
import { type ConfigKey, globalKeys, poolKeys } from './config-schema.ts';
import { nearest } from './nearest.ts';

/** A configuration as the file gives it, before validation. */
export type Tree = Record<string, unknown>;

/** One value from outside the file. `origin` is the flag or variable as the user wrote it. */
export interface Override {
	readonly origin: string;
	readonly target: { readonly pool: string | null; readonly key: ConfigKey; readonly envPool?: boolean };
	readonly text: string;
}

export interface ParsedFlags {
	readonly overrides: readonly Override[];
	readonly configFile: string | null;
	/** What is not configuration: left for the command line parser. */
	readonly rest: readonly string[];
}

/** `pool: ''` means "the only pool"; `'*'` all pools. */
const shortFlags: Readonly<Record<string, { pool: string | null; path: string }>> = {
	addr: { pool: null, path: 'listen.addr' },
	model: { pool: '', path: 'model' },
	slots: { pool: '', path: 'slots' },
	ctx: { pool: '', path: 'ctx' },
	'log-level': { pool: null, path: 'log.level' },
};

const keptEnvNames: Readonly<Record<string, { pool: string | null; path: string }>> = {
	ORCHD_ADDR: { pool: null, path: 'listen.addr' },
	ORCHD_ADMISSION_CAPACITY: { pool: '*', path: 'queue.capacity' },
	ORCHD_ADMISSION_POLICY: { pool: '*', path: 'queue.full_policy' },
	ORCHD_SSE_MICROBATCH: { pool: null, path: 'sse.microbatch_ms' },
};

const globalByPath = new Map(globalKeys.map((key) => [key.path, key]));
const poolByPath = new Map(poolKeys.map((key) => [key.path, key]));

/** Takes the configuration's flags out of `argv`. `others` are the flags that belong to somebody else. */
export function parseFlags(argv: readonly string[], others: readonly string[]): ParsedFlags {
	const overrides: Override[] = [];
	const rest: string[] = [];
	let configFile: string | null = null;
	for (let i = 0; i < argv.length; i++) {
		const word = argv[i] ?? '';
		if (word === '--') {
			rest.push(...argv.slice(i));
			break;
		}
		const [flag, inline] = splitFlag(word);
		const target = word.startsWith('--') ? flagTarget(flag.slice(2)) : null;
		if (target === null && flag !== '--config') {
			if (word.startsWith('--') && !others.includes(flag)) throw new ConfigError([unknownFlag(flag, others)]);
			rest.push(word);
			continue;
		}
		const text = inline ?? argv[++i];
		if (text === undefined) throw new ConfigError([`${flag} needs a value`]);
		if (target === null) configFile = text;
		else overrides.push({ origin: flag, target, text });
	}
	return { overrides, configFile, rest };
}

function splitFlag(word: string): [string, string | undefined] {
	const at = word.indexOf('=');
	return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

function flagTarget(name: string): Override['target'] | null {
	const short = shortFlags[name];
	if (short !== undefined) return targetOf(short);
	const global = globalByPath.get(name.replaceAll('-', '_'));
	if (global !== undefined) return { pool: null, key: global };
	if (!name.startsWith('pools.')) return null;
	const behind = name.slice('pools.'.length);
	for (const key of poolKeys) {
		const suffix = `.${key.path}`;
		if (behind.replaceAll('-', '_').endsWith(suffix) && behind.length > suffix.length)
			return { pool: behind.slice(0, -suffix.length), key };
	}
	return null;
}

function unknownFlag(flag: string, others: readonly string[]): string {
	const known = [...Object.keys(shortFlags), 'config', ...globalByPath.keys()].map((name) => `--${name}`.replaceAll('_', '-'));
	const pool = /^--pools\.([^.]+)\.(.+)$/.exec(flag);
	const suggestion =
		pool === null
			? nearest(flag.replaceAll('_', '-'), [...known, ...others])
			: (nearest((pool[2] ?? '').replaceAll('-', '_'), poolByPath.keys())
					?.replace(/^/, `--pools.${pool[1]}.`)
					.replaceAll('_', '-') ?? null);
	return `unknown option ${flag}; ${suggestion === null ? 'see --help' : `did you mean ${suggestion}?`}`;
}

/** The overrides that the environment asks for. Unknown `ORCHD_` names are refused. */
export function parseEnvironment(env: Readonly<Record<string, string | undefined>>): Override[] {
	const kept: Override[] = [];
	const regular: Override[] = [];
	for (const [name, text] of Object.entries(env)) {
		if (text === undefined || text === '' || !name.startsWith('ORCHD_') || plainEnvNames.has(name) || serviceLink.test(name)) continue;
		const short = keptEnvNames[name];
		if (short === undefined) regular.push({ origin: name, target: envTarget(name), text });
		else kept.push({ origin: name, target: targetOf(short), text });
	}
	const cancel = env['CANCEL_ON_DISCONNECT'];
	if (cancel !== undefined && cancel !== '') {
		kept.push({
			origin: 'CANCEL_ON_DISCONNECT',
			target: targetOf({ pool: null, path: 'tasks.on_disconnect' }),
			text: onOff('CANCEL_ON_DISCONNECT', cancel) ? 'cancel' : 'detach',
		});
	}
	const http2 = env['ORCHD_PREFER_H2'];
	if (http2 !== undefined && http2 !== '') {
		const text = String(onOff('ORCHD_PREFER_H2', http2));
		kept.push({ origin: 'ORCHD_PREFER_H2', target: targetOf({ pool: null, path: 'listen.http2' }), text });
	}
	return [...kept, ...regular];
}

/** Read elsewhere: they are not keys of the file. */
const plainEnvNames: ReadonlySet<string> = new Set(['ORCHD_CONFIG', 'ORCHD_PREFER_H2', 'ORCHD_API_KEY']);
/** What container platforms inject for a service that happens to be called `orchd`. */
const serviceLink = /^ORCHD_(SERVICE_(HOST|PORT)|PORT(_|$))/;

function envTarget(name: string): Override['target'] {
	const global = globalKeys.find((key) => envName(key.path) === name);
	if (global !== undefined) return { pool: null, key: global };
	const prefix = 'ORCHD_POOLS_';
	const key = poolKeys
		.filter(
			(candidate) =>
				name.startsWith(prefix) && name.length > prefix.length + candidate.path.length + 1 && name.endsWith(`_${constant(candidate.path)}`),
		)
		.sort((a, b) => b.path.length - a.path.length)[0];
	if (key !== undefined) return { pool: name.slice(prefix.length, -(key.path.length + 1)), key, envPool: true };
	const suggestion = nearest(name, [...globalKeys.map((each) => envName(each.path)), ...Object.keys(keptEnvNames), ...plainEnvNames]);
	throw new ConfigError([`unknown environment variable ${name}; ${suggestion === null ? 'unset it' : `did you mean ${suggestion}?`}`]);
}

function onOff(name: string, text: string): boolean {
	if (/^(1|true|yes|on)$/i.test(text)) return true;
	if (/^(0|false|no|off)$/i.test(text)) return false;
	throw new ConfigError([`${name} is ${JSON.stringify(text)}; it must be 1 or 0`]);
}

function targetOf(short: { readonly pool: string | null; readonly path: string }): Override['target'] {
	const key = (short.pool === null ? globalByPath : poolByPath).get(short.path);
	if (key === undefined) throw new TypeError(`no key ${short.path}`);
	return { pool: short.pool, key };
}

/** `sse.heartbeat_ms` → `ORCHD_SSE_HEARTBEAT_MS`. */
export function envName(path: string): string {
	return `ORCHD_${constant(path)}`;
}

function constant(path: string): string {
	return path.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_');
}

/** Writes `override` into `tree`, and tells `noteOrigin` the paths it wrote. */
export function applyOverride(tree: Tree, override: Override, cwd: string, noteOrigin: (path: string, origin: string) => void): void {
	const { target, origin } = override;
	const value = valueOf(target.key.schema, override.text);
	if (target.pool === null) {
		write(tree, target.key.path, value, origin);
		noteOrigin(target.key.path, origin);
		return;
	}
	for (const [index, pool] of poolsFor(tree, override)) {
		write(pool, target.key.path, value, origin);
		noteOrigin(`pools[${index}].${target.key.path}`, origin);
		if (origin === '--model') nameModel(pool, override.text, cwd);
	}
}

/** `--model` takes a path too, as a shell completes it, and serves it under the name it would have anyway. */
function nameModel(pool: Tree, text: string, cwd: string): void {
	const isReference = /^[a-z0-9]+:/i.test(text) || text === 'builtin';
	pool['model'] = isReference ? text : `file:${isAbsolute(text) ? text : resolve(cwd, text)}`;
	if (text.startsWith('scripted:')) pool['engine'] ??= 'scripted';
}

function poolsFor(tree: Tree, { target, origin }: Override): [number, Tree][] {
	const listed = Array.isArray(tree['pools']) ? tree['pools'] : [];
	const pools = [...listed.entries()].filter((entry): entry is [number, Tree] => isTree(entry[1]));
	if (target.pool === '*') return pools;
	const ids = pools.map(([, pool]) => String(pool['id']));
	if (target.pool === '') {
		if (pools.length === 1) return pools;
		throw new ConfigError([
			`${origin} is ambiguous with ${pools.length} pools; use --pools.<id>.${target.key.path}, <id> one of ${ids.join(', ')}`,
		]);
	}
	const found = pools.filter(([, pool]) => (target.envPool ? constant(String(pool['id'])) : String(pool['id'])) === target.pool);
	if (found.length === 0) throw new ConfigError([`${origin} names an unknown pool; there is ${ids.join(', ')}`]);
	return found;
}

function write(tree: Tree, path: string, value: unknown, origin: string): void {
	const names = path.split('.');
	const last = names.pop() ?? '';
	let at = tree;
	for (const name of names) {
		const below = at[name] ?? {};
		if (!isTree(below)) throw new ConfigError([`${origin} cannot be set: ${name} in the file is not a mapping`]);
		at[name] = below;
		at = below;
	}
	at[last] = value;
}

function valueOf(schema: TSchema, text: string): unknown {
	if (schema['type'] === 'string') return text;
	if (schema['type'] === 'object' || schema['type'] === 'boolean') return yamlOf(text);
	if (schema['type'] !== 'array') return /^-?[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : text;
	if (text.trimStart().startsWith('[')) return yamlOf(text);
	return text === '' ? [] : text.split(',').map((part) => valueOf(schema['items'] as TSchema, part.trim()));
}

/** What is not YAML is what it is: the schema refuses it in words. */
function yamlOf(text: string): unknown {
	try {
		return parseYaml(text);
	} catch {
		return text;
	}
}

export function isTree(value: unknown): value is Tree {
	return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Every key with its flag, environment name, default and meaning: for help and docs. */
export function describeKeys(): readonly { flag: string; env: string; fallback: string; description: string }[] {
	const row = (key: ConfigKey, flagPrefix: string, envPrefix: string) => ({
		flag: `--${flagPrefix}${key.path.replaceAll('_', '-')}`,
		env: `${envPrefix}${constant(key.path)}`,
		fallback: key.schema['default'] === undefined ? '' : Array.isArray(key.schema['default']) ? '' : String(key.schema['default']),
		description: String(key.schema['description'] ?? ''),
	});
	return [...globalKeys.map((key) => row(key, '', 'ORCHD_')), ...poolKeys.map((key) => row(key, 'pools.<id>.', 'ORCHD_POOLS_<ID>_'))];
}
