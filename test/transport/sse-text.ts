/** Reads server-sent events from text, with a library of its own, and checks the order that the contract promises. */
import assert from 'node:assert/strict';
import { createParser } from 'eventsource-parser';

export interface SeenEvent {
	readonly id: number | null;
	readonly name: string;
	readonly data: Record<string, unknown>;
}

export interface Seen {
	readonly events: readonly SeenEvent[];
	readonly comments: readonly string[];
}

export function readSse(text: string): Seen {
	const events: SeenEvent[] = [];
	const comments: string[] = [];
	const parser = createParser({
		onEvent: ({ id, event, data }) =>
			events.push({
				id: id === undefined ? null : Number(id),
				name: event ?? 'message',
				data: JSON.parse(data) as Record<string, unknown>,
			}),
		onComment: (comment) => comments.push(comment),
	});
	parser.feed(text);
	return { events, comments };
}

export function named(seen: Seen, name: string): readonly SeenEvent[] {
	return seen.events.filter((event) => event.name === name);
}

export interface TokenData {
	readonly t: string;
	readonly i: number;
}

export function tokensOf(seen: Seen): readonly TokenData[] {
	return named(seen, 'token').flatMap(({ data }) => {
		const batch = data['batch'];
		return (Array.isArray(batch) ? batch : [data]) as TokenData[];
	});
}

export function textOf(seen: Seen): string {
	return tokensOf(seen)
		.map(({ t }) => t)
		.join('');
}

/** No gap, no duplicate, nothing behind the terminal event, `metrics` without id. `firstToken` is the `i` to begin with. */
export function checkStream(seen: Seen, firstToken = 0): void {
	let lastId = 0;
	let ended = false;
	for (const { id, name } of seen.events) {
		assert.ok(!ended, `${name} behind the terminal event`);
		if (name === 'metrics') {
			assert.equal(id, null);
			continue;
		}
		assert.ok(id !== null && id > lastId, `id ${id} after ${lastId}`);
		lastId = id;
		if (name === 'end' || name === 'error') ended = true;
	}
	for (const [index, { i }] of tokensOf(seen).entries()) assert.equal(i, firstToken + index);
}
