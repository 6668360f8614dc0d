/** Whether a file is a bill of materials: SPDX or CycloneDX, as JSON. What is in it is its reader's to judge. Pure. */

/** Null: it is one; else why not. */
export function sbomProblem(bytes: Buffer): string | null {
	let value: unknown;
	try {
		value = JSON.parse(bytes.toString('utf8'));
	} catch {
		return 'it is not JSON';
	}
	if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'it is no JSON object';
	const { spdxVersion, bomFormat, '@context': context, '@graph': graph } = value as Readonly<Record<string, unknown>>;
	if (typeof spdxVersion === 'string' && spdxVersion.startsWith('SPDX-')) return null;
	if (bomFormat === 'CycloneDX') return null;
	if (typeof context === 'string' && context.startsWith('https://spdx.org/rdf/3.') && Array.isArray(graph)) return null;
	return 'it is neither SPDX nor CycloneDX';
}
