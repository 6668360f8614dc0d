/** Lines of a process, out of bytes cut anywhere. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import fc from 'fast-check';
import { readLines } from '../../src/engines/line-reader.ts';

async function linesOf(chunks: readonly Buffer[]): Promise<string[]> {
	const input = new PassThrough();
	const lines: string[] = [];
	readLines(input, (line) => lines.push(line));
	const ended = once(input, 'end');
	for (const chunk of chunks) input.write(chunk);
	input.end();
	await ended;
	return lines;
}

function cutInto(text: string, sizes: readonly number[]): Buffer[] {
	const bytes = Buffer.from(text);
	const chunks: Buffer[] = [];
	let from = 0;
	for (const size of sizes) {
		chunks.push(bytes.subarray(from, from + size));
		from += size;
	}
	return [...chunks, bytes.subarray(from)].filter(({ length }) => length > 0);
}

test('lines are the same however their bytes are cut, whichever way they end', async () => {
	const character = fc.constantFrom('a', 'é', '😀', '\n', '\r\n', '\r');
	await fc.assert(
		fc.asyncProperty(
			fc.array(character, { maxLength: 40 }),
			fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 20 }),
			async (parts, sizes) => {
				const text = parts.join('');
				const expected = text.split(/\r\n|\n|\r/);
				if (expected.at(-1) === '') expected.pop();
				assert.deepEqual(await linesOf(cutInto(text, sizes)), expected);
			},
		),
		{ numRuns: 60 },
	);
});

test('of a line without an end the beginning is told, and what follows it is read as ever', async () => {
	const lines = await linesOf([...Array.from({ length: 100 }, () => Buffer.alloc(1_000, 'x')), Buffer.from('\nnext\n')]);
	assert.deepEqual(
		lines.map((line) => line.length),
		[8_193, 4],
	);
	assert.equal(lines[1], 'next');
});
