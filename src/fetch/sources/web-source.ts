/** Models at an address: one file, or all parts of one whose name says that it is a part. */
import { partsOf } from '../../actors/catalog/model-parts.ts';
import { type FetchPlan, safeName } from '../fetch-plan.ts';

export function planOfUrl(address: string): FetchPlan {
	const url = new URL(address);
	const at = url.pathname.lastIndexOf('/') + 1;
	const last = decoded(url.pathname.slice(at));
	const files = partsOf(last).map((name) => {
		const part = new URL(url);
		// As it was written where it is the only one.
		if (name !== last) part.pathname = `${url.pathname.slice(0, at)}${encodeURIComponent(name)}`;
		return {
			name: ggufName(name),
			url: part.href,
			headers: (more: Readonly<Record<string, string>>) => Promise.resolve(more),
			sizeBytes: null,
			digest: null,
			gitOid: null,
		};
	});
	return { files, manifests: [] };
}

/** Engines know the parts of a model by their names, and people a model by its ending. */
export function ggufName(text: string): string {
	const name = safeName(text.replaceAll('/', '_'));
	return /\.gguf$/i.test(name) ? name : `${name}.gguf`;
}

function decoded(text: string): string {
	try {
		return decodeURIComponent(text);
	} catch {
		return text;
	}
}
