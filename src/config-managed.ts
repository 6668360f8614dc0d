/** A managed engine of the configuration: its command, from words of its own or of a preset, checked. Main thread and CLI. Pure. */
import { type CommandWords, commandProblem, type MacroName, modelWord, namesMacro, splitCommand } from './command-words.ts';
import { presetNames, presets } from './config-presets.ts';
import type { PoolFile } from './config-schema.ts';

export interface ManagedConfig {
	/** With its macros; every one is known and will have a value. */
	readonly command: readonly string[];
	/** The same; may hold secrets, is never logged or shown. */
	readonly env: Readonly<Record<string, string>>;
	/** What `{model}` is; null: the pool names none. */
	readonly modelWord: string | null;
	/** What the engine is asked for; null: the one model that it has. */
	readonly model: string | null;
	/** It is given a folder that outlives its runs (`{cache_dir}`). */
	readonly keepsCache: boolean;
	/** Never logged, never shown. */
	readonly key: string | null;
	readonly connectMs: number;
	readonly readyMs: number;
	readonly stopMs: number;
	/** Of the section named like the engine. */
	readonly options: Readonly<Record<string, string | boolean>>;
}

const keys = ['command', 'preset', 'args', 'env'] as const;

/** `speakable`: engines that can be spoken to over HTTP. `inherited`: the environment that it has of ours. */
export function resolveManaged(
	pool: PoolFile,
	path: string,
	speakable: readonly string[],
	key: string | null,
	inherited: Readonly<Record<string, string | undefined>>,
	problems: string[],
): Omit<ManagedConfig, 'options'> {
	if (!speakable.includes(pool.engine))
		problems.push(`${path}.engine is ${pool.engine}; with provider: managed it is one of ${speakable.join(', ')}`);
	if (pool.url !== undefined) problems.push(`${path}.url is set, but a managed engine is told where to listen; remove it`);
	const command = commandOf(pool, path, problems);
	const preset = pool.preset === undefined ? {} : (presets[pool.preset].env ?? {});
	const unset = Object.entries(preset).filter(([name]) => inherited[name] === undefined);
	const env = Object.fromEntries([...unset, ...Object.entries(pool.env ?? {}).map(([name, value]) => [name, String(value)] as const)]);
	const words = [...command, ...Object.values(env)];
	const unsaid = unsaidBy(pool);
	const known = (name: MacroName): boolean => !unsaid.has(name);
	const problem = commandProblem(command, known);
	if (problem !== null) problems.push(`${path}.${pool.command === undefined ? 'args' : 'command'} ${problem}`);
	for (const [name, value] of Object.entries(env)) {
		const wrong = commandProblem([value], known);
		if (wrong !== null) problems.push(`${path}.env.${name} ${wrong}`);
		if (value.includes('\0')) problems.push(`${path}.env.${name} holds a character that no environment can hold`);
	}
	return {
		command,
		env,
		modelWord: pool.model === undefined ? null : modelWord(pool.model),
		model: namesMacro(words, 'model') ? null : (pool.model ?? null),
		keepsCache: namesMacro(words, 'cache_dir'),
		key,
		connectMs: pool.connect_ms,
		readyMs: pool.ready_ms,
		stopMs: pool.stop_ms,
	};
}

/** Their words belong to an engine that we start. */
export function noManaged(pool: PoolFile, path: string, problems: string[]): void {
	for (const key of keys) {
		if (pool[key] !== undefined)
			problems.push(`${path}.${key} is set, but ${path}.provider is ${pool.provider}; it belongs to provider: managed`);
	}
}

function commandOf(pool: PoolFile, path: string, problems: string[]): readonly string[] {
	if (pool.command !== undefined) {
		if (pool.preset !== undefined) problems.push(`${path} has command and preset; one of them says how the engine is started`);
		if (pool.args !== undefined) problems.push(`${path}.args is set, but belongs to a preset; write it into ${path}.command`);
		return wordsOf(pool.command, `${path}.command`, problems);
	}
	if (pool.preset === undefined) {
		problems.push(
			`${path}.command is missing; provider: managed needs it, such as "my-server --port {port}", or a preset: ${presetNames.join(', ')}`,
		);
		return [];
	}
	const preset = presets[pool.preset];
	if (!preset.engines.some((each) => each === pool.engine))
		problems.push(`${path}.preset is ${pool.preset}, for engine: ${preset.engines.join(' or ')}, but ${path}.engine is ${pool.engine}`);
	if (pool.model === undefined) problems.push(`${path}.model is missing; preset: ${pool.preset} needs ${preset.model}`);
	const more = pool.args === undefined ? [] : wordsOf(pool.args, `${path}.args`, problems);
	// A model that is missing has been told; the command is not to tell it again.
	return [...preset.command({ hasCtx: pool.ctx !== undefined, deviceCount: pool.devices?.length ?? null }), ...more].filter(
		(word) => pool.model !== undefined || word !== '{model}',
	);
}

function wordsOf(command: string | readonly string[], path: string, problems: string[]): readonly string[] {
	const split: CommandWords = typeof command === 'string' ? splitCommand(command) : { ok: true, words: command };
	if (!split.ok) {
		problems.push(`${path} ${split.problem}`);
		return [];
	}
	if (split.words[0] === '' && path.endsWith('.command')) problems.push(`${path} names no program`);
	if (split.words.some((word) => word.includes('\0'))) problems.push(`${path} holds a character that no command can hold`);
	return split.words;
}

function unsaidBy(pool: PoolFile): ReadonlySet<MacroName> {
	const unsaid = new Set<MacroName>();
	if (pool.model === undefined) unsaid.add('model');
	if (pool.devices === undefined) for (const name of ['devices', 'device_count'] as const) unsaid.add(name);
	if (pool.ctx === undefined) for (const name of ['ctx', 'total_ctx'] as const) unsaid.add(name);
	return unsaid;
}
