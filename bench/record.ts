/**
 * Runs every bench, one after the other, and writes what they say to `bench/RESULTS.md`: the only way figures get there. Half
 * an hour; the machine should do nothing else.
 *
 *   npm run bench:record
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const built = dirname(fileURLToPath(import.meta.url));
const repository = join(built, '../..');
const benches: readonly (readonly [string, readonly string[]])[] = [
	['relay', ['--streams', '1,64,512', '--seconds', '5', '--runs', '9']],
	['relay', ['--streams', '2000', '--seconds', '5', '--runs', '1', '--flat', '0', '--no-stall']],
	['relay', ['--foreign', '--streams', '1,64,512', '--seconds', '5', '--runs', '3', '--flat', '10000']],
	['wire', []],
	['threads', []],
	['kernel', []],
	['event-log', []],
	['cancel', []],
	['soak', ['--minutes', '3']],
];

const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: repository, encoding: 'utf8' }).trim();
const parts = [
	'# Measured\n',
	`Written by \`npm run bench:record\` on ${new Date().toISOString().slice(0, 10)}, commit ${commit}. Two noisy cores: read the ratios, not the times. What each figure means: [README.md](README.md).\n`,
];
for (const [name, args] of benches) {
	const { stdout, status } = spawnSync(process.execPath, [join(built, `${name}.js`), ...args], {
		cwd: repository,
		encoding: 'utf8',
		stdio: ['ignore', 'pipe', 'inherit'],
		maxBuffer: 64 * 1024 * 1024,
	});
	parts.push(`## ${[name, ...args].join(' ')}\n\n${stdout.trim()}\n`);
	process.stdout.write(`${parts.at(-1)}\n`);
	if (status !== 0) parts.push(`Ended with status ${status}.\n`);
}
writeFileSync(join(repository, 'bench/RESULTS.md'), parts.join('\n'));
