/** The daemon's side of a managed engine, as a process that can be killed alone: starts `managed-engine` in the ways of its arguments. */
import { fileURLToPath } from 'node:url';
import { ManagedProcess } from '../../src/engines/managed/managed-process.ts';

const built = import.meta.url.slice(import.meta.url.lastIndexOf('.'));

new ManagedProcess({
	reaper: new URL(`../../src/roles/reaper${built}`, import.meta.url),
	command: [process.execPath, fileURLToPath(new URL(`./managed-engine${built}`, import.meta.url)), ...process.argv.slice(2)],
	env: {},
	graceMs: 500,
	onLine: (_source, line) => process.stdout.write(`${line}\n`),
	onExit: (exit) => process.stdout.write(`exit ${JSON.stringify(exit)}\n`),
});
