/** Values of the Prometheus text that engines answer `GET /metrics` with. Pure. */

/** The sum over all series of a metric, or of those with such a label; null: it has none. */
export function metricSum(text: string, name: string, label = ''): number | null {
	const values = valuesOf(text, name, label);
	return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0);
}

/** The mean over all series of the first of these metrics that is there; null: none is. */
export function metricMean(text: string, names: readonly string[]): number | null {
	for (const name of names) {
		const values = valuesOf(text, name, '');
		if (values.length > 0) return values.reduce((sum, value) => sum + value, 0) / values.length;
	}
	return null;
}

/** Of vLLM, one series for each of its data-parallel engines; the second name is that of versions before v0.10. Also its Triton backend. */
export function vllmKvUsage(text: string): number | null {
	return metricMean(text, ['vllm:kv_cache_usage_perc', 'vllm:gpu_cache_usage_perc']);
}

function valuesOf(text: string, name: string, label: string): readonly number[] {
	const values: number[] = [];
	for (const line of text.split('\n')) {
		if (!line.startsWith(name) || !line.includes(label)) continue;
		const value = /^(?:\{.*\})?[\t ]+([^\t ]+)/.exec(line.slice(name.length))?.[1];
		const number = value === undefined ? Number.NaN : Number(value);
		if (Number.isFinite(number)) values.push(number);
	}
	return values;
}
