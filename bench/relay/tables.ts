/** What `relay` says of its samples: for each number of streams and subject the medians, and the median ratios to others of the same run. */
import { type Column, figure, median, spread, table } from '../report.ts';
import { type SubjectName, subjectNames } from '../subjects.ts';
import type { LoadResult } from './load.ts';

/** CPU of the relay's processes in µs; null where there is no relay. */
export interface Sample {
	readonly subject: SubjectName;
	readonly streams: number;
	readonly run: number;
	/** All of it, over all tokens. */
	readonly cpuUsPerToken: number | null;
	/** While all streams run; NaN where there was no such time. */
	readonly steadyCpuUsPerToken: number | null;
	/** What is not of the tokens. */
	readonly cpuUsPerStream: number | null;
	readonly residentKibPerStream: number | null;
	readonly load: LoadResult;
}

type Figure = readonly [title: string, digits: number, of: (sample: Sample) => number];

const at =
	(of: (result: LoadResult) => readonly number[], index: number, unit = 1) =>
	(sample: Sample): number =>
		(of(sample.load)[index] ?? Number.NaN) / unit;
const cpu = (sample: Sample): number => sample.cpuUsPerToken ?? Number.NaN;
const steadyCpu = (sample: Sample): number => sample.steadyCpuUsPerToken ?? Number.NaN;
const loadCpu = (sample: Sample): number => sample.load.cpuUs / sample.load.tokens;

const pacedFigures: readonly Figure[] = [
	['first token p50 ms', 2, at((load) => load.firstUs, 0, 1000)],
	['delay p50 µs', 0, at((load) => load.delayUs, 0)],
	['delay p90 µs', 0, at((load) => load.delayUs, 1)],
	['delay p99 µs', 0, at((load) => load.delayUs, 2)],
	['gap p99.9 ms', 1, at((load) => load.gapUs, 2, 1000)],
	['CPU µs/token', 1, cpu],
	['steady', 1, steadyCpu],
	['CPU µs/stream', 0, (sample) => sample.cpuUsPerStream ?? Number.NaN],
	['load CPU µs/token', 1, loadCpu],
	['RSS KiB/stream', 1, (sample) => sample.residentKibPerStream ?? Number.NaN],
];
const flatFigures: readonly Figure[] = [
	['tokens/s', 0, (sample) => sample.load.tokensPerS],
	['CPU µs/token', 2, cpu],
	['load CPU µs/token', 2, loadCpu],
];

export function pacedTable(samples: readonly Sample[]): string {
	return tableOf(samples, pacedFigures);
}

export function flatTable(samples: readonly Sample[]): string {
	return tableOf(samples, flatFigures);
}

/** What accounting and logging cost: CPU per token over that of the relay of ours that passes bytes on, in the same run. */
export function passThroughWords(samples: readonly Sample[]): string {
	const ours = samples.filter(({ subject }) => subject === 'orchestratord');
	const of = (sample: Sample): number => (Number.isNaN(steadyCpu(sample)) ? cpu(sample) : steadyCpu(sample));
	const kinds = [...new Set(ours.map(({ streams, load }) => `${streams}:${load.expected}`))];
	const said = kinds.map((kind) => {
		const group = ours.filter(({ streams, load }) => `${streams}:${load.expected}` === kind);
		const flat = group.some((sample) => Number.isNaN(steadyCpu(sample)));
		return `${group[0]?.streams} streams${flat ? ' flat out' : ''} ${spread(ratios(group, samples, 'pass-through', of), 2)}`;
	});
	return `CPU per token over that of pass-through, median ratio (least–most): ${said.join(', ')}`;
}

function ratios(group: readonly Sample[], all: readonly Sample[], to: SubjectName, of: (sample: Sample) => number): number[] {
	return group
		.map((sample) => {
			const other = all.find(
				({ subject, streams, run, load }) =>
					subject === to && streams === sample.streams && run === sample.run && load.expected === sample.load.expected,
			);
			return other === undefined ? Number.NaN : of(sample) / of(other);
		})
		.filter((ratio) => Number.isFinite(ratio));
}

/** One figure of a subject at a number of streams: its median, and the median of its ratios to nginx in the same runs. */
function cell(samples: readonly Sample[], all: readonly Sample[], [, digits, of]: Figure): string {
	const value = figure(median(samples.map(of)), digits);
	if (samples[0]?.subject === 'nginx') return value;
	const toNginx = ratios(samples, all, 'nginx', of);
	return toNginx.length === 0 ? value : `${value} (${figure(median(toNginx), 2)})`;
}

function tableOf(samples: readonly Sample[], figures: readonly Figure[]): string {
	const counts = [...new Set(samples.map((sample) => sample.streams))];
	const rows = counts.flatMap((streams) => subjectNames.map((name) => samples.filter((s) => s.streams === streams && s.subject === name)));
	const sum = (group: readonly Sample[], of: (result: LoadResult) => number): string =>
		figure(group.reduce((total, sample) => total + of(sample.load), 0));
	const columns: Column<readonly Sample[]>[] = [
		{ title: 'streams', cell: (group) => String(group[0]?.streams ?? '') },
		{ title: 'relay', cell: (group) => group[0]?.subject ?? '' },
		...figures.map((each) => ({ title: each[0], cell: (group: readonly Sample[]) => cell(group, samples, each) })),
		{ title: '38-44 ms', cell: (group) => `${figure(median(group.map((sample) => sample.load.fortyMsShare)) * 100, 2)} %` },
		{ title: 'lost', cell: (group) => sum(group, (result) => result.lost) },
		{ title: 'repeated', cell: (group) => sum(group, (result) => result.repeated) },
		{ title: 'errors', cell: (group) => sum(group, (result) => result.errors) },
	];
	return table(
		rows.filter((group) => group.length > 0),
		columns,
	);
}
