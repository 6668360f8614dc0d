/** The list of checkers in the documents is the list of checkers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readText } from '../tidy/source-files.ts';
import { checkers } from './checkers.ts';

test('the document about tests names every checker, in its words', () => {
	const rows = [...readText('docs/testing.md').matchAll(/^\| `(\w+)` \| (.*) \|$/gm)].map(([, name, words]) => [
		name,
		words?.replaceAll('\\|', '|'),
	]);
	assert.deepEqual(Object.fromEntries(rows), { ...checkers });
});
