/** What a front notes of its tasks outlives it: whatever was noted, changed and forgotten before, the next thread reads what stood last. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bookMemory, type NotedTask, noCell, SharedTaskBook } from '../../src/actors/serving/task-book.ts';

function noted(taskId: string, more: Partial<NotedTask> = {}): NotedTask {
	const about = {
		modelRef: 'default',
		workload: 'completion',
		priority: 'batch',
		sessionId: null,
		correlationId: 'c',
		admittedAt: 1,
	} as const;
	return { taskId, tenant: 'a', bodyHash: 'ab'.repeat(32), keys: [], about, ...more };
}

const told = (book: SharedTaskBook): readonly NotedTask[] => book.recall().map(({ task }) => task);

test('the next thread reads what stood last, in the order of its notes, and goes on with it', () => {
	const memory = bookMemory();
	const book = new SharedTaskBook(memory);
	assert.deepEqual(book.recall(), []);
	const a = book.put(noted('a'), noCell);
	const b = book.put(noted('b'), noCell);
	book.put(noted('a', { keys: ['k'] }), a);
	book.put(noted('c', { about: null }), noCell);
	book.forget(b);
	const next = new SharedTaskBook(memory);
	const [first, second] = next.recall();
	assert.deepEqual([first?.task, second?.task], [noted('a', { keys: ['k'] }), noted('c', { about: null })]);
	next.forget(first?.cell ?? noCell);
	next.put(noted('d'), noCell);
	assert.deepEqual(told(new SharedTaskBook(memory)), [noted('c', { about: null }), noted('d')]);
});

test('whatever was noted, changed and forgotten, by any number of threads one after the other, nothing else is read', () => {
	const step = fc.record({
		what: fc.constantFrom('put', 'put', 'change', 'forget', 'next thread'),
		which: fc.nat(20),
		text: fc.string({ unit: 'grapheme', maxLength: 300 }),
	});
	fc.assert(
		fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
			const memory = bookMemory(1 << 20);
			let book = new SharedTaskBook(memory);
			const known = new Map<string, NotedTask>();
			let cells = new Map<string, number>();
			for (const [at, { what, which, text }] of steps.entries()) {
				const ids = [...known.keys()];
				const some = ids[which % Math.max(1, ids.length)];
				if (what === 'next thread') {
					book = new SharedTaskBook(memory);
					const found = book.recall();
					assert.deepEqual(new Map(found.map(({ task }) => [task.taskId, task])), known);
					cells = new Map(found.map(({ task, cell }) => [task.taskId, cell]));
				} else if (what === 'put') {
					const task = noted(`t${at}`, { tenant: text });
					known.set(task.taskId, task);
					cells.set(task.taskId, book.put(task, noCell));
				} else if (some !== undefined && what === 'change') {
					const task = noted(some, { keys: [text] });
					known.set(some, task);
					cells.set(some, book.put(task, cells.get(some) ?? noCell));
				} else if (some !== undefined) {
					known.delete(some);
					book.forget(cells.get(some) ?? noCell);
				}
			}
			assert.deepEqual(new Map(told(new SharedTaskBook(memory)).map((task) => [task.taskId, task])), known);
		}),
		{ numRuns: 200 },
	);
});

test('it takes no more memory than tasks stand in it, however many come and go, and never more than it may', () => {
	const memory = bookMemory(1 << 20);
	const book = new SharedTaskBook(memory);
	const cells: number[] = [];
	for (let i = 0; i < 50_000; i++) {
		cells.push(book.put(noted(`task-${i}`), noCell));
		if (cells.length > 100) book.forget(cells.shift() ?? noCell);
	}
	assert.equal(memory.byteLength, 256 * 1024, 'it has never grown');
	assert.equal(told(new SharedTaskBook(memory)).length, 100);
	let room = 0;
	while (book.put(noted(`more-${room}`), noCell) !== noCell) room += 1;
	assert.ok(room > 1_000, `${room}`);
	assert.equal(memory.byteLength, 1 << 20);
	const [last] = cells;
	assert.equal(book.put(noted('task-x', { tenant: 'x'.repeat(5_000) }), last ?? noCell), last, 'what has no room leaves what stood there');
	book.forget(last ?? noCell);
	assert.notEqual(book.put(noted('fits'), noCell), noCell);
});

test('a note that was being written when its thread ended is none, and one that was being replaced is there once', () => {
	const memory = bookMemory();
	const book = new SharedTaskBook(memory);
	book.put(noted('a'), noCell);
	// As if it had ended before the old note was taken away.
	book.put(noted('a', { keys: ['k'] }), noCell);
	const half = book.put(noted('b'), noCell);
	new Int32Array(memory)[half / 4] = 0;
	const next = new SharedTaskBook(memory);
	assert.deepEqual(told(next), [noted('a', { keys: ['k'] })]);
	next.put(noted('c'), noCell);
	assert.deepEqual(told(new SharedTaskBook(memory)), [noted('a', { keys: ['k'] }), noted('c')]);
});
