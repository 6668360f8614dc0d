/**
 * `npm test`: runs node's test runner over the built test files, of which Node 20 wants a list. A file is run only while
 * its source exists, so that a stale build never adds tests. Suites under `test/opt-in` run only when named. What the whole run
 * prints, and all that the daemons of end-to-end tests print, is searched for the keys, prompts and outputs that their clients plant.
 *
 *   node bin/run-tests.js [--long | [--short] part of a path …]
 *
 * `--long` runs the suites that `npm test` leaves to continuous integration, for it is to take less than three minutes on two cores.
 * `--short` leaves out those of them that are not named in full, as `e2e/refusals` is.
 * With CI=true in the environment, files that failed run once more, alone: real processes and clocks on a machine that others use, too.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const isLong = process.argv.includes('--long');
const isShort = process.argv.includes('--short');
const isAgain = process.env.CI === 'true';
const wanted = process.argv.slice(2).filter((word) => word !== '--long' && word !== '--short');
/** Those that cost most, of which a quicker one looks at the same code. */
const long = [
	'e2e/artifact-crash',
	'e2e/bad-input',
	'e2e/bad-logs',
	'e2e/catalog',
	'e2e/client-library',
	'e2e/command-line',
	'e2e/crash',
	'e2e/curl',
	'e2e/durability',
	'e2e/engine-faults',
	'e2e/fronts',
	'e2e/kv-cache',
	'e2e/llama-server',
	'e2e/lost-front',
	'e2e/managed-engine',
	'e2e/metrics',
	'e2e/migration',
	'e2e/node-host',
	'e2e/openapi-contract',
	'e2e/other-front',
	'e2e/presets',
	'e2e/process-tree',
	'e2e/provisioning',
	'e2e/pulls',
	'e2e/queue',
	'e2e/refusals',
	'e2e/reload',
	'e2e/residency',
	'e2e/responses-sdk',
	'e2e/sdk-matrix',
	'e2e/trust',
	'engines/embedded-golden',
	'engines/embedded-memory',
	'engines/llama-server',
	'engines/managed-process',
	'engines/tgi',
	'engines/triton',
	'engines/vllm',
	'engines/wire-connection',
	'serving/eta-traces',
	'serving/fairness',
	'transport/attacks',
	'transport/protocols',
].map((file) => join('test', `${file}.test.ts`));

/** Those that wait, for processes and their clocks, then those that compute: none is left running alone at the end. */
const first = ['e2e', 'engines', 'threads', 'sim'];

function rank(file) {
	const at = first.indexOf(file.split(sep)[1] ?? '');
	return at < 0 ? first.length : at;
}

/** Files under `test/`, in the order in which they are run. */
function testSources() {
	return readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
		.filter((file) => file.endsWith('.test.ts'))
		.map((file) => join('test', file))
		.filter((file) => {
			const path = file.split(sep).join('/');
			const isWanted = (part) => (isShort && long.includes(file) ? path === `test/${part}.test.ts` : path.includes(part));
			if (wanted.length > 0) return wanted.some(isWanted);
			return long.includes(file) ? isLong : !isLong && !file.startsWith(join('test', 'opt-in'));
		})
		.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}

const sources = testSources();
const built = sources.map((file) => join(root, 'dist', file.replace(/\.ts$/, '.js')));
const missing = [...built, ...long.map((file) => join(root, file))].filter((file) => !existsSync(file));
if (sources.length === 0 || missing.length > 0) {
	const problem =
		sources.length === 0
			? `no test file matches ${wanted.join(' ')}`
			: `not built: ${missing.map((file) => relative(root, file)).join(', ')}; run npm run build`;
	process.stderr.write(`${problem}\n`);
	process.exit(1);
}

/** Begin what `test/e2e/leaks.ts` plants: keys, prompts (and outputs that repeat them), keys of engines elsewhere. */
const planted = ['planted-key-', 'planted-prompt-', 'planted-token-'];
const longest = Math.max(...planted.map((each) => each.length));
const holds = (text) => planted.find((each) => text.includes(each));
/** What the daemons of all tests print, which their tests keep there. */
const logs = mkdtempSync(join(tmpdir(), 'orchestratord-run-'));
/** What daemons keep on disk, of those that are not given a folder of their own. */
const data = mkdtempSync(join(tmpdir(), 'orchestratord-data-'));
const env = { ...process.env, PLANTED_LOGS: logs, XDG_DATA_HOME: data, XDG_CACHE_HOME: join(data, 'caches') };
let leaked;
let child;
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child?.kill(signal));

/** Runs built test files. What it comes to: its exit code, 1 for a signal, and the files that hold a test that failed. */
async function run(files, concurrency) {
	const args = ['--test', '--test-reporter=spec', `--test-concurrency=${concurrency}`, '--test-timeout=170000', ...files];
	child = spawn(process.execPath, args, { cwd: root, env, stdio: ['inherit', 'pipe', 'pipe'] });
	const failed = new Set();
	for (const [from, to] of [
		[child.stdout, process.stdout],
		[child.stderr, process.stderr],
	]) {
		let tail = '';
		from.on('data', (bytes) => {
			to.write(bytes);
			const seen = tail + bytes.toString('latin1');
			leaked ??= holds(seen);
			tail = seen.slice(-longest);
		});
	}
	// as the reporter names the place of each failure
	createInterface({ input: child.stdout }).on('line', (line) => {
		const place = /^test at (.+?):\d+:\d+$/.exec(line)?.[1];
		const file = place === undefined ? undefined : files.find((each) => each === join(root, place) || each === place);
		if (file !== undefined) failed.add(file);
	});
	const [code, signal] = await once(child, 'close');
	return { code: signal === null ? (code ?? 1) : 1, killed: signal !== null, failed: [...failed] };
}

// One more than the two cores that it is made for: half of all files wait most of their time.
let came = await run(built, 3);
if (isAgain && came.code !== 0 && !came.killed && came.failed.length > 0) {
	process.stdout.write(`\nonce more, alone: ${came.failed.map((file) => relative(root, file)).join(' ')}\n`);
	came = await run(came.failed, 1);
}
for (const file of readdirSync(logs)) leaked ??= holds(readFileSync(join(logs, file), 'latin1'));
rmSync(logs, { recursive: true });
rmSync(data, { recursive: true });
if (leaked !== undefined) process.stderr.write(`this run printed what begins with ${leaked}: some daemon logs what it must not\n`);
process.exitCode = leaked !== undefined ? 1 : came.code;
