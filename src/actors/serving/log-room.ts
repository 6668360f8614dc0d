/**
 * What one running task has of the space for logs: for its events, and four bytes for the id of each token where it may have to
 * go on elsewhere. Part of the Task actor, same thread and turn.
 */
import { isMovable } from './continuation.ts';
import { type LogSpace, logBytesFor, logHeadBytes, tokenIdBytes } from './log-space.ts';
import type { TaskRecord } from './task-record.ts';

const growthBytes = 65_536;

export class LogRoom {
	readonly #record: TaskRecord;
	readonly #space: LogSpace;
	#idBytes = 0;

	constructor(record: TaskRecord, space: LogSpace) {
		this.#record = record;
		this.#space = space;
	}

	/** For so many tokens in all. False: there is no space for them. */
	reserve(outputMax: number): boolean {
		const { request } = this.#record;
		this.#idBytes = isMovable(request) ? outputMax * tokenIdBytes : 0;
		return this.#resize(logBytesFor(request, outputMax));
	}

	/** After each append. False: the texts are longer than what was reserved for them, and there is no more. */
	holds(): boolean {
		const { log } = this.#record;
		if (log.bytes <= log.bytesExpected) return true;
		const bytes = log.bytes + this.#idBytes;
		return this.#resize(bytes + growthBytes) || this.#resize(bytes + logHeadBytes);
	}

	#resize(bytes: number): boolean {
		const { log, logLease } = this.#record;
		if (!this.#space.resize(logLease, Math.max(bytes, log.bytes + this.#idBytes))) return false;
		log.bytesExpected = logLease.bytes - this.#idBytes;
		return true;
	}
}
