/**
 * What the clients of end-to-end tests have sent and read: prompts, outputs, keys. Every daemon of these tests is searched for it
 * when it stops, whatever its test was about.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';

/** Sent with every request. No daemon may repeat it; the runner of the tests searches all that they print for its beginning. */
export const plantedKey = 'planted-key-5c1f0e2d9b';

/**
 * Of what else must be in no log, one of each kind is marked so that the runner knows it in the logs of all daemons of a run: keys
 * of the daemon, prompts, outputs (an engine that echoes its prompt), keys of engines elsewhere.
 */
export function planted(kind: 'key' | 'prompt' | 'token'): string {
	return `planted-${kind}-${randomBytes(16).toString('hex')}`;
}

/** What a daemon printed, for the runner, which looks through all of them in the end. */
export function keepForRunner(output: string): void {
	const folder = process.env['PLANTED_LOGS'];
	if (folder !== undefined) appendFileSync(join(folder, `${process.pid}.log`), output);
}

/** Long enough that no line of a daemon holds it by chance. */
const windowLength = 24;
const secrets = new Map<string, string>();

/** Remembers a text that no daemon may print. A text of fewer characters than a window says too little to be looked for. */
export function remember(what: string, text: string): void {
	for (let from = 0; from + windowLength <= text.length; from += windowLength) secrets.set(text.slice(from, from + windowLength), what);
}

/** The texts of a request body, whatever the path. */
export function rememberBody(body: unknown): void {
	if (typeof body !== 'object' || body === null) return;
	for (const [name, value] of Object.entries(body)) if (secretFields.has(name)) rememberTexts(name, value);
}

const secretFields: ReadonlySet<string> = new Set(['prompt', 'messages', 'inputs', 'query', 'text', 'sampling']);

function rememberTexts(what: string, value: unknown): void {
	if (typeof value === 'string') remember(what, value);
	else if (typeof value === 'object' && value !== null) for (const each of Object.values(value)) rememberTexts(what, each);
}

/** Fails when anything that was remembered stands in what a daemon printed. */
export function assertNothingLeaked(printed: string): void {
	// The banner proposes a command with a prompt of its own.
	const output = printed.replaceAll(/^ {2}try .*$/gm, '');
	assert.ok(!output.includes(plantedKey), `the daemon printed a key:\n${lineWith(output, plantedKey)}`);
	for (const [secret, what] of secrets) {
		for (const shape of [secret, JSON.stringify(secret).slice(1, -1)]) {
			assert.ok(!output.includes(shape), `the daemon printed a part of ${what}:\n${lineWith(output, shape)}`);
		}
	}
}

function lineWith(output: string, part: string): string {
	return output.split('\n').find((line) => line.includes(part)) ?? '';
}
