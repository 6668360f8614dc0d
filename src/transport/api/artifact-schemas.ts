/** Bodies and answers of artifacts: what is checked, and what `/openapi.json` says of them. No behaviour. */
import { Type } from '@sinclair/typebox';
import { artifactKinds } from '../../actors/serving/artifact-messages.ts';
import { oneOf } from './schemas.ts';

const text = Type.String();
const nullableText = Type.Union([text, Type.Null()]);
const count = Type.Integer({ minimum: 0 });
const digest = '^sha256:[0-9a-f]{64}$';

export const artifactBodySchema = Type.Object(
	{
		kind: oneOf(artifactKinds, 'What it is'),
		content: Type.String({
			description: 'A text; its SHA-256 is the id of the artifact',
			allowed: 'a text',
			// It is a client's own, and may be long.
			secret: true,
		}),
		tags: Type.Optional(
			Type.Array(Type.String({ minLength: 1, maxLength: 128, allowed: 'a text of 1 to 128 characters' }), {
				maxItems: 32,
				description: 'Words of your own, by which it can be listed',
			}),
		),
		parent: Type.Optional(
			Type.String({
				pattern: digest,
				description: 'The artifact that it was made from, of the same tenant',
				allowed: 'the id of an artifact: sha256: and 64 hexadecimal digits',
			}),
		),
		metadata: Type.Optional(
			Type.Record(Type.String(), Type.Unknown(), { description: 'Any JSON object, of 16 KiB at most', allowed: 'a JSON object' }),
		),
		tenant: Type.Optional(
			Type.String({
				minLength: 1,
				maxLength: 64,
				description: 'Whose it is; default that of the key',
				allowed: 'a text of 1 to 64 characters',
			}),
		),
	},
	{ additionalProperties: false, description: 'An artifact' },
);

const entryFields = {
	id: text,
	kind: Type.Union(artifactKinds.map((kind) => Type.Literal(kind))),
	tenant: text,
	tags: Type.Array(text),
	parent: nullableText,
	metadata: Type.Record(text, Type.Unknown()),
	size_bytes: count,
	created_ms: count,
};

export const artifactEntrySchema = Type.Object(entryFields);
export const artifactSchema = Type.Object({ ...entryFields, content: text });
export const artifactListSchema = Type.Object({ artifacts: Type.Array(artifactEntrySchema), next_cursor: nullableText });
