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
	const names = (key: string): string => (Array.isArray(answer[key]) ? answer[key].map(text).join(', ') : '');
	const words = { added: 'added', removed: 'ending', changed: 'changed', unchanged: 'unchanged', restart_needed: 'only a restart applies' };
	for (const [key, word] of Object.entries(words)) if (names(key) !== '') terminal.out(`${word}: ${names(key)}\n`);
	return exitCodes.ok;
}
