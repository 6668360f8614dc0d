/** The flags of `bench`, named as those of vLLM's `bench serve` where they mean the same. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { apiKey, defaultDaemonUrl } from '../../config.ts';
import { exitCodes } from '../exit-codes.ts';
import { Problem } from '../problem.ts';
import type { Terminal } from '../terminal.ts';
import { bench } from './bench-command.ts';
import { type Objective, type Objectives, objectives } from './summary.ts';
import type { Backend } from './target.ts';

interface BenchFlags {
	readonly backend: Backend;
	readonly baseUrl: string;
	readonly endpoint?: string;
	readonly model: string;
	readonly datasetName: 'random' | 'sharegpt' | 'trace';
	readonly datasetPath?: string;
	readonly randomInputLen: number;
	readonly randomOutputLen: number;
	readonly inputMax: number;
	readonly outputMax: number;
	readonly numPrompts: number;
	readonly requestRate: number;
	readonly burstiness: number;
	readonly maxConcurrency: number;
	readonly tenants?: string[];
	readonly goodput?: string[];
	readonly percentiles: readonly number[];
	readonly temperature: number;
	readonly ignoreEos: boolean;
	readonly timeoutS: number;
	readonly seed: number;
	readonly json: boolean;
	readonly saveResult?: string;
	readonly saveRequests?: string;
	readonly report?: string;
}

export function addBench(program: Command, terminal: Terminal, done: (code: number) => void): void {
	const command = program
		.command('bench')
		.description('put a load on a daemon, or on any server that speaks the OpenAI API, and say how it held up')
		.addOption(new Option('--backend <kind>', 'what the server speaks').choices(['v2', 'openai', 'openai-chat']).default('v2'))
		.addOption(new Option('--base-url <url>', 'the server').default(defaultDaemonUrl()))
		.option('--endpoint <path>', 'default /v2/tasks, /v1/completions, /v1/chat/completions')
		.option('--model <name>', 'model to ask for', 'default')
		.addOption(
			new Option('--dataset-name <name>', 'random: equal lengths; sharegpt: lengths like those of conversations; trace: a file')
				.choices(['random', 'sharegpt', 'trace'])
				.default('sharegpt'),
		)
		.option('--dataset-path <file>', 'JSON lines {timestamp, input_length, output_length, hash_ids}')
		.option('--random-input-len <n>', 'words of a prompt', whole(1), 128)
		.option('--random-output-len <n>', 'tokens of an answer', whole(1), 64)
		.option('--input-max <n>', 'most words of a prompt', whole(1), 1024)
		.option('--output-max <n>', 'most tokens of an answer', whole(1), 512)
		.option('--num-prompts <n>', 'requests in all', whole(1), 100)
		.option('--request-rate <n>', 'requests a second, or inf: all at once', positive, Number.POSITIVE_INFINITY)
		.option('--burstiness <n>', '1: a Poisson process; less: bursts; inf: a constant rate', positive, 1)
		.option('--max-concurrency <n>', 'requests under way at once', whole(1), Number.POSITIVE_INFINITY)
		.option('--tenants <name...>', 'requests are of these in turn, and reported for each (v2)')
		.option('--goodput <slo...>', 'objectives in ms, such as ttft:200 tpot:50 e2el:2000')
		.option('--percentiles <list>', 'which to show', percents, [90, 95, 99])
		.option('-t, --temperature <x>', '0 is greedy', notNegative, 0)
		.option('--ignore-eos', 'ask for exactly as many tokens, where the server knows that', false)
		.option('--timeout-s <n>', 'for one request', whole(1), 600)
		.option('--seed <n>', 'of lengths, words and times', whole(0), 0)
		.option('--json', "the result on stdout, in the shape of vLLM's", false)
		.option('--save-result <file>', 'the same to a file')
		.option('--save-requests <file>', 'one JSON object a request')
		.option('--report <file>', 'an HTML page');
	command.action(async (flags: BenchFlags) => {
		const tenants = flags.tenants ?? [];
		if (flags.datasetName === 'trace' && flags.datasetPath === undefined) command.error('error: --dataset-name trace needs --dataset-path');
		if (tenants.length > 0 && flags.backend !== 'v2')
			command.error('error: --tenants needs --backend v2; elsewhere a tenant is that of the key');
		done(
			await bench(
				{
					target: {
						backend: flags.backend,
						url: urlOf(flags.baseUrl),
						endpoint: flags.endpoint ?? null,
						model: flags.model,
						key: apiKey(),
						temperature: flags.temperature,
						ignoreEos: flags.ignoreEos,
						timeoutMs: flags.timeoutS * 1000,
					},
					workload: {
						dataset: flags.datasetName,
						count: flags.numPrompts,
						inputLen: flags.randomInputLen,
						outputLen: flags.randomOutputLen,
						inputMax: flags.inputMax,
						outputMax: flags.outputMax,
						tenants,
						seed: flags.seed,
					},
					tracePath: flags.datasetName === 'trace' ? (flags.datasetPath ?? null) : null,
					rate: flags.requestRate,
					burstiness: flags.burstiness,
					concurrency: flags.maxConcurrency,
					objectives: objectivesOf(flags.goodput ?? []),
					percents: flags.percentiles,
					json: flags.json,
					resultPath: flags.saveResult ?? null,
					requestsPath: flags.saveRequests ?? null,
					reportPath: flags.report ?? null,
				},
				terminal,
			),
		);
	});
}

function urlOf(text: string): string {
	const whole = /^https?:\/\//i.test(text) ? text : `http://${text}`;
	if (!URL.canParse(whole)) throw new Problem(exitCodes.usage, `--base-url ${text} is not a URL`, 'write it as http://127.0.0.1:8080');
	return whole;
}

function objectivesOf(words: readonly string[]): Objectives {
	return Object.fromEntries(
		words.map((word): [Objective, number] => {
			const [name, ms] = word.split(':');
			const known = objectives.find((each) => each === name);
			if (known === undefined || !(Number(ms) > 0))
				throw new Problem(
					exitCodes.usage,
					`--goodput ${word}: write it as one of ${objectives.join(', ')}, a colon and milliseconds, as in ttft:200`,
				);
			return [known, Number(ms)];
		}),
	);
}

function whole(minimum: number): (text: string) => number {
	return (text) => {
		const value = Number(text);
		if (!Number.isSafeInteger(value) || value < minimum)
			throw new InvalidArgumentError(`It must be a whole number of at least ${minimum}.`);
		return value;
	};
}

function positive(text: string): number {
	const value = text === 'inf' ? Number.POSITIVE_INFINITY : Number(text);
	if (!(value > 0)) throw new InvalidArgumentError('It must be a number above 0, or inf.');
	return value;
}

function notNegative(text: string): number {
	const value = Number(text);
	if (text.trim() === '' || !(value >= 0)) throw new InvalidArgumentError('It must be a number of at least 0.');
	return value;
}

function percents(text: string): readonly number[] {
	const values = text.split(',').map(Number);
	if (values.some((value) => !(value > 0 && value <= 100)))
		throw new InvalidArgumentError('It must be numbers up to 100, such as 90,95,99.');
	return values;
}
