/**
 * Models of several files: which files are the parts of one, and the one digest that they have together. llama.cpp finds the parts of a
 * model by their names, from the first. Pure.
 */

/** More are no model that anybody has made. */
export const partsMax = 256;

/** Of a file that is one of several parts: the names of all, in order. Of any other, its own. */
export function partsOf(name: string): readonly string[] {
	const [, stem, number, of] = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/i.exec(name) ?? [];
	const count = Number(of);
	if (stem === undefined || of === undefined || !(count > 1 && count <= partsMax) || Number(number) < 1 || Number(number) > count)
		return [name];
	return Array.from({ length: count }, (_none, index) => `${stem}-${String(index + 1).padStart(5, '0')}-of-${of}.gguf`);
}

/** The one model among these names: its parts in order. Null: there is none, or there are several. */
export function modelAmong(names: readonly string[]): readonly string[] | null {
	const [only, ...others] = modelsAmong(names);
	return only === undefined || others.length > 0 ? null : only;
}

/** By their first parts. What only helps a model to see is none. */
export function modelsAmong(names: readonly string[]): readonly (readonly string[])[] {
	const models = new Map<string, readonly string[]>();
	for (const name of names) {
		if (!/\.gguf$/i.test(name) || /(^|\/)mmproj[^/]*$/i.test(name)) continue;
		const parts = partsOf(name);
		models.set(parts[0] ?? name, parts);
	}
	return [...models.values()];
}

/** What `sha256sum` would write of several files, by name: its own SHA-256 is the digest of all. */
export function digestList(files: readonly { readonly name: string; readonly digest: string }[]): string {
	return [...files]
		.sort((a, b) => (a.name < b.name ? -1 : 1))
		.map(({ name, digest }) => `${digest.slice('sha256:'.length)}  ${name}\n`)
		.join('');
}
