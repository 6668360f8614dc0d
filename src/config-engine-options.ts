/** Sections of a pool that belong to one engine over HTTP: `vllm`, `triton`. Main thread and CLI. Pure. */
import { Type } from '@sinclair/typebox';
import type { PoolFile } from './config-schema.ts';

const flag = (description: string) => Type.Boolean({ default: false, description });

function choice<const T extends readonly string[]>(values: T, defaultValue: T[number], description: string) {
	const pattern = `^(${values.join('|')})$`;
	return Type.Unsafe<T[number]>(Type.String({ enum: [...values], pattern, default: defaultValue, description }));
}

export const vllmSection = Type.Optional(
	Type.Object(
		{
			task: choice(['generate', 'embed', 'rerank'], 'generate', 'What its model does'),
			priority_scheduling: flag('It runs with --scheduling-policy priority: tasks of the class batch stand behind the others there, too'),
			sleep: flag('Wake it when the pool begins to use it, and put it to sleep when it is used no more; it needs --enable-sleep-mode'),
		},
		{ additionalProperties: false, description: 'Settings of engine: vllm' },
	),
);

export const tritonSection = Type.Optional(
	Type.Object(
		{
			text: choice(
				['auto', 'delta', 'whole'],
				'auto',
				'What text_output holds: what is new, or all so far; auto: whole where accumulate_tokens of the model is true',
			),
		},
		{ additionalProperties: false, description: 'Settings of engine: triton' },
	),
);

export const optionSections = ['vllm', 'triton'] as const;

/** Of the pool's engine; what belongs to another is refused. */
export function engineOptions(pool: PoolFile, path: string, problems: string[]): Readonly<Record<string, string | boolean>> {
	for (const name of optionSections) {
		if (pool[name] !== undefined && pool.engine !== name)
			problems.push(`${path}.${name} is set, but ${path}.engine is ${pool.engine}; it belongs to engine: ${name}`);
	}
	if (pool.vllm?.sleep === true && pool.provider !== 'external')
		problems.push(`${path}.vllm.sleep is true, but ${path}.provider is ${pool.provider}; an engine that we start ends when it is not used`);
	return pool.engine === 'vllm' ? { ...pool.vllm } : pool.engine === 'triton' ? { ...pool.triton } : {};
}
