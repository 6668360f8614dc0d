/** The log when it cannot be written: lines are lost and counted, and the thread that logs does not notice. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { LogOutput } from '../../src/transport/telemetry/log-output.ts';

function broken(code: string): Error {
	return Object.assign(new Error(code), { code });
}

const lossLine = (count: number): string => `{"lost":${count}}\n`;

/** What a write does: takes so many bytes, or answers with the system's code. `null`: takes all. */
type Step = number | 'ENOSPC' | 'EPIPE' | 'EAGAIN' | null;

/** A descriptor that follows its steps, then takes all. */
function outputOver(steps: Step[], heldBytesMax?: number) {
	let text = '';
	const output = new LogOutput(
		(bytes) => {
			const step = steps.shift() ?? null;
			if (typeof step === 'string') throw broken(step);
			const count = Math.min(bytes.length, step ?? bytes.length);
			text += Buffer.from(bytes.subarray(0, count)).toString();
			return count;
		},
		lossLine,
		heldBytesMax,
	);
	return { output, text: () => text };
}

describe('a log that cannot be written', () => {
	it('loses lines while the disk is full, and says how many once there is room', () => {
		const { output, text } = outputOver([null, 'ENOSPC', 'ENOSPC', 'EPIPE']);
		for (const line of ['a', 'b', 'c', 'd', 'e', 'f']) output.write(`${line}\n`);
		assert.equal(text(), 'a\n{"lost":3}\ne\nf\n');
	});

	it('begins a new line behind one that the full disk has cut', () => {
		const { output, text } = outputOver([3, 'ENOSPC']);
		output.write('abcdef\n');
		output.write('next\n');
		assert.equal(text(), 'abc\n{"lost":1}\nnext\n');
	});

	it('holds lines for a reader that is behind, in order, and no more than its bound', () => {
		const { output, text } = outputOver([2, ...Array.from({ length: 8 }, () => 'EAGAIN' as const)], 20);
		output.write('first\n');
		output.write('second\n');
		output.write('third\n');
		assert.equal(text(), 'fi');
		assert.ok(output.heldBytes <= 20);
		for (let i = 0; i < 6; i++) output.write('x\n');
		output.write('last\n');
		const lines = text().trimEnd().split('\n');
		assert.deepEqual(lines.slice(0, 2), ['first', 'second']);
		assert.equal(lines.at(-1), 'last');
	});

	it('gives a reader that reads on what was held, without another line', () => {
		const arrived: string[] = [];
		const tries: (() => void)[] = [];
		let readsOn = false;
		const output = new LogOutput(
			(bytes) => {
				if (!readsOn) throw broken('EAGAIN');
				return arrived.push(Buffer.from(bytes).toString()) && bytes.length;
			},
			lossLine,
			undefined,
			(tryAgain) => tries.push(tryAgain),
		);
		output.write('held\n');
		output.write('too\n');
		assert.equal(tries.length, 1, 'one try is planned, whatever the number of lines');
		tries.shift()?.();
		assert.equal(tries.length, 1, 'the next one while it is still behind');
		readsOn = true;
		tries.shift()?.();
		assert.deepEqual(arrived, ['held\n', 'too\n']);
		assert.equal(tries.length, 0);
	});

	it('loses no line uncounted and changes the order of none, whatever the descriptor answers', () => {
		const step = fc.oneof(
			fc.constantFrom<Step>(null, 'ENOSPC', 'EPIPE', 'EAGAIN'),
			fc.integer({ min: 1, max: 40 }).map((count): Step => count),
		);
		fc.assert(
			fc.property(
				fc.array(step, { maxLength: 60 }),
				fc.integer({ min: 1, max: 40 }),
				fc.integer({ min: 0, max: 100 }),
				(drawn, lines, bound) => {
					const steps = [...drawn];
					const { output, text } = outputOver(steps, bound);
					for (let i = 0; i < lines; i++) output.write(`{"line":${i}}\n`);
					// the last ones find no step left, and bring all that is still held or untold
					let ticks = 0;
					for (let more = 2; more > 0; ticks++) {
						if (steps.length === 0) more -= 1;
						output.write('{"tick":true}\n');
					}
					const seen: number[] = [];
					let accounted = 0;
					let ticksSeen = 0;
					for (const line of text().trimEnd().split('\n')) {
						const whole = parsed(line);
						if (typeof whole?.['line'] === 'number') seen.push(whole['line']);
						if (typeof whole?.['lost'] === 'number') accounted += whole['lost'];
						if (whole?.['tick'] === true) ticksSeen += 1;
					}
					assert.deepEqual(
						seen,
						[...seen].sort((a, b) => a - b),
					);
					assert.equal(new Set(seen).size, seen.length);
					assert.equal(seen.length + ticksSeen + accounted, lines + ticks, text());
				},
			),
			{ numRuns: 1000 },
		);
	});
});

function parsed(line: string): Readonly<Record<string, unknown>> | null {
	try {
		return JSON.parse(line) as Readonly<Record<string, unknown>>;
	} catch {
		// a line that was cut
		return null;
	}
}
