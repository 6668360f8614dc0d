/**
 * The thread that fetches models, as main uses it: begun with the first pull and ended when there has been none for a while. Pulls that are
 * called off, and those of a daemon that ends, leave what has come so that the next one goes on behind it.
 */
import type { Piscina } from 'piscina';
import type { FetchJob, FetchNews, FetchOrder, FetchOutcome } from './actors/catalog/fetch-messages.ts';

export interface FetchJobs {
	/** `done` is called once, in a later turn. What is returned tells the job something. */
	start(job: FetchJob, heard: (news: FetchNews) => void, done: (outcome: FetchOutcome) => void): (order: FetchOrder) => void;
	close(): Promise<void>;
}

/** Pulls at once. More of them only share the same line. */
export const pullsMax = 4;
const idleMs = 5_000;
const closeMs = 2_000;

export function fetchJobs(): FetchJobs {
	const filename = new URL(`./roles/fetch-worker${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url).href;
	let pool: Promise<Piscina> | null = null;
	// Not loaded before it is needed: most daemons fetch nothing.
	const poolOf = (): Promise<Piscina> => {
		pool ??= import('piscina').then(
			({ Piscina: Pool }) => new Pool({ filename, minThreads: 0, maxThreads: 1, concurrentTasksPerWorker: pullsMax, idleTimeout: idleMs }),
		);
		return pool;
	};
	const running = new Set<{ readonly order: (order: FetchOrder) => void; readonly over: Promise<void> }>();
	return {
		start(job, heard, done) {
			const { port1: ours, port2: theirs } = new MessageChannel();
			ours.on('message', (news: FetchNews) => heard(news));
			const order = (each: FetchOrder): void => ours.postMessage(each);
			const over = poolOf()
				.then((each) => each.run({ job, port: theirs }, { transferList: [theirs] }))
				.then(
					(outcome) => outcome as FetchOutcome,
					(error: unknown): FetchOutcome => {
						const message = `the fetching thread is gone: ${error instanceof Error ? error.message : String(error)}`;
						return { type: 'failed', problem: { code: 'POOL_UNAVAILABLE', message, retriable: true } };
					},
				)
				.then((outcome) => {
					running.delete(one);
					ours.close();
					done(outcome);
				});
			const one = { order, over };
			running.add(one);
			return order;
		},
		async close() {
			for (const { order } of running) order({ type: 'cancel' });
			const all = Promise.all([...running].map(({ over }) => over));
			await Promise.race([all, new Promise((resolve) => setTimeout(resolve, closeMs).unref())]);
			await (await pool)?.destroy();
		},
	};
}
