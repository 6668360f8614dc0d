/**
 * Threads of a simulation and the crew that keeps them: each an actor system on a host of its own, linked by production links
 * over simulated channels. A lost thread is started again after a while and linked anew, its peers told first, as the real
 * crew does; each of them hears of that when its own lane from the crew gets there.
 */
import type { ActorRef, Delivery } from '../../src/actors/kernel/ref.ts';
import { type SeededRandom, SimHost, type SimWorld } from '../../src/actors/kernel/sim-host.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';
import { Link, type LinkOptions, type Peer } from '../../src/actors/threads/link.ts';
import { SimPort } from './channel.ts';
import type { LinkPlan } from './plan.ts';
import { SimTelemetry } from './sim-telemetry.ts';

/** What a thread does, once built. */
export interface SimRole {
	readonly names: Readonly<Record<string, ActorRef<never>>>;
	readonly urgent: ReadonlySet<string>;
	onPeer(name: string, peer: Peer, incarnation: number): void;
	/** The thread is dead where it stood: sockets are closed by the platform. */
	onKilled(): void;
	/** The daemon ends in order. */
	close(): void;
}

/** Hears of every message that a thread hands to a link, and what became of it. */
export type TellHook = (from: SimThread, link: ObservedLink, to: number, message: unknown, delivery: Delivery) => void;

/** A production link that says what it is told. */
export class ObservedLink extends Link {
	readonly peer: string;
	readonly #onTell: (link: ObservedLink, to: number, message: unknown, delivery: Delivery) => void;

	constructor(
		peer: string,
		system: ActorSystem,
		port: SimPort,
		options: LinkOptions,
		onTell: (link: ObservedLink, to: number, message: unknown, delivery: Delivery) => void,
	) {
		super(system, port, options);
		this.peer = peer;
		this.#onTell = onTell;
	}

	override tell(to: number, message: unknown): Delivery {
		const delivery = super.tell(to, message);
		this.#onTell(this, to, message, delivery);
		return delivery;
	}
}

interface ThreadSpec {
	readonly name: string;
	readonly peers: readonly string[];
	readonly build: (thread: SimThread) => SimRole;
}

export class SimThread {
	readonly name: string;
	readonly incarnation: number;
	readonly telemetry = new SimTelemetry();
	readonly host: SimHost;
	readonly system: ActorSystem;
	readonly links = new Map<string, ObservedLink>();
	readonly ports = new Map<string, SimPort>();
	readonly role: SimRole;
	alive = true;

	constructor(world: SimWorld, spec: ThreadSpec, incarnation: number) {
		this.name = spec.name;
		this.incarnation = incarnation;
		this.host = new SimHost(world, this.telemetry);
		this.system = new ActorSystem(this.host, { name: '' });
		this.role = spec.build(this);
	}

	/** `front-0#2`. */
	get label(): string {
		return `${this.name}#${this.incarnation}`;
	}
}

export class SimCrew {
	readonly threads = new Map<string, SimThread>();
	/** Every incarnation that ever was. */
	readonly all: SimThread[] = [];
	/** Extra lag on the links of a thread, ms, while it lasts. */
	readonly slow = new Map<string, number>();
	readonly #world: SimWorld;
	readonly #random: SeededRandom;
	readonly #wires: SimHost;
	readonly #link: LinkPlan;
	readonly #specs = new Map<string, ThreadSpec>();
	readonly #incarnations = new Map<string, number>();
	readonly #onTell: TellHook;
	/** When the last order to a thread gets there. */
	readonly #lanes = new Map<SimThread, number>();
	#linkIncarnation = 0;

	constructor(world: SimWorld, random: SeededRandom, wires: SimHost, link: LinkPlan, onTell: TellHook) {
		this.#world = world;
		this.#random = random;
		this.#wires = wires;
		this.#link = link;
		this.#onTell = onTell;
	}

	add(name: string, peers: readonly string[], build: (thread: SimThread) => SimRole): void {
		this.#specs.set(name, { name, peers, build });
	}

	start(name: string): void {
		const spec = this.#specs.get(name) as ThreadSpec;
		const incarnation = (this.#incarnations.get(name) ?? 0) + 1;
		this.#incarnations.set(name, incarnation);
		const thread = new SimThread(this.#world, spec, incarnation);
		this.threads.set(name, thread);
		this.all.push(thread);
		for (const ref of Object.values(thread.role.names)) {
			thread.system.watchExported(thread.system.exportId(ref), (reason) => {
				if (reason.kind === 'failed') this.#wires.setTimer(0, () => this.threads.get(name) === thread && this.lose(name, 1));
			});
		}
		for (const other of this.threads.values()) if (other !== thread && this.#arePeers(spec, other)) this.#connect(thread, other);
	}

	/** A thread dies where it stands, and is started again after `awayMs`. */
	lose(name: string, awayMs: number): void {
		const thread = this.threads.get(name);
		if (thread === undefined) return;
		this.threads.delete(name);
		thread.alive = false;
		thread.host.kill();
		for (const port of thread.ports.values()) port.die((underWay) => this.#random.below(underWay + 1));
		thread.role.onKilled();
		for (const other of this.threads.values()) {
			if (this.#arePeers(this.#specs.get(name) as ThreadSpec, other)) this.#order(other, () => other.links.get(name)?.lose());
		}
		this.#wires.setTimer(awayMs, () => this.start(name));
	}

	#arePeers(spec: ThreadSpec, other: SimThread): boolean {
		return spec.peers.includes(other.name) || (this.#specs.get(other.name)?.peers.includes(spec.name) ?? false);
	}

	#connect(a: SimThread, b: SimThread): void {
		this.#linkIncarnation += 1;
		const incarnation = this.#linkIncarnation;
		const lag = (): number => this.#random.next() * this.#link.lagMs + Math.max(this.slow.get(a.name) ?? 0, this.slow.get(b.name) ?? 0);
		const [portA, portB] = SimPort.pair(this.#wires, lag);
		for (const [thread, peer, port] of [[a, b, portA] as const, [b, a, portB] as const]) {
			thread.ports.set(peer.name, port);
			this.#order(thread, () => this.#join(thread, peer, port, incarnation));
		}
	}

	#join(thread: SimThread, peer: SimThread, port: SimPort, incarnation: number): void {
		const { links, role, system } = thread;
		links.get(peer.name)?.lose();
		const { window, reserve } = this.#link;
		const link: ObservedLink = new ObservedLink(
			peer.name,
			system,
			port,
			{
				incarnation,
				names: role.names,
				urgent: role.urgent,
				window,
				reserve,
				onPeer: (each) => role.onPeer(peer.name, each, peer.incarnation),
				onLost: () => {
					if (links.get(peer.name) === link) links.delete(peer.name);
				},
			},
			(each, to, message, delivery) => this.#onTell(thread, each, to, message, delivery),
		);
		links.set(peer.name, link);
		port.open(thread.host);
	}

	/** What the crew asks of a thread: in order, after a little while. */
	#order(thread: SimThread, act: () => void): void {
		const at = Math.max(this.#wires.now() + this.#random.next() * Math.min(20, this.#link.lagMs), this.#lanes.get(thread) ?? 0);
		this.#lanes.set(thread, at);
		this.#wires.setTimer(at - this.#wires.now(), () => thread.host.defer(act));
	}
}
