/** Bodies and answers of the catalog: what is checked, and what `/openapi.json` says of them. No behaviour. */
import { Type } from '@sinclair/typebox';
import { oneOf } from './schemas.ts';

const text = Type.String();
const texts = Type.Array(text);
const count = Type.Integer({ minimum: 0 });
const nullableCount = Type.Union([count, Type.Null()]);
const nullableText = Type.Union([text, Type.Null()]);
const digest = '^sha256:[0-9a-fA-F]{64}$';

const evidence = Type.String({
	minLength: 1,
	maxLength: 1024,
	description: 'A ref of `file:` or, of a model that is fetched, `https:`',
	allowed: 'a text of 1 to 1024 characters',
});

export const catalogModelSchema = Type.Object(
	{
		source_url: Type.String({
			minLength: 1,
			maxLength: 1024,
			description: 'A model ref: `file:/absolute/path.gguf`, or what `pull` fetches: `hf:`, `https://`, `s3://`, `oci://`',
			allowed: 'a text of 1 to 1024 characters',
		}),
		id: Type.Optional(
			Type.String({
				minLength: 1,
				maxLength: 128,
				description: 'What it is called here; default its `source_url`',
				allowed: 'a text of 1 to 128 characters',
			}),
		),
		digest: Type.Optional(
			Type.String({
				pattern: digest,
				description: 'What its bytes must have: it is verified against this, always',
				allowed: 'sha256: and 64 hexadecimal digits',
			}),
		),
		tags: Type.Optional(
			Type.Array(Type.String({ minLength: 1, maxLength: 64, allowed: 'a text of 1 to 64 characters' }), {
				maxItems: 32,
				description: 'Words of your own',
			}),
		),
		signatures: Type.Optional(
			Type.Array(evidence, { maxItems: 16, description: 'Where bundles of signatures are, beside those that lie by the model' }),
		),
		sbom: Type.Optional(evidence),
	},
	{ additionalProperties: false, description: 'A model for the catalog' },
);

export const catalogStateSchema = Type.Object(
	{
		state: oneOf(['Active', 'Retired'], 'Retired: no task may use it, and pools that serve it are drained'),
		deadline_ms: Type.Optional(
			Type.Integer({ minimum: 0, maximum: 86_400_000, default: 30_000, description: 'How long running tasks may go on' }),
		),
	},
	{ additionalProperties: false, description: 'The state that a model is to be in' },
);

/** How far a pull is. */
export const pullSchema = Type.Object({
	phase: Type.Union([
		Type.Literal('queued'),
		Type.Literal('resolving'),
		Type.Literal('fetching'),
		Type.Literal('waiting'),
		Type.Literal('checking'),
	]),
	bytes_done: count,
	bytes_total: nullableCount,
	bytes_per_s: nullableCount,
	eta_ms: nullableCount,
	files_done: count,
	files_total: nullableCount,
	note: nullableText,
});

export const catalogEntrySchema = Type.Object({
	id: text,
	digest: nullableText,
	expected_digest: nullableText,
	source_url: text,
	size_bytes: nullableCount,
	tags: texts,
	manifests: texts,
	signatures: texts,
	sbom: nullableText,
	signed_by: texts,
	trust_problems: Type.Array(Type.Object({ reason: text, words: text })),
	trust_rules: nullableText,
	digest_said: Type.Boolean(),
	untrusted: Type.Boolean(),
	trust_policy: Type.Object({
		mode: Type.Union([Type.Literal('permissive'), Type.Literal('strict')]),
		allowed_registries: texts,
		require_signature: Type.Boolean(),
		require_sbom: Type.Boolean(),
		ca_roots: texts,
	}),
	state: Type.Union([Type.Literal('Active'), Type.Literal('Retired')]),
	verification: Type.Union([Type.Literal('absent'), Type.Literal('pending'), Type.Literal('verified'), Type.Literal('failed')]),
	problem: nullableText,
	last_verified_ms: nullableCount,
	local_path: nullableText,
	folder: nullableText,
	files: Type.Array(Type.Object({ name: text, digest: text, size_bytes: count })),
	fetching: Type.Boolean(),
	used_ms: nullableCount,
	pull: Type.Optional(pullSchema),
	gguf: Type.Union([
		Type.Object({
			architecture: text,
			parameters: count,
			context_length: count,
			quantization: text,
			chat_template: nullableText,
		}),
		Type.Null(),
	]),
});

export const catalogListSchema = Type.Object({ models: Type.Array(catalogEntrySchema), next_cursor: nullableText });
