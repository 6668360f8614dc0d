/** The state machine of one response, over a library that behaves like uWebSockets. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { UwsResponseSink } from '../../src/transport/http/response-sink.ts';
import { FakeRawResponse } from './fake-raw-response.ts';

const filler = Buffer.from(':\n\n');

function sinkOver(raw: FakeRawResponse, head = false): { sink: UwsResponseSink; bugs: unknown[] } {
	const bugs: unknown[] = [];
	const sink = new UwsResponseSink(
		raw,
		head,
		() => false,
		(_where, error) => bugs.push(error),
	);
	raw.aborted = () => sink.peerGone();
	return { sink, bugs };
}

const step = fc.oneof(
	{ weight: 6, arbitrary: fc.record({ do: fc.constant('write' as const), bytes: fc.integer({ min: 1, max: 40_000 }) }) },
	{ weight: 4, arbitrary: fc.record({ do: fc.constant('peer-reads' as const), bytes: fc.integer({ min: 1, max: 60_000 }) }) },
	{ weight: 1, arbitrary: fc.record({ do: fc.constantFrom('respond', 'start', 'end', 'abort', 'peer-leaves', 'corked') }) },
);

describe('a response', () => {
	it('reaches the library only while it lives, and loses no byte that it took, whatever the order of calls', () => {
		fc.assert(
			fc.property(fc.integer({ min: 0, max: 50_000 }), fc.array(step, { maxLength: 60 }), fc.boolean(), (room, steps, head) => {
				const raw = new FakeRawResponse(room);
				const { sink, bugs } = sinkOver(raw, head);
				let aborts = 0;
				let full = false;
				let expected = '';
				let started = false;
				sink.onAborted = () => {
					aborts += 1;
				};
				sink.onWritable = () => {
					assert.ok(full, 'told writable without a refused write');
					assert.equal(raw.backlog.length <= filler.length, true, 'told writable while the library still holds a write');
					full = false;
				};
				for (const [index, { do: action, ...more }] of steps.entries()) {
					const wasClosed = sink.closed;
					if (action === 'write' && 'bytes' in more) {
						if (!started || (full && !wasClosed)) continue;
						const text = String.fromCharCode(97 + (index % 26)).repeat(more.bytes);
						const accepted = sink.write(Buffer.from(text));
						if (wasClosed) assert.equal(accepted, false);
						else {
							expected += text;
							full = !accepted && !sink.closed;
						}
					} else if (action === 'peer-reads' && 'bytes' in more) raw.peerReads(more.bytes);
					else if (action === 'peer-leaves') raw.peerLeaves();
					else if (action === 'abort') sink.abort();
					else if (action === 'start' && !started) {
						sink.start(200, [['A', 'b']], filler);
						started = true;
					} else if (action === 'respond' && !started) {
						sink.respond(200, [], 'whole');
						if (!wasClosed && !head) expected = 'whole';
						started = true;
					} else if (action === 'end' && started) sink.end();
					else if (action === 'corked' && started && !full) {
						sink.corked(() => {
							const accepted = sink.write(Buffer.from('xy'));
							if (!wasClosed) full = !accepted;
						});
						if (!wasClosed) expected += 'xy';
					}
				}
				assert.deepEqual(raw.violations, []);
				assert.deepEqual(bugs, []);
				assert.equal(aborts, raw.closed && !raw.ended ? 1 : 0);
				if (raw.closed) return;
				raw.peerReads(10_000_000);
				raw.peerReads(10_000_000);
				assert.equal(raw.received.replaceAll(':\n\n', ''), expected);
			}),
			{ numRuns: 500 },
		);
	});

	it('finds out that a refused write has left, though the library does not say so', () => {
		const raw = new FakeRawResponse(100_000);
		const { sink } = sinkOver(raw);
		let writable = 0;
		sink.onWritable = () => {
			writable += 1;
		};
		sink.start(200, [], filler);
		assert.equal(sink.write(Buffer.alloc(120_000, 97)), false);
		assert.equal(sink.bufferedBytes, 120_000);
		raw.peerReads(5_000);
		assert.equal(writable, 0, 'part of it is still held');
		raw.peerReads(50_000);
		assert.equal(writable, 1);
		assert.equal(sink.write(Buffer.alloc(10, 98)), true);
	});

	it('drains what a cork took and the socket silently refused', () => {
		const raw = new FakeRawResponse(10);
		const { sink } = sinkOver(raw);
		sink.start(200, [], filler);
		assert.equal(sink.write(Buffer.alloc(100, 97)), true, 'the cork does not ask the socket');
		assert.equal(raw.backlog.length, 90);
		raw.peerReads(1000);
		assert.equal(raw.backlog, '');
		assert.equal(raw.received.length, 100);
	});

	it('answers HEAD with headers and a length, and no body', () => {
		const raw = new FakeRawResponse();
		const { sink } = sinkOver(raw, true);
		sink.respond(200, [['Content-Type', 'text/plain']], 'four');
		assert.equal(raw.received, '');
		assert.deepEqual(raw.headers, [
			['Content-Type', 'text/plain'],
			['Content-Length', '4'],
		]);
		assert.ok(sink.closed);
	});

	it('reports what a callback throws instead of letting it through the library', () => {
		const raw = new FakeRawResponse();
		const { sink, bugs } = sinkOver(raw);
		sink.onAborted = () => {
			throw new Error('in the callback');
		};
		sink.start(200, [], filler);
		raw.peerLeaves();
		assert.equal(bugs.length, 1);
	});

	it('carries an exception around the cork to its caller', () => {
		const raw = new FakeRawResponse();
		const { sink } = sinkOver(raw);
		sink.start(200, [], filler);
		assert.throws(
			() =>
				sink.corked(() => {
					throw new Error('inside');
				}),
			/inside/,
		);
		assert.equal(sink.write(Buffer.from('still works')), true);
		assert.equal(raw.received, 'still works');
	});
});
