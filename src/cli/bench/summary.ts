/**
 * What a benchmark came to, in the shape and by the definitions of vLLM's `bench serve`: TTFT to the first token, TPOT the mean time of
 * each further token, ITL between the events that bring tokens, E2EL to the last one; percentiles by linear interpolation, over the
 * requests that went well. Goodput counts those that met every objective (Zhong et al., "DistServe", OSDI 2024). Pure.
 */
import type { Outcome } from './target.ts';

export const objectives = ['ttft', 'tpot', 'e2el'] as const;
export type Objective = (typeof objectives)[number];
/** Ms. */
export type Objectives = Readonly<Partial<Record<Objective, number>>>;

export interface Distribution {
	readonly mean: number;
	readonly median: number;
	readonly std: number;
	readonly percentiles: readonly (readonly [percent: number, value: number])[];
}

export interface Summary {
	readonly durationS: number;
	readonly completed: number;
	readonly failed: number;
	readonly tokensIn: number;
	readonly tokensOut: number;
	readonly requestsPerS: number;
	/** Null: there are no objectives. */
	readonly goodputPerS: number | null;
	readonly tokensOutPerS: number;
	readonly ttftMs: Distribution;
	readonly tpotMs: Distribution;
	readonly itlMs: Distribution;
	readonly e2elMs: Distribution;
	/** How far behind its schedule the load was sent: above a few ms the load generator is what was measured. */
	readonly lateMs: Distribution;
}

export function summarize(outcomes: readonly Outcome[], durationMs: number, percents: readonly number[], slo: Objectives): Summary {
	const good = outcomes.filter(({ error }) => error === null);
	const seconds = durationMs / 1000;
	const tokensOut = sum(good.map((each) => each.tokensOut));
	const hasObjectives = Object.keys(slo).length > 0;
	const of = (values: readonly number[]): Distribution => distribution(values, percents);
	return {
		durationS: seconds,
		completed: good.length,
		failed: outcomes.length - good.length,
		tokensIn: sum(good.map((each) => each.tokensIn)),
		tokensOut,
		requestsPerS: good.length / seconds,
		goodputPerS: hasObjectives ? good.filter((each) => meets(each, slo)).length / seconds : null,
		tokensOutPerS: tokensOut / seconds,
		ttftMs: of(good.map((each) => each.firstTokenMs ?? 0)),
		tpotMs: of(good.filter((each) => each.tokensOut > 1).map(tpotMs)),
		itlMs: of(good.flatMap(({ gapsMs }) => gapsMs)),
		e2elMs: of(good.map(({ latencyMs }) => latencyMs)),
		lateMs: of(outcomes.map(({ lateMs }) => lateMs)),
	};
}

export function tpotMs({ latencyMs, firstTokenMs, tokensOut }: Outcome): number {
	return tokensOut > 1 ? (latencyMs - (firstTokenMs ?? 0)) / (tokensOut - 1) : 0;
}

function meets(outcome: Outcome, slo: Objectives): boolean {
	const had: Readonly<Record<Objective, number>> = { ttft: outcome.firstTokenMs ?? 0, tpot: tpotMs(outcome), e2el: outcome.latencyMs };
	return objectives.every((name) => slo[name] === undefined || had[name] <= slo[name]);
}

export function distribution(values: readonly number[], percents: readonly number[]): Distribution {
	const sorted = Float64Array.from(values).sort();
	const mean = sorted.length === 0 ? 0 : sum(values) / sorted.length;
	const variance = sorted.length === 0 ? 0 : sum(values.map((value) => (value - mean) ** 2)) / sorted.length;
	return {
		mean,
		median: percentile(sorted, 50),
		std: Math.sqrt(variance),
		percentiles: percents.map((percent) => [percent, percentile(sorted, percent)] as const),
	};
}

/** Between the two nearest ranks, as numpy does it by default. */
function percentile(sorted: Float64Array, percent: number): number {
	if (sorted.length === 0) return 0;
	const at = ((sorted.length - 1) * percent) / 100;
	const below = sorted[Math.floor(at)] ?? 0;
	const above = sorted[Math.ceil(at)] ?? below;
	return below + (above - below) * (at - Math.floor(at));
}

function sum(values: readonly number[]): number {
	return values.reduce((total, value) => total + value, 0);
}

/** The fields of vLLM's result file; what is ours besides stands behind `orchestratord_`. */
export function resultJson(
	summary: Summary,
	outcomes: readonly Outcome[],
	about: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
	const start = Math.min(...outcomes.map(({ sentAt }) => sentAt));
	const named = (name: string, of: Distribution): [string, number][] => [
		[`mean_${name}_ms`, of.mean],
		[`median_${name}_ms`, of.median],
		[`std_${name}_ms`, of.std],
		...of.percentiles.map(([percent, value]): [string, number] => [`p${percent}_${name}_ms`, value]),
	];
	return {
		...about,
		duration: summary.durationS,
		completed: summary.completed,
		failed: summary.failed,
		total_input_tokens: summary.tokensIn,
		total_output_tokens: summary.tokensOut,
		request_throughput: summary.requestsPerS,
		request_goodput: summary.goodputPerS,
		output_throughput: summary.tokensOutPerS,
		total_token_throughput: (summary.tokensIn + summary.tokensOut) / summary.durationS,
		input_lens: outcomes.map(({ tokensIn }) => tokensIn),
		output_lens: outcomes.map(({ tokensOut, error }) => (error === null ? tokensOut : 0)),
		ttfts: outcomes.map(({ firstTokenMs }) => (firstTokenMs ?? 0) / 1000),
		itls: outcomes.map(({ gapsMs }) => gapsMs.map((ms) => ms / 1000)),
		start_times: outcomes.map(({ sentAt }) => (sentAt - start) / 1000),
		latencies: outcomes.map(({ latencyMs }) => latencyMs / 1000),
		errors: outcomes.map(({ error }) => error ?? ''),
		...Object.fromEntries([
			...named('ttft', summary.ttftMs),
			...named('tpot', summary.tpotMs),
			...named('itl', summary.itlMs),
			...named('e2el', summary.e2elMs),
		]),
		orchestratord_late_ms: summary.lateMs,
	};
}

/** One line a request. */
export function requestJson(outcome: Outcome): string {
	const { sentAt: _ours, gapsMs, ...rest } = outcome;
	return JSON.stringify({ ...rest, tpotMs: tpotMs(outcome), gapsMs });
}
