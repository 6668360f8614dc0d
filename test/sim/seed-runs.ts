/** Runs of the simulated daemon, each from a seed and each twice. A failure names the seed; `npm run sim -- SEED` replays it. */
import assert from 'node:assert/strict';
import { simulate } from './simulation.ts';
import { Trace } from './trace.ts';

/** Seeds `from` … `to`, both included. */
export async function keepEveryPromise(from: number, to: number): Promise<void> {
	const problems: string[] = [];
	let tasks = 0;
	let tokens = 0;
	let moves = 0;
	for (let seed = from; seed <= to; seed += 1) {
		// What weak refs have named is kept until the job ends: each seed is a job of its own.
		await new Promise(setImmediate);
		const first = simulate(seed, new Trace());
		const second = simulate(seed, new Trace());
		tasks += first.tasks;
		tokens += first.tokens;
		moves += first.moves;
		for (const { checker, words } of first.findings) problems.push(`seed ${seed}: ${checker}: ${words}`);
		if (first.hash !== second.hash) problems.push(`seed ${seed}: runsAreReproducible: ${first.hash}, then ${second.hash}`);
	}
	assert.ok(problems.length === 0, `\n${problems.slice(0, 30).join('\n')}\nreplay one with: npm run sim -- SEED\n`);
	const seeds = to - from + 1;
	const enough = tasks > seeds * 8 && tokens > seeds * 50 && moves > seeds / 20;
	assert.ok(enough, `${tasks} tasks, ${tokens} tokens and ${moves} moves: these runs test little`);
}
