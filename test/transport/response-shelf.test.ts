/** What is kept of responses: so much and no more. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ResponseShelf, ShelfNote } from '../../src/transport/api/responses/response-shelf.ts';

function kept(shelf: ResponseShelf, texts: readonly string[]): () => (string | null)[] {
	const notes = texts.map((text) => new ShelfNote(text));
	for (const note of notes) shelf.keep(note);
	return () => notes.map(({ json }) => json);
}

test('keeps so many notes and so many bytes, and lets the oldest go', () => {
	assert.deepEqual(kept(new ResponseShelf({ countMax: 2, bytesMax: 100 }), ['a', 'b', 'c'])(), [null, 'b', 'c']);
	assert.deepEqual(kept(new ResponseShelf({ countMax: 9, bytesMax: 5 }), ['aa', 'bb', 'ccc'])(), [null, 'bb', 'ccc']);
	assert.deepEqual(kept(new ResponseShelf({ countMax: 9, bytesMax: 5 }), ['aa', 'é é é'])(), [null, null]);
	assert.deepEqual(kept(new ResponseShelf({ countMax: 0, bytesMax: 5 }), ['a'])(), [null]);
});

test('counts a note once, however often it is kept, and not at all when it is gone', () => {
	const shelf = new ResponseShelf({ countMax: 2, bytesMax: 4 });
	const [first, second] = [new ShelfNote('aa'), new ShelfNote('bb')];
	for (const note of [first, first, second, first, second]) shelf.keep(note);
	assert.deepEqual([first.json, second.json, shelf.count], ['aa', 'bb', 2]);
	first.drop();
	shelf.keep(first);
	const third = new ShelfNote('cc');
	shelf.keep(third);
	assert.deepEqual([first.json, second.json, third.json, shelf.count], [null, 'bb', 'cc', 2]);
});
