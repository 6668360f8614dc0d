/** Sections of a pool that belong to one engine over HTTP: `llamacpp`, `vllm`, `triton`, `openai`. Main thread and CLI. Pure. */
import { Type } from '@sinclair/typebox';
import type { World } from './config.ts';
import { chatTemplateOf } from './config-chat-template.ts';
import type { PoolFile } from './config-schema.ts';

const flag = (description: string) => Type.Boolean({ default: false, description });

function choice<const T extends readonly string[]>(values: T, defaultValue: T[number], description: string) {
	const pattern = `^(${values.join('|')})$`;
	return Type.Unsafe<T[number]>(Type.String({ enum: [...values], pattern, default: defaultValue, description }));
}

const llamacppSection = Type.Optional(
	Type.Object(
		{
			session_slots: Type.Boolean({
				default: true,
				description:
					'Tasks of a session ask for the slot that has its prompt; false: the server chooses for all, as it must where others use it too',
			}),
		},
		{ additionalProperties: false, description: 'Settings of engine: llamacpp, where it is a llama-server' },
	),
);

const vllmSection = Type.Optional(
	Type.Object(
		{
			task: choice(['generate', 'embed', 'rerank'], 'generate', 'What its model does'),
			priority_scheduling: flag('It runs with --scheduling-policy priority: tasks of the class batch stand behind the others there, too'),
			sleep: flag('Wake it when the pool begins to use it, and put it to sleep when it is used no more; it needs --enable-sleep-mode'),
		},
		{ additionalProperties: false, description: 'Settings of engine: vllm' },
	),
);

const tritonSection = Type.Optional(
	Type.Object(
		{
			text: choice(
				['auto', 'delta', 'whole'],
				'auto',
				'What text_output holds: what is new, or all so far; auto: whole where accumulate_tokens of the model is true',
			),
			chat_template: Type.Optional(
				Type.String({
					minLength: 1,
					description: "The file of its model's chat template, in Jinja, or the tokenizer_config.json that has it: then it takes messages",
				}),
			),
		},
		{ additionalProperties: false, description: 'Settings of engine: triton' },
	),
);

const openaiSection = Type.Optional(
	Type.Object(
		{
			dialect: choice(
				['auto', 'openai', 'vllm', 'llamacpp'],
				'auto',
				'Whose fields it takes beside those of OpenAI, which refuses others (openai); auto: by the owned_by of its models',
			),
			max_tokens: choice(
				['max_tokens', 'max_completion_tokens'],
				'max_tokens',
				'How its chats name the most tokens of an answer; newer models of OpenAI take max_completion_tokens only',
			),
		},
		{ additionalProperties: false, description: 'Settings of engine: openai' },
	),
);

export const engineSections = { llamacpp: llamacppSection, vllm: vllmSection, triton: tritonSection, openai: openaiSection };
export const optionSections = ['llamacpp', 'vllm', 'triton', 'openai'] as const;

/** Of the pool's engine; what belongs to another is refused. */
export function engineOptions(
	pool: PoolFile,
	path: string,
	world: Pick<World, 'cwd' | 'readFile'>,
	problems: string[],
): Readonly<Record<string, string | boolean>> {
	for (const name of optionSections) {
		if (pool[name] !== undefined && pool.engine !== name)
			problems.push(`${path}.${name} is set, but ${path}.engine is ${pool.engine}; it belongs to engine: ${name}`);
	}
	if (pool.llamacpp !== undefined && pool.engine === 'llamacpp' && pool.provider === 'embedded')
		problems.push(`${path}.llamacpp is set, but ${path}.provider is embedded; it belongs to a llama-server`);
	if (pool.vllm?.sleep === true && pool.provider !== 'external')
		problems.push(`${path}.vllm.sleep is true, but ${path}.provider is ${pool.provider}; an engine that we start ends when it is not used`);
	switch (pool.engine) {
		case 'triton': {
			const { chat_template: file, ...options } = pool.triton ?? {};
			return { ...options, ...(file === undefined ? {} : chatTemplateOf(file, `${path}.triton.chat_template`, world, problems)) };
		}
		case 'llamacpp':
		case 'vllm':
		case 'openai':
			return { ...pool[pool.engine] };
		default:
			return {};
	}
}
