/** Where a front asks for tasks of the others, driven by the test: each question waits until it is answered. */
import type { ActorRef, Delivery } from '../../src/actors/kernel/ref.ts';
import type { ElsewhereCommand, Lookup, TaskFound, TasksFound, TaskView } from '../../src/actors/serving/task-directory.ts';

type FindTask = Extract<ElsewhereCommand, { type: 'find-task' }>;
type FindTasks = Extract<ElsewhereCommand, { type: 'find-tasks' }>;

export class FakeElsewhere implements ActorRef<ElsewhereCommand> {
	delivery: Delivery = 'accepted';
	readonly finds: FindTask[] = [];
	readonly lists: FindTasks[] = [];
	/** Answered at once. */
	readonly tasks = new Map<string, TaskView>();

	tell(command: ElsewhereCommand): Delivery {
		if (this.delivery !== 'accepted') return this.delivery;
		if (command.type === 'find-tasks') this.lists.push(command);
		else {
			const task = this.tasks.get(command.taskId);
			if (task !== undefined) command.replyTo.tell({ type: 'task-found', lookup: { found: 'task', task } });
			else this.finds.push(command);
		}
		return 'accepted';
	}

	/** Of the oldest question that waits. */
	answer(found: TaskFound): void {
		this.finds.shift()?.replyTo.tell(found);
	}

	found(lookup: Lookup): void {
		this.answer({ type: 'task-found', lookup });
	}

	listed(found: TasksFound): void {
		this.lists.shift()?.replyTo.tell(found);
	}
}
