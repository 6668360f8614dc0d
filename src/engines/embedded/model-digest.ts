/**
 * The digest of a model as it is loaded: of its file, or of all its parts together. Files that are as they were when they were hashed last
 * are not hashed again. Runs in the llama.cpp host, beside the load.
 */
import { createHash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { digestList, partsOf } from '../../actors/catalog/model-parts.ts';
import type { EmbeddedSettings } from './embedded-settings.ts';

const readBytes = 1024 * 1024;

/** `sha256:<hex>` */
export async function modelDigest({ modelPath, known = [] }: Pick<EmbeddedSettings, 'modelPath' | 'known'>): Promise<string> {
	const files: { readonly name: string; readonly digest: string }[] = [];
	for (const name of partsOf(basename(modelPath))) {
		const path = join(dirname(modelPath), name);
		const { size, mtimeNs, dev, ino } = statSync(path, { bigint: true });
		const same = known.find((each) => each.path === path);
		const unchanged =
			same !== undefined && same.sizeBytes === Number(size) && same.mtimeNs === String(mtimeNs) && same.inode === `${dev}:${ino}`;
		files.push({ name, digest: unchanged ? same.digest : await sha256(path) });
	}
	const [only, ...others] = files;
	if (only !== undefined && others.length === 0) return only.digest;
	return `sha256:${createHash('sha256').update(digestList(files)).digest('hex')}`;
}

async function sha256(path: string): Promise<string> {
	const hash = createHash('sha256');
	for await (const chunk of createReadStream(path, { highWaterMark: readBytes })) hash.update(chunk as Buffer);
	return `sha256:${hash.digest('hex')}`;
}
