// exasockd as a whole: what it is made of, and how the parts hear of one another.

import { availableParallelism } from "node:os";
import { BUILD_HASH_TEXT } from "../../build/gen/build-hash.ts";
import { MAX_FRAME_BYTES } from "../../build/gen/layout.ts";
import { refusalNow } from "./authorisation.ts";
import { Clients } from "./clients.ts";
import { type Connection, type Control, Doorbell } from "./control.ts";
import { Destinations } from "./destinations.ts";
import { chooseInterface } from "./interface-choice.ts";
import { Interfaces } from "./interfaces.ts";
import type { Logger } from "./log.ts";
import { Mirror } from "./mirror.ts";
import { native } from "./native.ts";
import {
  decodeAddress,
  decodeLink,
  encodeDump,
  RTM_GETADDR,
  RTM_GETLINK,
} from "./netlink/route.ts";
import { NETLINK_ROUTE, NetlinkRequests } from "./netlink/socket.ts";
import { type DaemonOptions, largestMtu, type PoolSize, sizePool } from "./options.ts";
import { Pump } from "./pump.ts";
import { Region } from "./region.ts";
import { parseRequest, type Request } from "./requests.ts";
import { Sockets } from "./sockets.ts";
import { readStatus } from "./status.ts";
import { Strays } from "./strays.ts";
import { followTcpSettings } from "./tcp-settings.ts";
import { type Legacy, Vault } from "./vault.ts";
import { loadArrivals } from "./xdp-program.ts";

const RLIMIT_MEMLOCK = 8;
const RLIM_INFINITY = -1;

/** Where the vault has the program that counts arrivals, and how many come before interfaces'. */
const ARRIVALS_PROGRAM = 3;
const FIXED_FDS = 4;

const HOUSEKEEPING_MILLIS = 1000;
/** Every so many rounds of housekeeping, interfaces that could not be used are tried again. */
const RETRY_ROUNDS = 5;
/** Every so many rounds of housekeeping programs that can't use their sockets are looked for. */
const STRAY_ROUNDS = 2;
/** Every so many rounds of housekeeping the ends of kernel sockets are listened to again. */
const LISTEN_ROUNDS = 2;
/** Sockets of a program that ended are looked for after this long. */
const RECONCILE_AFTER_EXIT_MILLIS = 100;

/** The frame pool for the interfaces that will be used. */
function poolFor(options: DaemonOptions, requests: NetlinkRequests): PoolSize {
  const dump = (what: string, type: number) =>
    requests.dump(what, (sequence) => encodeDump(type, sequence));
  const addresses = dump("listing addresses", RTM_GETADDR).map(decodeAddress);
  const links = dump("listing links", RTM_GETLINK)
    .map(decodeLink)
    .filter((link) => link !== undefined)
    .filter((link) => {
      const named = options.interfaces.includes(link.name);
      if (options.interfaces.length > 0 && !named) return false;
      const hasAddress = addresses.some((address) => address?.ifindex === link.ifindex);
      const limit = largestMtu(MAX_FRAME_BYTES);
      return chooseInterface(link, { named, hasAddress, largestMtu: limit }).usable;
    });
  const processors = availableParallelism();
  const queues = links.map((link) => Math.min(link.rxQueues, processors));
  const mtus = links.map((link) => link.mtu);
  return sizePool(
    options.framePoolBytes,
    mtus,
    queues.reduce((sum, count) => sum + count, 0),
  );
}

export class Daemon {
  readonly #options: DaemonOptions;
  readonly #control: Control;
  readonly #log: Logger;
  readonly #onStopped: () => void;
  readonly #startedMillis = performance.now();
  readonly #requests: NetlinkRequests;
  readonly #vault: Vault;
  readonly #arrivalsProgramFd: number;
  readonly #region: Region;
  readonly #mirror: Mirror;
  readonly #interfaces: Interfaces;
  readonly #destinations: Destinations;
  readonly #sockets: Sockets;
  readonly #clients: Clients;
  readonly #strays: Strays;
  readonly #pump: Pump;
  readonly #doorbell: Doorbell;
  #housekeeping: NodeJS.Timeout | undefined;
  #rounds = 0;
  #idleSinceMillis = performance.now();
  #stopping = false;

  /** `control` is the listening socket: having it is what makes this the only daemon. */
  constructor(options: DaemonOptions, control: Control, log: Logger, onStopped: () => void) {
    this.#options = options;
    this.#control = control;
    this.#log = log;
    this.#onStopped = onStopped;
    native().setLimit(RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    this.#requests = new NetlinkRequests(NETLINK_ROUTE);
    const { stack } = options;
    this.#vault = Vault.open(stack);
    this.#region = this.#openRegion();
    this.#arrivalsProgramFd =
      this.#vault.legacy?.fds[ARRIVALS_PROGRAM] ?? loadArrivals(this.#region.arrivalsFd);
    this.#mirror = this.#createMirror();
    this.#interfaces = new Interfaces(this.#region, this.#mirror, options.interfaces, log, () =>
      this.#queuesChanged(),
    );
    this.#destinations = new Destinations(
      this.#region,
      this.#requests,
      {
        interfaces: this.#interfaces.active,
        isLocal: (address) => this.#mirror.isLocal(address),
      },
      log,
    );
    this.#sockets = new Sockets(this.#region, log, {
      locals: () => this.#mirror.locals(),
      onOrphans: () => this.#pump.check(),
      programs: () => this.#clients.list().map(({ pid }) => pid),
    });
    this.#clients = new Clients(
      this.#region,
      {
        arrivalsProgramFd: this.#arrivalsProgramFd,
        vaultFds: this.#vault.fds,
        queues: () => this.#interfaces.queues(),
      },
      log,
      () => this.#clientsChanged(),
    );
    const isProgram = (pid: number) => this.#clients.list().some((client) => client.pid === pid);
    this.#strays = new Strays(this.#region, log, isProgram);
    this.#pump = new Pump(this.#region);
    this.#doorbell = new Doorbell(stack, () => this.#rung());
  }

  /** A fresh region, or that of an exasockd that died, whose programs go on. */
  #openRegion(): Region {
    const { stack, regionBytes } = this.#options;
    const { legacy } = this.#vault;
    if (legacy === undefined) {
      const pool = poolFor(this.#options, this.#requests);
      return Region.create({ stack, regionBytes, pool });
    }
    const [memoryFd = -1, steeringFd = -1, arrivalsFd = -1] = legacy.fds;
    const files = { memoryFd, steeringFd, arrivalsFd };
    return Region.takeOver(stack, legacy.deposit.regionBytes, files);
  }

  /** Goes on where the dead exasockd stopped. */
  #takeOver({ deposit, fds, pid }: Legacy): void {
    this.#interfaces.takeOver(deposit, fds.slice(FIXED_FDS));
    if (native().coreBury() === 1) this.#log.warn("the lock's owner was dead: repaired");
    this.#interfaces.dropHalfMade();
    this.#clients.takeOver();
    this.#pump.setQueues(this.#interfaces.queues().map((queue) => queue.fd));
    const programs = this.#clients.size;
    this.#log.warn({ programs, foundThrough: pid }, "took over from an exasockd that died");
  }

  /** Keeps for the next exasockd, should this one die, what is in use now. */
  #deposit(): void {
    if (this.#stopping) return;
    const { memoryFd, steeringFd, arrivalsFd, bytes } = this.#region;
    const deposit = { build: BUILD_HASH_TEXT, regionBytes: bytes, ...this.#interfaces.left };
    const fixed = [memoryFd, steeringFd, arrivalsFd, this.#arrivalsProgramFd];
    this.#vault.put(deposit, [...fixed, ...this.#interfaces.fds]);
  }

  #createMirror(): Mirror {
    const { stack } = this.#region;
    return new Mirror(
      this.#requests,
      {
        addressAdded: (address) => {
          if (stack.addressAdd(address.hi, address.lo) < 0) {
            this.#log.warn("no room for another address of this host");
          }
        },
        addressRemoved: (address) => stack.addressRemove(address.hi, address.lo),
        linksChanged: () => this.#reconcileInterfaces(),
        routingChanged: () => this.#destinations.flush(),
        neighborChanged: (one, deleted) => this.#destinations.neighborChanged(one, deleted),
        neighborsUnknown: () => this.#destinations.neighborsUnknown(),
      },
      this.#log,
    );
  }

  /** Sets the interfaces up and starts to answer. */
  async start(): Promise<void> {
    const { legacy } = this.#vault;
    if (legacy) this.#takeOver(legacy);
    else this.#deposit();
    followTcpSettings(this.#region);
    const stale = legacy ? this.#region.addresses() : [];
    this.#mirror.resync();
    // Counted once more by the mirror, if they are still this host's.
    for (const { hi, lo } of stale) this.#region.stack.addressRemove(hi, lo);
    await this.#interfaces.reconcile();
    if (legacy) this.#settle();
    const { frameBytes, frameCount } = this.#region.header;
    const names = [...this.#interfaces.active.values()].map((one) => one.link.name);
    this.#log.info(
      { stack: this.#options.stack, interfaces: names.join(","), frameBytes, frames: frameCount },
      "exasockd serves",
    );
    if (names.length === 0) this.#log.warn("no interface is in use: programs run on the kernel");
    this.#control.serve({
      onRequest: (connection, packet) => this.#answer(connection, packet),
      onClose: (connection) => this.#clients.leave(connection),
    });
    this.#housekeeping = setInterval(() => this.#keepHouse(), HOUSEKEEPING_MILLIS);
  }

  /** After taking over, with the kernel's state known: what was missed, then the programs. */
  #settle(): void {
    this.#destinations.flush();
    this.#sockets.takeOver();
    this.#region.stack.daemonReady();
    this.#wakeAll();
    this.#clientsChanged();
    this.#rung();
  }

  #wakeAll(): void {
    for (const waiter of this.#region.sleepers()) this.#doorbell.ring(waiter);
  }

  #reconcileInterfaces(): void {
    if (this.#stopping) return;
    this.#interfaces.reconcile().catch((error: unknown) => {
      this.#log.error({ err: error }, "following a change of the interfaces failed");
    });
  }

  /**
   * A program learns of other queues when it next takes the lock. One that sleeps is woken: what it
   * has of a closed AF_XDP socket keeps that queue busy.
   */
  #queuesChanged(): void {
    this.#deposit();
    this.#pump.setQueues(this.#interfaces.queues().map(({ fd }) => fd));
    this.#wakeAll();
  }

  #rung(): void {
    this.#sockets.follow();
    if (this.#destinations.answer()) setImmediate(() => this.#rung());
    this.#destinations.findMissing();
    this.#pump.pump();
  }

  #clientsChanged(): void {
    // What the kernel closes for it, it does not end itself.
    this.#sockets.listen();
    this.#pump.setActive(this.#clients.size > 0);
    this.#idleSinceMillis = performance.now();
    setTimeout(() => {
      if (!this.#stopping) this.#sockets.reconcile();
    }, RECONCILE_AFTER_EXIT_MILLIS);
  }

  #keepHouse(): void {
    this.#rounds++;
    // A doorbell may have been rung while its queue was full.
    if (this.#region.header.daemonWanted !== 0) this.#rung();
    followTcpSettings(this.#region);
    this.#destinations.checkPathMtus();
    this.#region.dropDeadForks();
    this.#destinations.confirmStale();
    this.#destinations.findMissing();
    this.#sockets.reconcile();
    if (this.#rounds % STRAY_ROUNDS === 0) this.#strays.look();
    if (this.#rounds % LISTEN_ROUNDS === 0) this.#sockets.listen();
    if (this.#rounds % RETRY_ROUNDS === 0) this.#interfaces.retryFailed();
    this.#sockets.releasePorts();
    this.#clients.dropDead();
    const idleMillis = performance.now() - this.#idleSinceMillis;
    const { idleSeconds } = this.#options;
    if (this.#clients.size > 0 || this.#pump.hasTimers) return;
    if (idleSeconds === 0 || idleMillis < idleSeconds * 1000) return;
    void this.stop(`no program for ${idleSeconds} s`);
  }

  #answer(connection: Connection, packet: Buffer): void {
    const request = parseRequest(packet);
    const refused =
      typeof request === "string"
        ? request
        : refusalNow(request.type, connection.peer, this.#options.stack);
    if (typeof request === "string" || refused !== undefined) {
      const { pid, uid } = connection.peer;
      this.#log.debug({ pid, uid, refused }, "request refused");
      // What is no request may come from a program as well as from a person's tool: the first
      // understands only the plain form, and for the second both are errors.
      const isJoin =
        typeof request !== "string" && ["join", "rejoin", "queues"].includes(request.type);
      if (isJoin) connection.send(`error ${refused}\n`);
      else connection.send(JSON.stringify({ ok: false, error: refused }));
      return;
    }
    this.#serve(connection, request);
  }

  #serve(connection: Connection, request: Request): void {
    switch (request.type) {
      case "join":
        this.#clients.join(connection, request.build);
        return;
      case "rejoin":
        this.#clients.rejoin(connection, request.build, request.slot);
        return;
      case "queues":
        this.#clients.sendQueues(connection);
        return;
      case "status":
        connection.send(JSON.stringify(this.#status()));
        return;
      case "check":
        connection.send(JSON.stringify({ ok: true, breaches: this.#region.breaches() }));
        return;
      case "stop":
        connection.send(JSON.stringify({ ok: true }));
        void this.stop(`asked to by pid ${connection.peer.pid}`);
        return;
      case "up":
        this.#finish(connection, this.#interfaces.up(request.interfaces));
        return;
      case "down":
        this.#finish(connection, this.#interfaces.down(request.interfaces, this.#clients.size));
        return;
    }
  }

  #finish(connection: Connection, work: Promise<void>): void {
    work.then(
      () => connection.send(JSON.stringify({ ok: true })),
      (error: Error) => connection.send(JSON.stringify({ ok: false, error: error.message })),
    );
  }

  #status() {
    return readStatus(this.#region, {
      stack: this.#options.stack,
      startedMillis: this.#startedMillis,
      pumping: this.#pump.isWatching,
      interfaces: this.#interfaces.active.values(),
      failures: this.#interfaces.failures,
      clients: this.#clients.list(),
    });
  }

  /** Leaves the interfaces as they were found. Idempotent. */
  async stop(reason: string): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#log.info({ reason }, "exasockd stops");
    clearInterval(this.#housekeeping);
    // Nobody finishes them now, and their peers should not wait for that.
    this.#region.stack.tcpResetAll(process.hrtime.bigint());
    this.#region.stack.daemonLeave();
    this.#vault.close();
    this.#pump.close();
    this.#mirror.close();
    await this.#interfaces.close();
    this.#sockets.close();
    this.#doorbell.close();
    this.#requests.close();
    // Last: from now on another exasockd may start.
    this.#control.close();
    this.#onStopped();
  }
}
