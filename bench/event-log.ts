/**
 * Operation: one model token appended to a task's event log, from an engine's piece records to the bytes of its SSE
 * frame. Unit: nanoseconds a token, median of the runs after warm-up. Not measured: sockets, actors, watchers.
 */
import { EventLog } from '../src/actors/serving/event-log.ts';
import { pieceRecords } from '../test/serving/piece-records.ts';

const tokensARun = 1_000_000;
const runs = 9;
const cases = {
	'1 token a batch': [{ text: ' word' }],
	'1 token with its id': [{ text: ' word', ids: [12_345] }],
	'16 tokens a batch': Array.from({ length: 16 }, (_, i) => ({ text: i % 5 === 0 ? ' "a"\n' : ' word' })),
	'16 with log-probabilities': Array.from({ length: 16 }, () => ({ text: ' word', id: 12_345, logprob: -1.234567 })),
};
const rows = Object.entries(cases).map(([name, pieces]) => {
	const records = pieceRecords(pieces);
	const samples: number[] = [];
	for (let run = 0; run < runs + 2; run++) {
		const from = performance.now();
		for (let logs = 0; logs < 100; logs++) {
			const log = new EventLog(1 << 20);
			for (let tokens = 0; tokens < tokensARun / 100; tokens += pieces.length) log.appendPieces(records);
		}
		samples.push(((performance.now() - from) * 1e6) / tokensARun);
	}
	const sorted = samples.slice(2).sort((a, b) => a - b);
	return {
		case: name,
		nsPerToken: Math.round(sorted[runs >> 1] ?? 0),
		min: Math.round(sorted[0] ?? 0),
		max: Math.round(sorted[runs - 1] ?? 0),
	};
});
process.stdout.write(`${JSON.stringify({ bench: 'event-log', node: process.version, rows }, null, 1)}\n`);
