/** Values of the Prometheus text that engines answer `GET /metrics` with. Pure. */

/** The sum over all series of a metric, or of those with such a label; null: it has none. */
export function metricSum(text: string, name: string, label = ''): number | null {
	let sum: number | null = null;
	for (const line of text.split('\n')) {
		if (!line.startsWith(name) || !line.includes(label)) continue;
		const value = /^(?:\{.*\})?[\t ]+([^\t ]+)/.exec(line.slice(name.length))?.[1];
		const number = value === undefined ? Number.NaN : Number(value);
		if (Number.isFinite(number)) sum = (sum ?? 0) + number;
	}
	return sum;
}
