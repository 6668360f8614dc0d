/**
 * Runs one seed and writes its trace: `npm run sim -- SEED`, as the nightly runs do it with `--every-fault`. Each line is a virtual time in ms, who, and what; what an actor is
 * about to handle stands behind `◂`. Ends with what the checkers found.
 */
import { checkers } from './checkers.ts';
import { simulate } from './simulation.ts';
import { Trace } from './trace.ts';

const seed = Number(process.argv[2]);
const everyFault = process.argv.includes('--every-fault');
if (!Number.isInteger(seed)) {
	process.stderr.write('usage: npm run sim -- SEED [--every-fault]\n');
	process.exitCode = 2;
} else {
	const { findings, hash, events, tasks, tokens, faults } = simulate(seed, new Trace((line) => process.stdout.write(`${line}\n`)), {
		everyFault,
	});
	process.stdout.write(`seed ${seed}: ${tasks} tasks, ${tokens} tokens, ${faults} faults, ${events} events, trace ${hash}\n`);
	for (const { checker, at, words } of findings)
		process.stdout.write(`${checker} (${checkers[checker]})\n  at ${at.toFixed(1)} ms: ${words}\n`);
	if (findings.length > 0) process.exitCode = 1;
}
