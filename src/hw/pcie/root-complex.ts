/**
 * The root complex: configuration accesses (ECAM), CPU accesses to BARs, requests from functions to the translation
 * agent, and messages from the agent to functions. One bus; a function's requester id is its device and function number.
 *
 * Memory requests take effect when they are sent and carry their latency with them; messages arrive `linkNs` later.
 * Requests of one function never reach another but through the agent, as with ACS P2P Request Redirect and Source
 * Validation (PCIe Base §6.12).
 */
import { assert } from '../../assert.ts';
import type { Clock } from '../../sim/clock.ts';
import { type AccessSize, type Bus, BusStatus, type MmioDevice } from '../bus.ts';
import { Header } from './config.layout.ts';
import type { ConfigSize } from './config-space.ts';
import type { BarOptions, Link, PcieFunction } from './function.ts';
import { HostBridge } from './host-bridge.ts';
import {
  Completion,
  type Fabric,
  type InvalidateRequest,
  type MemoryRequest,
  type PageGroupResponse,
  type PageRequestMessage,
  type Requester,
  type TranslationAgent,
  type TranslationRequest,
  type Upstream,
} from './tlp.ts';

/** Bytes of ECAM for 256 buses (PCIe §7.2.2). */
export const ECAM_BYTES = 256 * 2 ** 20;
const FUNCTIONS_PER_BUS = 256;

/** A range of CPU addresses that reaches BARs. */
export interface PcieWindow {
  readonly base: number;
  readonly size: number;
}

export interface RootComplexOptions {
  readonly clock: Clock;
  /** ECAM and the windows are placed on it. */
  readonly bus: Bus;
  /** Nanoseconds of a TLP between function and root complex, one way. */
  readonly linkNs: number;
  readonly ecamBase: number;
  readonly windows: readonly PcieWindow[];
}

/** A BAR that CPU accesses reach now. */
interface Route {
  readonly base: number;
  readonly end: number;
  readonly bar: BarOptions;
}

const NO_AGENT = 'a function sends when the translation agent is connected';

/** All ones: what a read returns when nothing answers (PCIe §2.3.2). */
function allOnes(size: AccessSize, data: DataView): void {
  for (let byte = 0; byte < size; byte++) data.setUint8(byte, 0xff);
}

/** The root complex's side of a function's link. */
class Port implements Upstream {
  readonly #function: PcieFunction;
  readonly #requesterId: number;
  readonly #linkNs: number;
  readonly #clock: Clock;
  /** Set when the root complex gets its agent. */
  agent: TranslationAgent | null;

  constructor(target: PcieFunction, requesterId: number, linkNs: number, clock: Clock, agent: TranslationAgent | null) {
    this.#function = target;
    this.#requesterId = requesterId;
    this.#linkNs = linkNs;
    this.#clock = clock;
    this.agent = agent;
  }

  memory(request: MemoryRequest): Completion {
    const agent = this.#admit(request);
    if (agent === null) return Completion.UNSUPPORTED_REQUEST;
    request.latencyNs += this.#linkNs;
    const status = agent.memory(request);
    // A posted write has no way back; a stalled request has its way back when it ends.
    if (!request.write && status !== Completion.PENDING) request.latencyNs += this.#linkNs;
    return status;
  }

  translate(request: TranslationRequest): void {
    const agent = this.#admit(request);
    if (agent === null) {
      request.answer.status = Completion.UNSUPPORTED_REQUEST;
      return;
    }
    request.latencyNs += 2 * this.#linkNs;
    agent.translate(request);
  }

  pageRequest(message: PageRequestMessage): void {
    // Messages need no bus master enable (PCIe §7.5.1.1.3).
    if (message.requesterId !== this.#requesterId) return;
    const { agent } = this;
    assert(agent !== null, NO_AGENT);
    this.#clock.after(this.#linkNs, () => agent.pageRequest(message));
  }

  /** The agent; null for a request that may not pass: no bus mastering, or not in the function's own name. */
  #admit(request: Requester): TranslationAgent | null {
    if (!this.#function.busMaster || request.requesterId !== this.#requesterId) return null;
    assert(this.agent !== null, NO_AGENT);
    return this.agent;
  }
}

export class RootComplex implements Fabric {
  readonly #clock: Clock;
  readonly #linkNs: number;
  readonly #functions: (PcieFunction | undefined)[] = new Array(FUNCTIONS_PER_BUS).fill(undefined);
  readonly #ports: Port[] = [];
  #routes: readonly Route[] = [];
  #agent: TranslationAgent | null = null;

  constructor(options: RootComplexOptions) {
    this.#clock = options.clock;
    this.#linkNs = options.linkNs;
    options.bus.map(options.ecamBase, ECAM_BYTES, this.ecam);
    for (const window of options.windows) options.bus.map(window.base, window.size, this.#window(window.base));
    this.plug(0, new HostBridge());
  }

  /** Connects the translation agent, which may itself need this root complex as its {@link Fabric}. Done once. */
  connect(agent: TranslationAgent): void {
    assert(this.#agent === null, 'a root complex has one translation agent');
    this.#agent = agent;
    for (const port of this.#ports) port.agent = agent;
  }

  /** Plugs a function in at `devfn` (device * 8 + function). */
  plug(devfn: number, target: PcieFunction): void {
    assert(Number.isInteger(devfn) && devfn >= 0 && devfn < FUNCTIONS_PER_BUS, `${devfn} is no device and function`);
    const taken = this.#functions[devfn];
    assert(taken === undefined, `${target.name}: ${devfn} is taken by ${taken?.name}`);
    this.#functions[devfn] = target;
    this.#showMultiFunction(devfn);
    const port = new Port(target, devfn, this.#linkNs, this.#clock, this.#agent);
    this.#ports.push(port);
    const link: Link = { upstream: port, requesterId: devfn, linkNs: this.#linkNs };
    target.attachLink(link, () => this.#reroute());
    this.#reroute();
  }

  /** The function at `devfn`. */
  function(devfn: number): PcieFunction | undefined {
    return this.#functions[devfn];
  }

  /** Configuration space of bus 0 in memory (PCIe §7.2.2): `devfn << 12`; what is absent reads as all ones. */
  readonly ecam: MmioDevice = {
    name: 'ecam',
    readRegister: (offset: number, size: AccessSize, data: DataView) => {
      const target = this.#functions[Math.floor(offset / 4096)];
      if (target === undefined) {
        allOnes(size, data);
        return BusStatus.OK;
      }
      const register = offset % 4096;
      for (let byte = 0; byte < size; byte += 4) {
        const part = Math.min(size - byte, 4) as ConfigSize;
        const value = target.config.read(register + byte, part);
        if (part === 4) data.setUint32(byte, value, true);
        else if (part === 2) data.setUint16(byte, value, true);
        else data.setUint8(byte, value);
      }
      return BusStatus.OK;
    },
    writeRegister: (offset: number, size: AccessSize, data: DataView) => {
      const target = this.#functions[Math.floor(offset / 4096)];
      if (target === undefined) return BusStatus.OK;
      const register = offset % 4096;
      for (let byte = 0; byte < size; byte += 4) {
        const part = Math.min(size - byte, 4) as ConfigSize;
        const value =
          part === 4 ? data.getUint32(byte, true) : part === 2 ? data.getUint16(byte, true) : data.getUint8(byte);
        target.config.write(register + byte, part, value);
      }
      return BusStatus.OK;
    },
  };

  invalidate(streamId: number, request: InvalidateRequest, completed: () => void): boolean {
    const target = this.#functions[streamId];
    if (target === undefined) return false;
    const { page, pages, pasid, global } = request;
    const arrived = { page, pages, pasid, global };
    this.#clock.after(this.#linkNs, () => {
      target.invalidate(arrived, () => this.#clock.after(this.#linkNs, completed));
    });
    return true;
  }

  pageGroupResponse(streamId: number, response: PageGroupResponse): boolean {
    const target = this.#functions[streamId];
    if (target === undefined) return false;
    const { groupIndex, code, pasid } = response;
    const arrived = { groupIndex, code, pasid };
    this.#clock.after(this.#linkNs, () => target.pageGroupResponse(arrived));
    return true;
  }

  #window(windowBase: number): MmioDevice {
    const find = (address: number): Route | undefined => {
      for (const route of this.#routes) if (address >= route.base && address < route.end) return route;
      return undefined;
    };
    return {
      name: `pcie-window-${windowBase.toString(16)}`,
      readRegister: (offset, size, data) => {
        const address = windowBase + offset;
        const route = find(address);
        const status = route?.bar.device.readRegister(address - route.base, size, data) ?? BusStatus.ABORT;
        if (status !== BusStatus.OK) allOnes(size, data);
        return BusStatus.OK;
      },
      writeRegister: (offset, size, data) => {
        const address = windowBase + offset;
        const route = find(address);
        // A refused posted write is dropped; the CPU does not see it.
        route?.bar.device.writeRegister(address - route.base, size, data);
        return BusStatus.OK;
      },
    };
  }

  /** A device has several functions: function 0 says so (PCIe §7.5.1.1.9). */
  #showMultiFunction(devfn: number): void {
    const first = devfn - (devfn % 8);
    const several = this.#functions.slice(first + 1, first + 8).some((target) => target !== undefined);
    if (several) this.#functions[first]?.config.preset(Header.MultiFunctionDevice, 0, 1);
  }

  #reroute(): void {
    this.#routes = this.#functions.flatMap((target) => {
      if (!target?.memorySpace) return [];
      return target.bars.map((bar) => {
        const base = target.barBase(bar);
        return { base, end: base + bar.bytes, bar };
      });
    });
  }
}
