#!/usr/bin/env node
/**
 * The command. Plain JavaScript with nothing new in it, so that an old Node and a missing build are told in words
 * instead of by a stack trace. Hands over to `dist/src/main.js` and decides nothing else.
 */
import { existsSync } from 'node:fs';

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const entry = new URL('../dist/src/main.js', import.meta.url);

if (major < 20 || (major === 20 && minor < 19)) {
	process.stderr.write(`orchestratord needs Node 20.19 or newer; this is ${process.version}. See https://nodejs.org/\n`);
	process.exitCode = 69;
} else if (!existsSync(entry)) {
	process.stderr.write('orchestratord is not built yet. Run `npm run build` in its folder (`npm ci` does it too).\n');
	process.exitCode = 69;
} else {
	const { main } = await import(entry.href);
	process.exitCode = await main(process.argv.slice(2));
}
