/**
 * Runs every bench, one after the other, and writes what they say to `bench/RESULTS.md`: the only way figures get there. Half
 * an hour; the machine should do nothing else. `--only` measures some of them anew, `--with` those of them that have such an option, and
 * keeps the rest as it was.
 *
 *   npm run bench:record [-- --only relay,heap] [--with upstream]
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const built = dirname(fileURLToPath(import.meta.url));
const repository = join(built, '../..');
const benches: readonly (readonly [string, readonly string[]])[] = [
	['relay', ['--streams', '1,64,512', '--seconds', '5', '--runs', '9']],
	['relay', ['--streams', '2000', '--seconds', '5', '--runs', '1', '--flat', '0', '--no-stall']],
	['relay', ['--foreign', '--streams', '1,64,512', '--seconds', '5', '--runs', '3', '--flat', '10000']],
	['relay', ['--upstream', 'tcp', '--streams', '64,512', '--seconds', '3', '--runs', '9', '--flat', '3000', '--warm', '2']],
	['relay', ['--upstream', 'unix', '--streams', '64', '--seconds', '3', '--runs', '5', '--flat', '0', '--warm', '2']],
	['relay', ['--upstream', 'tcp', '--streams', '2000', '--rate', '25', '--seconds', '3', '--runs', '1', '--flat', '0', '--warm', '2']],
	['chat', []],
	['wire', []],
	['threads', []],
	['kernel', []],
	['event-log', []],
	['cancel', []],
	['disconnect', []],
	['eta', []],
	['scheduling', []],
	['lifecycle', []],
	['heap', []],
	['journal', []],
	['soak', ['--minutes', '3']],
];

const { values: options } = parseArgs({ options: { only: { type: 'string' }, with: { type: 'string' } } });
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: repository, encoding: 'utf8' }).trim();
const file = join(repository, 'bench/RESULTS.md');
const chosen = benches
	.filter(([name]) => options.only === undefined || options.only.split(',').includes(name))
	.filter(([, args]) => options.with === undefined || args.includes(`--${options.with}`));
const title = (name: string, args: readonly string[]): string => `## ${[name, ...args].join(' ')}\n`;

const before = existsSync(file) ? readFileSync(file, 'utf8').split(/^(?=## )/m) : [];
const measured = new Map<string, string>();
for (const [name, args] of chosen) {
	const { stdout, status } = spawnSync(process.execPath, [join(built, `${name}.js`), ...args], {
		cwd: repository,
		encoding: 'utf8',
		stdio: ['ignore', 'pipe', 'inherit'],
		maxBuffer: 64 * 1024 * 1024,
	});
	const at = `On ${new Date().toISOString().slice(0, 10)}, commit ${commit}.${status === 0 ? '' : ` Ended with status ${status}.`}`;
	const section = `${title(name, args)}\n${at}\n\n${stdout.trim()}\n`;
	measured.set(title(name, args), section);
	process.stdout.write(`${section}\n`);
	save();
}

/** After each: an hour is long. */
function save(): void {
	const parts = [
		'# Measured\n\nWritten by `npm run bench:record`. Two noisy cores: read the ratios, not the times. What each figure means: [README.md](README.md).\n',
	];
	for (const [name, args] of benches) {
		const section = measured.get(title(name, args)) ?? before.find((part) => part.startsWith(title(name, args)));
		if (section !== undefined) parts.push(`${section.trim()}\n`);
	}
	writeFileSync(file, parts.join('\n'));
}
