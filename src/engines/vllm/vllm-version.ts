/** What a version of vLLM can do, by the release notes of vllm-project/vllm. Pure. */

/** `true` of a version that names none, such as a build from source: what it does not know it passes over. */
export function isAtLeast(version: string, major: number, minor: number, patch: number): boolean {
	const parts = /^v?(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number);
	if (parts === undefined || version.includes('.dev1+')) return true;
	const wanted = [major, minor, patch];
	for (const [index, part] of parts.entries()) {
		const least = wanted[index] as number;
		if (part !== least) return part > least;
	}
	return true;
}

/** `return_token_ids` of both completions paths. */
export function tellsTokenIds(version: string): boolean {
	return isAtLeast(version, 0, 10, 2);
}

/** `structured_outputs`; before it, `guided_grammar` and its like. */
export function hasStructuredOutputs(version: string): boolean {
	return isAtLeast(version, 0, 11, 0);
}
