/**
 * One life of a daemon in a crash test: clients look at what was told before, submit, cancel, repeat and watch, until it is killed in the
 * midst of it. What they are told goes into the ledger; a connection that breaks is the daemon's death, and says nothing.
 */
import type { SeededRandom } from '../../src/actors/kernel/seeded-random.ts';
import { postJson, Watch } from './client.ts';
import type { CrashLedger, TaskBody, Told } from './crash-ledger.ts';

/** Accepted, and without an end: more are not submitted, so that each life has a few of every state. */
const openMax = 40;
const tokensMax = 40;
const seeds = 3;
const settledStates: ReadonlySet<unknown> = new Set(['done', 'canceled', 'failed']);

/** The daemon is dead, or was about to be. */
class Broken extends Error {}

export class CrashLife {
	readonly #url: string;
	readonly #ledger: CrashLedger;
	readonly #random: SeededRandom;
	readonly life: number;
	/** Each is watched by one at a time. */
	readonly #watched = new Set<Told>();
	#over = false;

	constructor(url: string, ledger: CrashLedger, random: SeededRandom, life: number) {
		this.#url = url;
		this.#ledger = ledger;
		this.#random = random;
		this.life = life;
	}

	/** Nothing is submitted any more. */
	end(): void {
		this.#over = true;
	}

	/** Everything that can be asked of before, and what it takes for it to end. Rejects with nothing but bugs of this test. */
	async recall(): Promise<void> {
		const all = this.#ledger.all.filter((told) => told.end === null || told.life >= this.life - 2 || told.checked === 0 || this.#chance(5));
		await Promise.all(all.map((told) => unlessBroken(this.#look(told))));
	}

	/** `clients` at once, until the daemon is dead or the life is over. */
	async load(clients: number): Promise<void> {
		await Promise.all(Array.from({ length: clients }, () => unlessBroken(this.#client())));
	}

	/** Each id that was told is listed, and no more tasks than were asked for are there. */
	async list(): Promise<void> {
		const listed = new Set<string>();
		for (let cursor: string | null = ''; cursor !== null; ) {
			const answer = await this.#ask(`/v2/tasks?limit=1000${cursor === '' ? '' : `&cursor=${cursor}`}`);
			const page = JSON.parse(answer.text) as { tasks: { task_id: string }[]; next_cursor: string | null };
			for (const { task_id: id } of page.tasks) listed.add(id);
			cursor = page.next_cursor;
		}
		const { all } = this.#ledger;
		for (const told of all) if (told.taskId !== null && !listed.has(told.taskId)) this.#ledger.fail(told, 'is not listed');
		if (listed.size > all.length) this.#ledger.broken.push(`${listed.size} tasks of ${all.length} requests`);
	}

	async #client(): Promise<void> {
		while (!this.#over) {
			if (this.#ledger.open.length < openMax) await this.#newTask();
			else await pause(5);
			await pause(this.#random.below(20));
		}
	}

	async #newTask(): Promise<void> {
		const random = this.#random;
		const seed = 1 + random.below(seeds);
		const body: TaskBody = {
			model_ref: 'default',
			prompt: `story ${seed}`,
			seed,
			max_tokens: 1 + random.below(tokensMax),
			priority: 'batch',
			...(this.#chance(30) ? { task_id: this.#uuid() } : {}),
		};
		const told = this.#ledger.add(body, this.#chance(40) ? `key-${this.#uuid()}` : null, this.life);
		const kind = random.below(4);
		await this.#submit(told);
		if (kind === 0 && told.taskId !== null) {
			await pause(random.below(150));
			await this.#cancel(told);
		} else if (kind === 1 && told.key !== null) await this.#submit(told);
		if (kind !== 2) void unlessBroken(this.#watch(told));
	}

	async #submit(told: Told): Promise<void> {
		const answer = await this.#post('/v2/tasks', told.body, told.key === null ? {} : { 'idempotency-key': told.key });
		const { task_id: id, retriable, code } = JSON.parse(answer.text) as { task_id?: string; retriable?: boolean; code?: string };
		if (answer.status === 202 && id !== undefined) this.#ledger.accepted(told, id);
		else if (retriable !== true || told.taskId !== null) this.#ledger.fail(told, `was answered ${answer.status} ${code}`);
	}

	async #cancel(told: Told): Promise<void> {
		if (told.cancel === 'no') told.cancel = 'asked';
		const { status } = await this.#post(`/v2/tasks/${told.taskId}/cancel`, {});
		if (status !== 204) return this.#ledger.fail(told, `a cancel was answered ${status}`);
		told.cancel = 'told';
		this.#ledger.counts.cancelled += 1;
	}

	/** From before: it is as it was told, or goes on. */
	async #look(told: Told): Promise<void> {
		const { counts } = this.#ledger;
		if (told.taskId === null) {
			// Nobody knows whether it was taken; the same request again is the same task.
			if (told.key === null && told.body.task_id === undefined) return;
			if (told.cancel === 'no') await this.#submit(told);
			if (told.taskId !== null) counts.again += 1;
		} else if (told.key !== null && this.#chance(50)) await this.#submit(told);
		if (told.taskId === null) return;
		const { status, text } = await this.#ask(`/v2/tasks/${told.taskId}`);
		if (status !== 200) return this.#ledger.fail(told, `was answered ${status} in life ${this.life}`);
		const { state } = JSON.parse(text) as { state: string };
		if ((told.cancel === 'told' || told.end !== null) && !settledStates.has(state))
			return this.#ledger.fail(told, `is ${state} again in life ${this.life}`);
		if (told.end !== null && (state === 'canceled') !== (told.end.event.data['canceled'] === true))
			return this.#ledger.fail(told, `is ${state} in life ${this.life}`);
		await this.#watch(told, await this.#resume(told));
	}

	/** Behind what was seen of it: the rest of that run, or word that there is none. */
	async #resume(told: Told): Promise<'same' | 'later' | null> {
		const last = told.events.at(-1);
		if (last === undefined) return null;
		const { status, text } = await this.#ask(`/v2/tasks/${told.taskId}/events`, { 'last-event-id': `${told.run}.${last.id}` }, 410);
		if (status === 410) {
			this.#ledger.counts.expired += 1;
			const { code } = JSON.parse(text) as { code: string };
			if (code !== 'EVENTS_EXPIRED' || told.end !== null) this.#ledger.fail(told, `its watcher was answered 410 ${code}`);
			return 'later';
		}
		// 204: what an EventSource is told that has read all.
		if (status === (last === told.end?.event ? 204 : 200)) this.#ledger.counts.resumed += 1;
		else this.#ledger.fail(told, `its watcher was answered ${status}`);
		return 'same';
	}

	/** From its first event to its end; then its result. */
	async #watch(told: Told, expected: 'same' | 'later' | null = null): Promise<void> {
		if (told.taskId === null || this.#watched.has(told)) return;
		this.#watched.add(told);
		const seenRun = told.run;
		const watch = await Watch.open(this.#url, told.taskId).catch((error: unknown) => {
			if (error instanceof Error && error.message.startsWith('GET events')) this.#ledger.fail(told, error.message);
			return broken(error);
		});
		let before = 0;
		let ends = 0;
		for (let event = await watch.next().catch(broken); event !== null; event = await watch.next().catch(broken)) {
			if (event.name === 'metrics') continue;
			if (ends > 0) this.#ledger.fail(told, `${event.name} behind the end`);
			if (event.name === 'token' && (event.id ?? 0) <= before) this.#ledger.fail(told, `token ${event.id} behind ${before}`);
			before = event.id ?? 0;
			if (event.name === 'end' || event.name === 'error') ends += 1;
			this.#ledger.saw(told, event, this.life);
			if (expected === null) continue;
			if ((event.run === seenRun) !== (expected === 'same'))
				this.#ledger.fail(told, `run ${event.run}, where ${expected} was told as ${seenRun}`);
		}
		if (ends !== 1) return this.#ledger.fail(told, `a stream had ${ends} ends`);
		const { status, text } = await this.#ask(`/v2/tasks/${told.taskId}/result`);
		if (status !== 200) this.#ledger.fail(told, `its result was answered ${status}`);
		const result = JSON.stringify({ ...(JSON.parse(text) as object), watchers: 0 });
		told.result ??= result;
		if (told.result !== result) this.#ledger.fail(told, `its result was ${told.result}, is ${result}`);
		told.checked = this.life;
	}

	#chance(percent: number): boolean {
		return this.#random.below(100) < percent;
	}

	#uuid(): string {
		const digits = Array.from({ length: 30 }, () => this.#random.below(16).toString(16)).join('');
		return `${digits.slice(0, 8)}-${digits.slice(8, 12)}-4${digits.slice(12, 15)}-8${digits.slice(15, 18)}-${digits.slice(18, 30)}`;
	}

	async #post(path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
		return await answerOf(postJson(this.#url, path, body, headers));
	}

	/** An event stream that is answered is left at once, but for one that is refused. */
	async #ask(path: string, headers: Readonly<Record<string, string>> = {}, refusal?: number): Promise<Answer> {
		if (refusal === undefined) return await answerOf(fetch(`${this.#url}${path}`, { headers }));
		const abort = new AbortController();
		const response = await fetch(`${this.#url}${path}`, { headers, signal: abort.signal }).catch(broken);
		if (response.status === refusal) return await answerOf(Promise.resolve(response));
		abort.abort();
		return { status: response.status, text: '' };
	}
}

interface Answer {
	readonly status: number;
	readonly text: string;
}

async function answerOf(response: Promise<Response>): Promise<Answer> {
	try {
		const { status } = await response;
		return { status, text: await (await response).text() };
	} catch (error) {
		return broken(error);
	}
}

function broken(error: unknown): never {
	throw new Broken('the connection broke', { cause: error });
}

async function unlessBroken(work: Promise<void>): Promise<void> {
	await work.catch((error: unknown) => {
		if (!(error instanceof Broken)) throw error;
	});
}

function pause(ms: number): Promise<void> {
	return new Promise((resolve) => setTimeout(resolve, ms));
}
