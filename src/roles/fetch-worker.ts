/**
 * The thread that fetches models: several pulls at once, each a job with a port of its own over which it tells how far it is and is called
 * off. What goes wrong comes back as a record: errors do not cross threads whole. It may hash and judge headers, for it serves nobody.
 */
import { closeSync, openSync } from 'node:fs';
import type { FetchJob, FetchNews, FetchOrder, FetchOutcome } from '../actors/catalog/fetch-messages.ts';
import type { GgufEntry } from '../actors/serving/catalog-messages.ts';
import { checkGguf } from '../engines/embedded/gguf-check.ts';
import { readGgufHeader } from '../engines/embedded/gguf-header.ts';
import { CatalogFolder } from '../fetch/catalog-folder.ts';
import { asFetchError, FetchCanceled, FetchError, problemOf } from '../fetch/fetch-error.ts';
import { pull } from '../fetch/pull.ts';
import { ggufEntryOf } from './file-worker.ts';

export interface FetchTask {
	readonly job: FetchJob;
	readonly port: InstanceType<typeof MessageChannel>['port2'];
}

const retry = { firstMs: 1_000, maxMs: 60_000, failuresMax: 8 };
const silentMs = 30_000;

export default async function work({ job, port }: FetchTask): Promise<FetchOutcome> {
	const canceled = new AbortController();
	let onRoom: (answer: Extract<FetchOrder, { type: 'room' }>) => void = () => undefined;
	port.on('message', (order: FetchOrder) => {
		if (order.type === 'cancel') canceled.abort();
		else onRoom(order);
	});
	const tell = (news: FetchNews): void => port.postMessage(news);
	const room = async (bytes: number): Promise<void> => {
		const answer = await new Promise<Extract<FetchOrder, { type: 'room' }>>((resolve) => {
			onRoom = resolve;
			tell({ type: 'room-wanted', bytes });
		});
		const folder = new CatalogFolder(job.root);
		for (const each of answer.remove) folder.remove(each);
		if (answer.problem !== null) throw new FetchError('POOL_UNAVAILABLE', answer.problem);
	};
	try {
		const model = await pull(job, {
			signal: canceled.signal,
			retry,
			silentMs,
			now: () => performance.now(),
			onProgress: (progress) => tell({ type: 'progress', progress }),
			room,
			judge,
		});
		return { type: 'fetched', model };
	} catch (thrown) {
		const error = asFetchError(thrown, job.ref);
		return error instanceof FetchCanceled ? { type: 'canceled' } : { type: 'failed', problem: problemOf(error) };
	} finally {
		port.close();
	}
}

function judge(path: string, isFirst: boolean): GgufEntry | null {
	if (isFirst) return ggufEntryOf(checkGguf(path));
	const file = openSync(path, 'r');
	try {
		// Further parts hold tensors alone: their headers must be sound, and say nothing of the model.
		readGgufHeader(file);
		return null;
	} finally {
		closeSync(file);
	}
}
