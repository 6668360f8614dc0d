/** `config reload`: has the daemon read its configuration anew, and says what came of it. */
import { type DaemonClient, postJson, text } from './daemon-client.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import type { Terminal } from './terminal.ts';

export async function reloadConfig(client: DaemonClient, json: boolean, terminal: Terminal): Promise<ExitCode> {
	const answer = await postJson(client, '/v2/config/reload', {});
	if (json) {
		terminal.out(`${JSON.stringify(answer)}\n`);
		return exitCodes.ok;
	}
	const told = (word: string, names: unknown): void => {
		if (Array.isArray(names) && names.length > 0) terminal.out(`${word}: ${names.map(text).join(', ')}\n`);
	};
	const words = { added: 'added', removed: 'ending', changed: 'changed', unchanged: 'unchanged' };
	for (const [key, word] of Object.entries(words)) told(word, answer[key]);
	const keys = (answer['keys'] ?? {}) as Readonly<Record<string, unknown>>;
	const ofKeys = { added: 'keys added', removed: 'keys revoked', changed: 'keys changed' };
	for (const [key, word] of Object.entries(ofKeys)) told(word, keys[key]);
	told('only a restart applies', answer['restart_needed']);
	return exitCodes.ok;
}
