/** `artifacts`: what may be kept of them, and of tasks that have ended. Pure; part of the configuration. */
import { bytes, oneOf, section } from './config-fields.ts';

export const artifactsSection = section(
	{
		transcripts: oneOf(
			['off', 'redacted', 'full'],
			'off',
			'Whether what was asked and answered is kept as an artifact when a task ends; redacted: lengths and numbers, no text',
		),
		quota_bytes: bytes('1GiB', 'Bytes of all artifacts together; the oldest go first'),
	},
	'Artifacts that clients have kept',
);

export interface ArtifactsConfig {
	readonly transcripts: 'off' | 'redacted' | 'full';
	readonly quotaBytes: number;
}
