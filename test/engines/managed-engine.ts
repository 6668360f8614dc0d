/**
 * A small engine for tests of those that we start: says the pids of what it is, has a child and, where asked, one that left its session,
 * and does not end politely where asked. `node managed-engine.js [stubborn] [runaway] [short]`.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const ways = process.argv.slice(2);
const self = fileURLToPath(import.meta.url);
// It ends by itself long after any test: none of its tests may leave one behind, and none that fails for ever.
setTimeout(() => process.exit(7), 60_000);
// Who reads what it writes may be gone before it is.
process.stdout.on('error', () => undefined);
if (ways.includes('stubborn')) process.on('SIGTERM', () => process.stdout.write('asked to end\n'));
if (ways.includes('child')) process.stdout.write(`child ${process.pid}\n`);
else {
	const kept = ways.filter((way) => way === 'stubborn');
	spawn(process.execPath, [self, 'child', ...kept], { stdio: 'inherit' });
	if (ways.includes('runaway')) spawn(process.execPath, [self, 'child', ...kept], { stdio: 'inherit', detached: true });
	process.stdout.write(`engine ${process.pid}\n`);
	process.stderr.write(`sees ${process.env['CUDA_VISIBLE_DEVICES'] ?? 'all'}\n`);
	if (ways.includes('short')) setTimeout(() => process.exit(3), 300);
}
