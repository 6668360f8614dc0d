/**
 * A program under the name of an engine's own, for the presets that start it: `preset-stand-in.js NAME FLAG…`. Takes the flags that the
 * engine's documents have, with values of their kind, and ends with 2 on any other, as the engines' own parsers do; then it is the fake
 * of that engine, at the address that it was told. Writes a line when it listens, with what it was given, and as it ends what it was asked
 * that its engine does not specify, into the folder STRAYED.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FakeLlamaServer } from './fake-llama-server.ts';
import type { FakeServer } from './fake-server.ts';
import { FakeTgi } from './fake-tgi.ts';
import { FakeTriton } from './fake-triton.ts';
import { FakeVllm } from './fake-vllm.ts';

type Kind = 'text' | 'count' | 'none';
type Given = Readonly<Record<string, string>>;

interface StandIn {
	/** `=`: the value stands behind that, or alone. */
	readonly flags: Readonly<Record<string, Kind>>;
	/** Words before the flags. */
	readonly words: readonly RegExp[];
	serve(given: Given, words: readonly string[]): { readonly server: FakeServer };
	readonly address: readonly [host: string, port: string];
}

const standIns: Readonly<Record<string, StandIn>> = {
	// tools/server/README.md of ggml-org/llama.cpp, "Usage"
	'llama-server': {
		flags: {
			'--host': 'text',
			'--port': 'count',
			'--model': 'text',
			'--parallel': 'count',
			'--ctx-size': 'count',
			'--metrics': 'none',
			'--slots': 'none',
		},
		words: [],
		serve: (given) =>
			new FakeLlamaServer({
				slots: Number(given['--parallel']),
				ctx: Number(given['--ctx-size']) / Number(given['--parallel']),
				slotsPath: '--slots' in given,
				metricsPath: '--metrics' in given,
			}),
		address: ['--host', '--port'],
	},
	// docs.vllm.ai, "vllm serve": the model, then "Frontend", "ModelConfig", "ParallelConfig", "SchedulerConfig"
	vllm: {
		flags: {
			'--host': 'text',
			'--port': 'count',
			'--max-num-seqs': 'count',
			'--max-model-len': 'count',
			'--tensor-parallel-size': 'count',
			'--dtype': 'text',
			'--scheduling-policy': 'text',
		},
		words: [/^serve$/, /^org\/fake-7b$/],
		serve: (given) =>
			new FakeVllm({
				slots: Number(given['--max-num-seqs']),
				maxModelLen: Number(given['--max-model-len']),
				priority: given['--scheduling-policy'] === 'priority',
			}),
		address: ['--host', '--port'],
	},
	// docs/source/reference/launcher.md of huggingface/text-generation-inference
	'text-generation-launcher': {
		flags: {
			'--model-id': 'text',
			'--hostname': 'text',
			'--port': 'count',
			'--max-concurrent-requests': 'count',
			'--max-total-tokens': 'count',
			'--num-shard': 'count',
			'--shard-uds-path': 'text',
			'--master-port': 'count',
			'--prometheus-port': 'count',
		},
		words: [],
		serve: (given) =>
			new FakeTgi({ slots: Number(given['--max-concurrent-requests']), maxTotalTokens: Number(given['--max-total-tokens']) }),
		address: ['--hostname', '--port'],
	},
	// src/command_line_parser.cc of triton-inference-server/server: `--name value` and `--name=value` alike
	tritonserver: {
		flags: {
			'--model-repository': 'text',
			'--http-address': 'text',
			'--http-port': 'count',
			'--allow-grpc': 'text',
			'--metrics-port': 'count',
		},
		words: [],
		serve: () => new FakeTriton({ kind: 'vllm_model' }),
		address: ['--http-address', '--http-port'],
	},
};

function fail(words: string): never {
	process.stderr.write(`error: ${words}\n`);
	process.exit(2);
}

function parsed({ flags, words }: StandIn, args: readonly string[]): { readonly given: Given; readonly words: readonly string[] } {
	const given: Record<string, string> = {};
	const before = args.slice(0, words.length);
	if (words.some((pattern, at) => !pattern.test(before[at] ?? ''))) fail(`the words before the flags are ${before.join(' ')}`);
	for (let at = words.length; at < args.length; at += 1) {
		const [flag = '', behind] = (args[at] ?? '').split(/=(.*)/s);
		const kind = flags[flag];
		if (kind === undefined) fail(`unexpected argument '${args[at]}' found`);
		if (flag in given) fail(`the argument '${flag}' cannot be used multiple times`);
		if (kind !== 'none' && behind === undefined) at += 1;
		const value = kind === 'none' ? '' : (behind ?? args[at]);
		if (value === undefined || (kind === 'count' && !/^[1-9]\d*$/.test(value))) fail(`invalid value '${value}' for '${flag}'`);
		given[flag] = value;
	}
	return { given, words: before };
}

const [name = '', ...args] = process.argv.slice(2);
const standIn = standIns[name];
if (standIn === undefined) fail(`no engine ${name}`);
// Nothing is left behind, should everything else fail.
setTimeout(() => process.exit(7), 120_000);
const { given, words } = parsed(standIn, args);
const { server } = standIn.serve(given, words);
const [host, port] = standIn.address;
if (given[host] !== '127.0.0.1') fail(`it is to listen at ${given[host]}`);
await server.listen(Number(given[port]));
process.stdout.write(`listens ${process.pid} ${JSON.stringify(given)} devices ${process.env['CUDA_VISIBLE_DEVICES'] ?? 'all'}\n`);
process.on('SIGTERM', () => {
	// Its daemon ends, too: nobody reads what it writes.
	if (server.strayed.length > 0) writeFileSync(join(process.env['STRAYED'] ?? '', String(process.pid)), server.strayed.join('\n'));
	process.exit(0);
});
