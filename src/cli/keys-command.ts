/**
 * `orchestratord keys new`: makes an API key, and the lines that make the daemon know it. The key itself is shown once and kept
 * nowhere; nothing is sent.
 */
import { createHash, randomBytes } from 'node:crypto';
import { type Command, Option } from 'commander';
import type { Terminal } from './terminal.ts';

/** 256 bits: nobody finds one by trying. */
const keyBytes = 32;

interface NewKey {
	readonly name: string;
	readonly tenant?: string;
	readonly role: readonly string[];
}

export function addKeys(program: Command, terminal: Terminal): void {
	const keys = program.command('keys').description('API keys of the daemon');
	keys
		.command('new')
		.description('make a key, and print what auth.keys of the configuration has to say of it')
		.argument('[name]', 'what the key is called in logs', 'key')
		.option('--tenant <tenant>', 'whose tasks and sessions it sees (default: default)')
		.addOption(new Option('--role <role...>', 'what it may do').choices(['client', 'operator', 'worker']).default(['client']))
		.action((name: string, options: Omit<NewKey, 'name'>) => newKey({ name, ...options }, terminal));
}

function newKey({ name, tenant, role }: NewKey, terminal: Terminal): void {
	const key = `orchd-${randomBytes(keyBytes).toString('base64url')}`;
	const settings = {
		name,
		sha256: createHash('sha256').update(key).digest('hex'),
		...(tenant === undefined ? {} : { tenant }),
		roles: [...role],
	};
	terminal.out(`${key}\n`);
	const fields = Object.entries(settings).map(([field, value]) => `${field}: ${JSON.stringify(value)}`);
	terminal.say('The key is above, shown this once. For the configuration of the daemon:');
	terminal.say(`\nauth:\n  keys:\n    - { ${fields.join(', ')} }\n`);
	terminal.say(`Clients send it as "Authorization: Bearer …" or "X-API-Key: …"; this command line, from ORCHD_API_KEY.`);
}
