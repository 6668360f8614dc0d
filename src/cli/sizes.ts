/** Bytes in words for people, as all commands write them. Pure. */
import { number } from './daemon-client.ts';

/** `-` for what is no number. */
export function byteSize(value: unknown): string {
	const bytes = number(value);
	if (bytes === null) return '-';
	return bytes < 1024 ** 3 ? `${(bytes / 1024 ** 2).toFixed(1)} MiB` : `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
}
