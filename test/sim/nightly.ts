/**
 * Many seeds, with every fault on, each run once, on as many processes as there are cores. Prints a line for each finding and one of the
 * whole; ends with 1 when there was any. Bounded: by its number of seeds, and by `--minutes`.
 *
 *   npm run sim:nightly [-- --seeds 10000 --from 1 --minutes 120]
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { simulate } from './simulation.ts';
import { Trace } from './trace.ts';

const { values: options } = parseArgs({
	options: {
		seeds: { type: 'string', default: '10000' },
		from: { type: 'string', default: '1' },
		minutes: { type: 'string', default: '120' },
		/** Of a child: which of so many it is. */
		part: { type: 'string' },
	},
});
const [from, seeds, minutes] = [Number(options.from), Number(options.seeds), Number(options.minutes)];

if (options.part === undefined) await all();
else await one(options.part);

/** Every so manieth seed; a line of JSON for each that found something, and one at the end. */
async function one(part: string): Promise<void> {
	const [number = 0, parts = 1] = part.split('/').map(Number);
	const until = performance.now() + minutes * 60_000;
	let [ran, tasks, tokens, faults] = [0, 0, 0, 0];
	for (let seed = from + number; seed < from + seeds && performance.now() < until; seed += parts) {
		// What weak refs have named is kept until the job ends: each seed is a job of its own.
		await new Promise(setImmediate);
		const result = simulate(seed, new Trace(), { everyFault: true });
		ran += 1;
		tasks += result.tasks;
		tokens += result.tokens;
		faults += result.faults;
		for (const { checker, words } of result.findings) process.stdout.write(`${JSON.stringify({ seed, checker, words })}\n`);
	}
	process.stdout.write(`${JSON.stringify({ ran, tasks, tokens, faults })}\n`);
}

async function all(): Promise<void> {
	const parts = availableParallelism();
	const sum = { ran: 0, tasks: 0, tokens: 0, faults: 0 };
	let failed = 0;
	await Promise.all(
		Array.from({ length: parts }, async (_, part) => {
			const args = [fileURLToPath(import.meta.url), ...process.argv.slice(2), '--part', `${part}/${parts}`];
			const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
			createInterface({ input: child.stdout }).on('line', (line) => {
				const told = JSON.parse(line) as { readonly seed?: number; readonly checker?: string; readonly words?: string } & typeof sum;
				if (told.seed === undefined) {
					for (const key of ['ran', 'tasks', 'tokens', 'faults'] as const) sum[key] += told[key];
					return;
				}
				failed += 1;
				process.stdout.write(`seed ${told.seed}: ${told.checker}: ${told.words}\n`);
			});
			const [code] = await once(child, 'close');
			if (code !== 0) failed += 1;
		}),
	);
	process.stdout.write(
		`${sum.ran} of ${seeds} seeds from ${from} with every fault on: ${sum.tasks} tasks, ${sum.tokens} tokens, ${sum.faults} faults; ${failed} findings\n`,
	);
	if (failed > 0) process.stdout.write('replay one with: npm run sim -- SEED --every-fault\n');
	process.exitCode = failed > 0 || sum.ran < seeds ? 1 : 0;
}
