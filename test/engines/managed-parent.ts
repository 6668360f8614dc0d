/**
 * The daemon's side of a managed engine, as a process that can be killed alone: starts `managed-engine` for a runtime
 * folder, in the ways of its further arguments.
 */
import { fileURLToPath } from 'node:url';
import { ManagedProcess } from '../../src/engines/managed/managed-process.ts';

const built = import.meta.url.slice(import.meta.url.lastIndexOf('.'));

const engine = new ManagedProcess({
	reaper: new URL(`../../src/roles/reaper${built}`, import.meta.url),
	command: [process.execPath, fileURLToPath(new URL(`./managed-engine${built}`, import.meta.url)), ...process.argv.slice(3)],
	env: {},
	runtimeDir: process.argv[2] ?? '',
	// Longer than any test: of a daemon that is gone no engine gets as much.
	graceMs: 100_000,
	onLine: (_source, line) => process.stdout.write(`${line}\n`),
	onExit: (exit) => process.stdout.write(`exit ${JSON.stringify(exit)}\n`),
});
// Said by a test that wants it stopped.
process.on('SIGUSR2', () => engine.stop());
