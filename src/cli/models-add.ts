/** How a model that is taken in or pulled is described on the command line, and to the daemon. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { JsonObject } from './daemon-client.ts';

export interface AddOptions {
	readonly id: string | null;
	readonly digest: string | null;
	readonly tags: readonly string[];
	/** Refs, or paths on this machine. */
	readonly signatures: readonly string[];
	readonly sbom: string | null;
}

/** As commander gives them. */
export interface AddFlags {
	readonly id?: string;
	readonly digest?: string;
	readonly tag?: string[];
	readonly signature?: string[];
	readonly sbom?: string;
}

export function withAddOptions(command: Command): Command {
	return command
		.option('--id <name>', 'what it is to be called; default its ref')
		.option('--digest <sha256:hex>', 'what its bytes must have')
		.option('--tag <word...>', 'words of your own')
		.option('--signature <file...>', 'where its signatures are, beside those that lie by it')
		.option('--sbom <file>', 'where its SBOM is');
}

export function addOptionsOf({ id, digest, tag, signature, sbom }: AddFlags): AddOptions {
	return { id: id ?? null, digest: digest ?? null, tags: tag ?? [], signatures: signature ?? [], sbom: sbom ?? null };
}

/** The body that makes it known. */
export function addBody(source: string, { id, digest, tags, signatures, sbom }: AddOptions): JsonObject {
	return {
		source_url: source,
		tags,
		...(id === null ? {} : { id }),
		...(digest === null ? {} : { digest }),
		...(signatures.length === 0 ? {} : { signatures: signatures.map(refOf) }),
		...(sbom === null ? {} : { sbom: refOf(sbom) }),
	};
}

/** A path is a file here, and nothing but: a ref is left as it is. */
export function refOf(text: string): string {
	return /^[A-Za-z][A-Za-z0-9+.-]*:/.test(text) ? text : `file:${resolve(text)}`;
}
