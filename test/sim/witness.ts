/**
 * What was logged of one task, noted as it happens, so that it is known also after the log was forgotten or its front died.
 * The truth that clients are compared with.
 */
import type { LoggedEventName } from '../../src/actors/serving/event-log-view.ts';
import type { TaskView } from '../../src/actors/serving/task-directory.ts';

export interface Logged {
	readonly seq: number;
	readonly name: LoggedEventName;
	readonly json: string;
}

export class Witness {
	readonly task: TaskView;
	readonly taskId: string;
	/** Of its front, with the incarnation. */
	readonly front: string;
	readonly events: Logged[] = [];
	/** Its front died before it had ended. */
	cutOff = false;
	/** It was cancelled, and the answer had come when so much was logged. */
	cancelledAt: number | null = null;
	/** It had its 202. */
	admitted = false;

	constructor(task: TaskView, front: string) {
		this.task = task;
		this.taskId = task.request.taskId;
		this.front = front;
		this.#look();
		task.log.subscribe(() => this.#look());
	}

	get ended(): boolean {
		const last = this.events.at(-1)?.name;
		return last === 'end' || last === 'error';
	}

	#look(): void {
		this.task.log.forEach(this.events.length, (seq, name, json) => this.events.push({ seq, name, json }));
	}
}

export interface Token {
	readonly t: string;
	readonly i: number;
	readonly n?: number;
}

export const jsonOf = (event: Logged): Record<string, unknown> => JSON.parse(event.json) as Record<string, unknown>;
