/** The report of a benchmark as one HTML file: numbers and two drawings, no script, nothing from elsewhere. Pure. */
import type { Distribution, Summary } from './summary.ts';
import { tpotMs } from './summary.ts';
import type { Outcome } from './target.ts';

export interface Group {
	/** Of a tenant; null: all. */
	readonly name: string | null;
	readonly summary: Summary;
	readonly outcomes: readonly Outcome[];
}

const width = 640;
const height = 260;
const left = 56;
const bottom = 32;

export function reportHtml(title: string, about: readonly (readonly [string, string])[], groups: readonly Group[]): string {
	const [all] = groups;
	const good = (all?.outcomes ?? []).filter(({ error }) => error === null);
	const start = Math.min(...good.map(({ sentAt }) => sentAt));
	return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>${safe(title)}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 52rem; padding: 0 1rem; color: #1c2330; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #dde2ea; }
th:first-child, td:first-child { text-align: left; } h2 { margin-top: 2rem; font-size: 1.1rem; } svg { max-width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: #566176; } .line { fill: none; stroke-width: 2; } .grid { stroke: #e6eaf1; }
</style>
<h1>${safe(title)}</h1>
<table>${about.map(([name, value]) => `<tr><td>${safe(name)}</td><td>${safe(value)}</td></tr>`).join('')}</table>
${groups.map(table).join('\n')}
<h2>Share of requests with at most so many ms</h2>
${drawing([
	['to the first token', '#2563eb', shares(good.map(({ firstTokenMs }) => firstTokenMs ?? 0))],
	['each further token', '#0f9d6b', shares(good.map(tpotMs))],
])}
<h2>Ms to the first token, by second of the run</h2>
${drawing([['median', '#2563eb', bySecond(good, start)]])}
</html>
`;
}

function table({ name, summary }: Group): string {
	const { completed, failed, durationS, requestsPerS, goodputPerS, tokensOutPerS, tokensIn, tokensOut } = summary;
	const rows: readonly (readonly [string, Distribution])[] = [
		['TTFT', summary.ttftMs],
		['TPOT', summary.tpotMs],
		['ITL', summary.itlMs],
		['E2E', summary.e2elMs],
		['sent late', summary.lateMs],
	];
	const percents = summary.ttftMs.percentiles.map(([percent]) => `p${percent}`);
	const goodput = goodputPerS === null ? '' : `, goodput ${goodputPerS.toFixed(2)}/s`;
	return `<h2>${name === null ? 'All requests' : `Tenant ${safe(name)}`}</h2>
<p>${completed} completed, ${failed} failed in ${durationS.toFixed(1)} s: ${requestsPerS.toFixed(2)} requests/s${goodput}, ${tokensOutPerS.toFixed(1)} tokens/s (${tokensIn} in, ${tokensOut} out)</p>
<table><tr><th>ms</th>${['mean', 'median', ...percents].map((head) => `<th>${head}</th>`).join('')}</tr>
${rows
	.map(
		([label, of]) =>
			`<tr><td>${label}</td>${[of.mean, of.median, ...of.percentiles.map(([, value]) => value)].map((value) => `<td>${value.toFixed(2)}</td>`).join('')}</tr>`,
	)
	.join('\n')}</table>`;
}

type Points = readonly (readonly [x: number, y: number])[];

/** Up to the 99th percentile: a single straggler would press the rest to the edge. */
function shares(values: readonly number[]): Points {
	const sorted = [...values].sort((a, b) => a - b);
	const kept = sorted.slice(0, Math.max(1, Math.ceil(sorted.length * 0.99)));
	return kept.map((value, index) => [value, ((index + 1) / sorted.length) * 100]);
}

function bySecond(outcomes: readonly Outcome[], start: number): Points {
	const seconds = new Map<number, number[]>();
	for (const { sentAt, firstTokenMs } of outcomes) {
		const second = Math.floor((sentAt - start) / 1000);
		seconds.set(second, [...(seconds.get(second) ?? []), firstTokenMs ?? 0]);
	}
	return [...seconds]
		.sort(([a], [b]) => a - b)
		.map(([second, times]) => [second, times.sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0]);
}

function drawing(lines: readonly (readonly [label: string, color: string, points: Points])[]): string {
	const all = lines.flatMap(([, , points]) => points);
	const maxX = Math.max(...all.map(([x]) => x), 1);
	const maxY = Math.max(...all.map(([, y]) => y), 1);
	const toX = (x: number): number => left + (x / maxX) * (width - left - 16);
	const toY = (y: number): number => height - bottom - (y / maxY) * (height - bottom - 24);
	const ticks = [0, 0.25, 0.5, 0.75, 1];
	return `<svg viewBox="0 0 ${width} ${height}" role="img">
${ticks.map((part) => `<line class="grid" x1="${left}" x2="${width - 16}" y1="${toY(part * maxY)}" y2="${toY(part * maxY)}"/><text x="${left - 6}" y="${toY(part * maxY) + 4}" text-anchor="end">${short(part * maxY)}</text><text x="${toX(part * maxX)}" y="${height - 10}" text-anchor="middle">${short(part * maxX)}</text>`).join('\n')}
${lines.map(([label, color, points], index) => `<polyline class="line" stroke="${color}" points="${points.map(([x, y]) => `${toX(x).toFixed(1)},${toY(y).toFixed(1)}`).join(' ')}"/><text x="${left + 8 + index * 160}" y="14" style="fill:${color}">${safe(label)}</text>`).join('\n')}
</svg>`;
}

function short(value: number): string {
	return value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toFixed(2);
}

function safe(text: string): string {
	return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
