/**
 * `models pull`: has the daemon fetch a model, and shows how far it is. Who leaves ends nothing: the pull is the daemon's, and goes on there.
 */
import { setTimeout as delay } from 'node:timers/promises';
import cliProgress from 'cli-progress';
import { ConnectionError, DaemonError } from '../client/index.ts';
import { serverSentEvents } from '../client/task-stream.ts';
import { type DaemonClient, envelopeProblem, isObject, type JsonObject, number, postJson, problemOf, text } from './daemon-client.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import { type AddOptions, addBody } from './models-add.ts';
import { byteSize } from './sizes.ts';
import type { Terminal } from './terminal.ts';

export interface PullOptions extends AddOptions {
	/** Returns once it has begun. */
	readonly detach: boolean;
}

const path = '/v2/catalog/models';
/** Connections in a row that bring nothing before it gives up. */
const attemptsMax = 6;

/** `name`: a ref, or what the catalog calls a model. */
export async function pullModel(
	client: DaemonClient,
	name: string,
	options: PullOptions,
	json: boolean,
	terminal: Terminal,
): Promise<ExitCode> {
	const id = await known(client, name, options);
	const begun = await postJson(client, `${path}/${encodeURIComponent(id)}/pull`, {});
	if (options.detach) {
		terminal.out(json ? `${JSON.stringify(begun)}\n` : `${id} is being fetched; models pull ${name} follows it\n`);
		return exitCodes.ok;
	}
	const interrupt = new AbortController();
	const stopListening = terminal.onInterrupt(() => interrupt.abort());
	try {
		const model = await followed(client, id, interrupt.signal, terminal);
		terminal.status(null);
		if (json) terminal.out(`${JSON.stringify(model)}\n`);
		else terminal.out(`${id} is here and verified: ${byteSize(model['size_bytes'])}, ${text(model['digest'])}\n`);
		return exitCodes.ok;
	} catch (error) {
		if (!interrupt.signal.aborted) throw error;
		terminal.status(null);
		terminal.say(`the daemon goes on fetching ${id}; models cancel ${id} calls it off`);
		return exitCodes.interrupted;
	} finally {
		stopListening();
	}
}

/** What the catalog calls it, once it knows it. */
async function known(client: DaemonClient, name: string, options: PullOptions): Promise<string> {
	const called = options.id ?? name;
	try {
		return text((await client.api.http.json<JsonObject>(`${path}/${encodeURIComponent(called)}`))['id']);
	} catch (error) {
		if (!(error instanceof DaemonError && error.status === 404)) throw problemOf(error);
	}
	try {
		return text((await client.api.http.json<JsonObject>(path, { method: 'POST', body: addBody(name, options) }))['id']);
	} catch (error) {
		// Known by the one text that its ref has.
		const same =
			error instanceof DaemonError && error.status === 409 ? /^there is a model (.*) already/.exec(error.message)?.[1] : undefined;
		if (same !== undefined) return same;
		throw problemOf(error);
	}
}

/** The model, once it is here. */
async function followed(client: DaemonClient, id: string, signal: AbortSignal, terminal: Terminal): Promise<JsonObject> {
	let toldNote = '';
	for (let attempt = 1; ; attempt += 1) {
		try {
			const headers = { accept: 'text/event-stream' };
			const response = await client.api.http.once(`${path}/${encodeURIComponent(id)}/events`, { headers, signal, timeoutMs: null });
			for await (const { event, data } of serverSentEvents(response, client.url, signal)) {
				attempt = 1;
				const told: unknown = JSON.parse(data);
				if (!isObject(told)) continue;
				if (event === 'end') return told;
				if (event === 'error') throw envelopeProblem(told);
				terminal.status(bar(told));
				const note = text(told['note']);
				if (note !== '' && note !== toldNote) terminal.say(note);
				toldNote = note;
			}
		} catch (error) {
			if (signal.aborted) throw error;
			if (!(error instanceof ConnectionError) || attempt >= attemptsMax) throw problemOf(error);
			terminal.note(`${error.message}; trying again`);
		}
		await delay(Math.min(5_000, 250 * 2 ** attempt), undefined, { signal });
	}
}

const barOptions = { barsize: 30, barCompleteString: '█'.repeat(30), barIncompleteString: '░'.repeat(30), barGlue: '' };

/** One line. */
export function bar(progress: JsonObject): string {
	const [done, total] = [number(progress['bytes_done']) ?? 0, number(progress['bytes_total'])];
	const [perS, etaMs] = [number(progress['bytes_per_s']), number(progress['eta_ms'])];
	const rate = perS === null ? '' : `, ${byteSize(perS)}/s`;
	if (total === null) return done === 0 ? text(progress['phase']) : `${byteSize(done)}${rate}`;
	const part = total === 0 ? 1 : Math.min(1, done / total);
	const eta = etaMs === null ? '' : `, ${cliProgress.Format.TimeFormat(Math.ceil(etaMs / 1000), { autopaddingChar: '0' }, 1)} to go`;
	const shown = cliProgress.Format.BarFormat(part, barOptions);
	return `${shown} ${Math.floor(part * 100)}%  ${byteSize(done)} of ${byteSize(total)}${rate}${eta}`;
}
