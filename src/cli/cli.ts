/**
 * The command line: parses it, runs one command, turns every failure into words and an exit code. What needs threads or
 * processes is given in by `main.ts`; nothing here starts any, and nothing here ends the process.
 */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { type DaemonConfig, defaultDaemonUrl, loadConfig, packageVersion, publishedSchema } from '../config.ts';
import { ConfigError } from '../config-check.ts';
import { exampleConfig } from '../config-example.ts';
import { describeKeys, type ParsedFlags, parseFlags } from '../config-overrides.ts';
import { packageRoot } from '../config-root.ts';
import type { DeviceProbe } from '../engines/devices.ts';
import { type Acceleration, accelerate, accelerations } from './accelerate.ts';
import { addArtifacts } from './artifacts-command.ts';
import { banner, type DaemonFacts } from './banner.ts';
import { addBench } from './bench/bench-flags.ts';
import { reloadConfig } from './config-command.ts';
import { daemonClient } from './daemon-client.ts';
import { type CpuFacts, listDevices, unusedDevices } from './devices-command.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import { addKeys } from './keys-command.ts';
import { addModels } from './models-command.ts';
import { poolLog } from './pool-log.ts';
import { addResidency } from './pool-residency.ts';
import { drainPool, listPools, poolHealth, purgePool, reloadPool, undrainPool } from './pools-command.ts';
import { checkDevices, checkModelFiles } from './preflight.ts';
import { Problem } from './problem.ts';
import { promptFrom, type RunOptions, run } from './run-command.ts';
import { addStore, type StoreReport } from './store-command.ts';
import { cancel, explain, type ListOptions, list } from './tasks-command.ts';
import { watch } from './tasks-watch.ts';
import type { Terminal } from './terminal.ts';

/** What the command line may ask of the composition root. */
export interface CliEffects {
	/** Runs the daemon in this process until it is told to stop. Calls `onReady` once it serves. Throws `Problem`s. */
	/** `reread` gives the configuration as it is by then; throws what `loadConfig` throws, and `Problem`s. */
	serve(config: DaemonConfig, reread: () => DaemonConfig, onReady: (facts: DaemonFacts) => void): Promise<number>;
	/** Runs this program again with `argv` under the restarting parent, until it ends for good. */
	supervise(argv: readonly string[]): Promise<number>;
	readonly devices: DeviceProbe;
	readonly cpu: CpuFacts;
	/** Looks at the store of a daemon that does not run, and mends it when `repair`. Throws `Problem`s. */
	store(config: DaemonConfig, repair: boolean): Promise<StoreReport>;
	/** Runs npm, whose words are shown; its exit code, null: it is not there. */
	npm(args: readonly string[]): Promise<number | null>;
}

/** Runs `argv` (without node and script) and answers the exit code. Throws only on a bug. */
export async function runCli(argv: readonly string[], effects: CliEffects, terminal: Terminal): Promise<number> {
	try {
		const flags = takesConfig(argv) ? configFlagsOf(argv) : null;
		let code: number = exitCodes.ok;
		const program = commands(effects, terminal, flags, (result) => {
			code = result;
		});
		await program.parseAsync([...(flags?.rest ?? argv)], { from: 'user' });
		return code;
	} catch (error) {
		return told(error, terminal);
	}
}

/** Takes the configuration's flags out of `argv`. A slip here is one of the command line, not of a file. */
function configFlagsOf(argv: readonly string[]): ParsedFlags {
	try {
		return parseFlags(argv, ['--no-supervise', '--help', '--json']);
	} catch (error) {
		if (error instanceof ConfigError) throw new Problem(exitCodes.usage, error.message);
		throw error;
	}
}

/** Says what went wrong and answers the exit code; a bug goes on upwards. */
function told(error: unknown, terminal: Terminal): ExitCode {
	const { red, dim } = terminal.paint;
	if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
	if (error instanceof ConfigError) {
		for (const problem of error.problems) terminal.say(`${red('error:')} ${problem}`);
		return exitCodes.config;
	}
	if (error instanceof Problem) {
		terminal.say(`${red('error:')} ${error.message}`);
		if (error.advice !== null) terminal.say(dim(`  ${error.advice}`));
		return error.exitCode;
	}
	throw error;
}

function takesConfig(argv: readonly string[]): boolean {
	const [first, second] = argv;
	return first === 'serve' || (first === 'config' && second === 'check') || first === 'store';
}

function commands(effects: CliEffects, terminal: Terminal, flags: ParsedFlags | null, done: (code: number) => void): Command {
	const program = new Command('orchestratord')
		.description('Queues, schedules, streams and cancels LLM tasks over pools of local engines.')
		.version(packageVersion(), '-V, --version')
		.exitOverride()
		.configureOutput({ writeOut: (text) => terminal.out(text), writeErr: (text) => terminal.say(text.trimEnd()) })
		.showHelpAfterError('(see --help)');
	addServe(program, effects, terminal, flags, done);
	addRun(program, terminal, done);
	addTasks(program, terminal, done);
	addPools(program, terminal, done);
	addModels(program, terminal, done, urlOption, wholeNumber);
	addArtifacts(program, terminal, done, urlOption);
	addBench(program, terminal, done);
	addDevices(program, effects, terminal, done);
	addConfig(program, effects, terminal, flags, done);
	addKeys(program, terminal);
	addStore(program, terminal, flags, effects.store, done);
	program
		.command('version')
		.description('print the version')
		.action(() => terminal.out(`orchestratord ${packageVersion()} (Node ${process.versions.node}, ${process.platform}-${process.arch})\n`));
	return program;
}

function addServe(
	program: Command,
	effects: CliEffects,
	terminal: Terminal,
	flags: ParsedFlags | null,
	done: (code: number) => void,
): void {
	const serve = program
		.command('serve')
		.description('run the daemon')
		.option('--no-supervise', 'do not run under the parent that restarts it');
	// taken out of argv by `parseFlags` before commander sees them; named here for --help
	for (const [name, words] of configFlags) serve.addOption(new Option(name, words));
	serve.addHelpText('after', `\nEvery key of the configuration is a flag and an environment variable too:\n${keyTable()}`);
	serve.action(async (options: { supervise: boolean }) => {
		const read = (): DaemonConfig => {
			const config = loadConfig(flags ?? []);
			checkModelFiles(config);
			return config;
		};
		const config = read();
		const warnings = await checkDevices(config, effects.devices);
		// Its child says the rest.
		if (!options.supervise) for (const words of warnings) warn(terminal, words);
		if (options.supervise) return done(await effects.supervise(['serve', '--no-supervise', ...flagWords(flags)]));
		const found = effects.devices.look();
		const onReady = async (facts: DaemonFacts): Promise<void> => {
			terminal.out(banner({ ...facts, hint: unusedDevices((await found).devices, facts.pools) }, terminal.paintOut));
		};
		done(await effects.serve(config, read, (facts) => void onReady(facts)));
	});
}

const configFlags: readonly (readonly [string, string])[] = [
	['--config <file>', 'configuration file (or ORCHD_CONFIG)'],
	['--addr <host:port>', 'where to listen (default 127.0.0.1:8080)'],
	['--model <path>', 'GGUF file to serve instead of the built-in model'],
	['--slots <n>', 'tasks that decode at once, each replica'],
	['--ctx <n>', 'tokens a slot holds'],
	['--log-level <level>', 'debug, info, warn or error'],
];

/** The flags again, as they were understood, for the child process. */
function flagWords(flags: ParsedFlags | null): string[] {
	if (flags === null) return [];
	const file = flags.configFile === null ? [] : ['--config', flags.configFile];
	return [...file, ...flags.overrides.flatMap(({ origin, text }) => [`${origin}=${text}`])];
}

function addRun(program: Command, terminal: Terminal, done: (code: number) => void): void {
	program
		.command('run')
		.description('run one task on the daemon and stream its text')
		.argument('<prompt...>', 'the prompt, or - to read it from stdin')
		.option('-m, --model <ref>', 'model_ref of the task', 'default')
		.option('-s, --system <text>', 'system message')
		.option('-n, --max-tokens <n>', 'most tokens to generate', wholeNumber(1))
		.option('-t, --temperature <x>', '0 is greedy', nonNegative)
		.option('--seed <n>', 'seed of the sampler', wholeNumber(0))
		.addOption(new Option('-p, --priority <class>', 'queue class').choices(['interactive', 'batch']))
		.option('--json', 'print events as JSON lines', false)
		.addOption(urlOption())
		.action(async (words: string[], options: RunFlags) => {
			const task: RunOptions = {
				model: options.model,
				prompt: await promptFrom(words, terminal),
				system: options.system ?? null,
				maxTokens: options.maxTokens ?? null,
				temperature: options.temperature ?? null,
				seed: options.seed ?? null,
				priority: options.priority ?? null,
				json: options.json,
			};
			done(await run(daemonClient(options.url), task, terminal));
		});
}

interface RunFlags {
	readonly model: string;
	readonly system?: string;
	readonly maxTokens?: number;
	readonly temperature?: number;
	readonly seed?: number;
	readonly priority?: 'interactive' | 'batch';
	readonly json: boolean;
	readonly url: string;
}

function addTasks(program: Command, terminal: Terminal, done: (code: number) => void): void {
	program
		.command('tasks')
		.description('list the tasks that the daemon knows, newest first')
		.addOption(new Option('--state <state>', 'only this state').choices(['admitting', 'queued', 'running', 'done', 'canceled', 'failed']))
		.option('--pool <id>', 'only this pool')
		.option('--limit <n>', 'at most so many', wholeNumber(1), 50)
		.option('-w, --watch', 'go on, with each task that changes, until Ctrl-C', false)
		.option('--json', 'one JSON object a line', false)
		.addOption(urlOption())
		.action(async (options: { state?: string; pool?: string; limit: number; watch: boolean; json: boolean; url: string }) => {
			const { limit, json } = options;
			const what: ListOptions = { state: options.state ?? null, pool: options.pool ?? null, limit, json };
			const show = options.watch ? watch : list;
			done(await show(daemonClient(options.url), what, terminal));
		});
	program
		.command('explain')
		.description('why a task waits, and what each pool is to it')
		.argument('<task_id>')
		.option('--json', 'the whole answer', false)
		.addOption(urlOption())
		.action(async (taskId: string, { json, url }: { json: boolean; url: string }) => {
			done(await explain(daemonClient(url), taskId, json, terminal));
		});
	program
		.command('cancel')
		.description('cancel tasks, queued or running')
		.argument('<task_id...>')
		.addOption(urlOption())
		.action(async (taskIds: string[], options: { url: string }) => {
			done(await cancel(daemonClient(options.url), taskIds, terminal));
		});
}

interface PurgeFlags {
	readonly model?: string[];
	readonly drain: boolean;
	readonly force: boolean;
	readonly deleteCaches: boolean;
	readonly json: boolean;
	readonly url: string;
}

function addPools(program: Command, terminal: Terminal, done: (code: number) => void): void {
	const pools = program.command('pools').description('what the pools are doing, how to empty one, and how to give it another model');
	pools
		.command('list', { isDefault: true })
		.description('list the pools')
		.option('--json', 'one JSON object a line', false)
		.addOption(urlOption())
		.action(async ({ json, url }: { json: boolean; url: string }) => done(await listPools(daemonClient(url), json, terminal)));
	pools
		.command('health')
		.description('whether a pool is ready; the exit code says so too')
		.argument('<pool_id>')
		.option('--json', 'the whole answer', false)
		.addOption(urlOption())
		.action(async (poolId: string, { json, url }: { json: boolean; url: string }) => {
			done(await poolHealth(daemonClient(url), poolId, json, terminal));
		});
	pools
		.command('logs')
		.description('what the engines of a pool wrote; it may quote what clients sent')
		.argument('<pool_id>')
		.option('-f, --follow', 'go on as it is written, until Ctrl-C', false)
		.option('-n, --tail <n>', 'lines before now (default 200)', wholeNumber(0))
		.option('--json', 'one JSON object a line', false)
		.addOption(urlOption())
		.action(async (poolId: string, { url, tail, ...how }: { follow: boolean; tail?: number; json: boolean; url: string }) => {
			done(await poolLog(daemonClient(url), poolId, { tail: tail ?? 200, ...how }, terminal));
		});
	pools
		.command('drain')
		.description('start no more tasks in a pool; waiting ones go to other pools')
		.argument('<pool_id>')
		.option('--deadline-ms <n>', 'how long running tasks may go on (default 30000)', wholeNumber(0))
		.option('--json', 'the whole answer', false)
		.addOption(urlOption())
		.action(async (poolId: string, { deadlineMs, json, url }: { deadlineMs?: number; json: boolean; url: string }) => {
			done(await drainPool(daemonClient(url), poolId, deadlineMs ?? null, json, terminal));
		});
	pools
		.command('undrain')
		.description('have a pool take tasks again')
		.argument('<pool_id>')
		.option('--json', 'the whole answer', false)
		.addOption(urlOption())
		.action(async (poolId: string, { json, url }: { json: boolean; url: string }) => {
			done(await undrainPool(daemonClient(url), poolId, json, terminal));
		});
	addResidency(pools, terminal, done, urlOption);
	pools
		.command('reload')
		.description('give a pool another model, one replica after the other; the old one comes back if it does not start')
		.argument('<pool_id>')
		.argument('<model_ref>', 'file:/absolute/path.gguf, or scripted:<name>')
		.option('--json', 'the pool as it is afterwards', false)
		.addOption(urlOption())
		.action(async (poolId: string, model: string, { json, url }: { json: boolean; url: string }) => {
			done(await reloadPool(daemonClient(url), poolId, model, json, terminal));
		});
	pools
		.command('purge')
		.description('start each engine of a pool anew, with empty caches, when its last task has ended')
		.argument('<pool_id>')
		.option('--model <ref...>', 'only if the pool holds these')
		.option('--no-drain', 'do nothing while tasks run')
		.option('--force', 'at once: running tasks go on elsewhere, or end', false)
		.option('--delete-caches', 'what managed engines have cached on the disk, too', false)
		.option('--json', 'the pool as it is afterwards', false)
		.addOption(urlOption())
		.action(async (poolId: string, { model, drain, force, deleteCaches, json, url }: PurgeFlags) => {
			const how = { models: model ?? [], drainFirst: drain, force, deleteCaches };
			done(await purgePool(daemonClient(url), poolId, how, json, terminal));
		});
}

function addDevices(program: Command, effects: CliEffects, terminal: Terminal, done: (code: number) => void): void {
	program
		.command('devices')
		.description('list the GPUs of this machine, as `devices` of a pool names them')
		.option('--json', 'one JSON object a line', false)
		.action(async ({ json }: { json: boolean }) => done(await listDevices(effects.devices, effects.cpu, json, terminal)));
	program
		.command('accelerate')
		.description('install the build of llama.cpp for the GPU of this machine (hundreds of megabytes)')
		.argument('[build]', `${accelerations.join(' or ')}; left out, the one for what is found here`, oneOf(accelerations))
		.action(async (wanted: Acceleration | undefined) => {
			const { devices } = await effects.devices.look();
			const platform = `${process.platform}-${process.arch}`;
			const how = { wanted: wanted ?? null, devices, platform, root: packageRoot(), npm: effects.npm };
			done(await accelerate(how, terminal));
		});
}

function addConfig(
	program: Command,
	effects: CliEffects,
	terminal: Terminal,
	flags: ParsedFlags | null,
	done: (code: number) => void,
): void {
	const config = program.command('config').description('look at the configuration, and have the daemon read it anew');
	config
		.command('reload')
		.description('have the daemon read its configuration anew; no stream is dropped for it')
		.option('--json', 'the whole answer', false)
		.addOption(urlOption())
		.action(async ({ json, url }: { json: boolean; url: string }) => done(await reloadConfig(daemonClient(url), json, terminal)));
	config
		.command('example')
		.description('print a configuration file with every key and its default')
		.action(() => terminal.out(exampleConfig()));
	config
		.command('schema')
		.description('print the JSON Schema of the configuration file')
		.action(() => terminal.out(`${JSON.stringify(publishedSchema(), null, 2)}\n`));
	config
		.command('keys')
		.description('print every key with its flag, environment name and default')
		.action(() => terminal.out(keyTable()));
	config
		.command('check')
		.description('check the configuration as `serve` would, and print what comes out')
		.option('--config <file>', 'configuration file (or ORCHD_CONFIG)')
		.action(async () => {
			// the environment of engines and their keys are not ours to print
			const { childEnv: _, ...shown } = loadConfig(flags ?? []);
			checkModelFiles({ ...shown, childEnv: {} });
			for (const words of await checkDevices(shown, effects.devices)) warn(terminal, words);
			terminal.out(`${JSON.stringify(shown, withoutSecrets, 2)}\n`);
		});
}

/** A replacer: names what is set, not to what. */
function withoutSecrets(name: string, value: unknown): unknown {
	if (name === 'key') return value === null ? null : '(set)';
	if (name === 'env' && typeof value === 'object' && value !== null)
		return Object.fromEntries(Object.keys(value).map((each) => [each, '(set)']));
	return value;
}

function urlOption(): Option {
	return new Option('--url <url>', 'the daemon').default(defaultDaemonUrl());
}

function keyTable(): string {
	return describeKeys()
		.map(
			({ flag, env, fallback, description }) =>
				`  ${flag}\n      ${description}${fallback === '' ? '' : ` (default ${fallback})`}\n      ${env}\n`,
		)
		.join('');
}

function warn(terminal: Terminal, words: string): void {
	terminal.say(`${terminal.paint.red('warning:')} ${terminal.safe(words)}`);
}

function oneOf<T extends string>(values: readonly T[]): (text: string) => T {
	return (text) => {
		const value = values.find((each) => each === text);
		if (value === undefined) throw new InvalidArgumentError(`It must be ${values.join(' or ')}.`);
		return value;
	};
}

function wholeNumber(minimum: number): (text: string) => number {
	return (text) => {
		const value = Number(text);
		if (!Number.isSafeInteger(value) || value < minimum)
			throw new InvalidArgumentError(`It must be a whole number of at least ${minimum}.`);
		return value;
	};
}

function nonNegative(text: string): number {
	const value = Number(text);
	if (text.trim() === '' || !(value >= 0) || !Number.isFinite(value)) throw new InvalidArgumentError('It must be a number of at least 0.');
	return value;
}
