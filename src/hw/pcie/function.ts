/** A PCIe function: identity, base address registers, command register, and its place on the link. */
import { assert } from '../../assert.ts';
import type { MmioDevice } from '../bus.ts';
import { BAR_OFFSET, BarType, COMMAND_OFFSET, Header, MemoryBar } from './config.layout.ts';
import { ConfigSpace } from './config-space.ts';
import { Completion, type Downstream, type InvalidateRequest, type PageGroupResponse, type Upstream } from './tlp.ts';

export interface Identity {
  readonly vendor: number;
  readonly device: number;
  /** Base class, subclass and programming interface: 24 bits. */
  readonly classCode: number;
  readonly revision: number;
  readonly subsystemVendor?: number;
  readonly subsystem?: number;
  /** 1 for INTA, 0 for none. */
  readonly interruptPin?: number;
}

/** A memory BAR. A 64-bit one takes the next index too. */
export interface BarOptions {
  readonly index: number;
  /** A power of two, 16 bytes or more. */
  readonly bytes: number;
  readonly width: 32 | 64;
  readonly prefetchable?: boolean;
  /** What answers inside it. An ABORT is an Unsupported Request on the link: reads give all ones. */
  readonly device: MmioDevice;
}

/** A function's end of its link. */
export interface Link {
  readonly upstream: Upstream;
  /** Bus, device and function. */
  readonly requesterId: number;
  /** Nanoseconds of a TLP from here to the root complex, or back. */
  readonly linkNs: number;
}

const BARS = [Header.BAR0, Header.BAR1, Header.BAR2, Header.BAR3, Header.BAR4, Header.BAR5];

/** Base of every function. A subclass is a device: it adds BARs and capabilities and extends {@link reset}. */
export class PcieFunction implements Downstream {
  readonly name: string;
  readonly config = new ConfigSpace();
  readonly #bars: BarOptions[] = [];
  #link: Link | null = null;
  #moved: (() => void) | null = null;
  /** Command register, Memory Space Enable. */
  memorySpace = false;
  /** Command register, Bus Master Enable: without it the root complex refuses the function's requests. */
  busMaster = false;

  constructor(name: string, identity: Identity) {
    this.name = name;
    this.config.declare(Header, 0, {
      values: {
        VendorID: identity.vendor,
        DeviceID: identity.device,
        ClassCode: identity.classCode,
        RevisionID: identity.revision,
        SubsystemVendorID: identity.subsystemVendor ?? 0,
        SubsystemID: identity.subsystem ?? 0,
        InterruptPin: identity.interruptPin ?? 0,
      },
      writable: [
        'IOSpaceEnable',
        'MemorySpaceEnable',
        'BusMasterEnable',
        'ParityErrorResponse',
        'SERREnable',
        'InterruptDisable',
        'CacheLineSize',
        'InterruptLine',
      ],
      clearable: [
        'MasterDataParityError',
        'SignaledTargetAbort',
        'ReceivedTargetAbort',
        'ReceivedMasterAbort',
        'SignaledSystemError',
        'DetectedParityError',
      ],
    });
    this.config.onWrite(COMMAND_OFFSET, 2, () => {
      this.memorySpace = this.config.get(Header.MemorySpaceEnable) === 1;
      this.busMaster = this.config.get(Header.BusMasterEnable) === 1;
      this.#moved?.();
    });
    this.config.onWrite(BAR_OFFSET, 24, () => this.#moved?.());
  }

  get bars(): readonly BarOptions[] {
    return this.#bars;
  }

  /** Where software placed `bar`; -1 where no CPU address reaches. */
  barBase(bar: BarOptions): number {
    const low = (this.config.get(BARS[bar.index] ?? Header.BAR0) & ~0xf) >>> 0;
    if (bar.width === 32) return low;
    const high = this.config.get(BARS[bar.index + 1] ?? Header.BAR0);
    return high < 2 ** 20 ? high * 2 ** 32 + low : -1;
  }

  protected addBar(bar: BarOptions): void {
    const { index, bytes, width } = bar;
    const last = width === 64 ? index + 1 : index;
    assert(index >= 0 && last < BARS.length, `${this.name}: no BAR ${last}`);
    assert(bytes >= 16 && bytes <= 2 ** 31 && Number.isInteger(Math.log2(bytes)), `${this.name}: a BAR of ${bytes}`);
    assert(
      this.#bars.every((other) => other.index > last || other.index + (other.width === 64 ? 1 : 0) < index),
      `${this.name}: BAR ${index} is taken`,
    );
    const at = BAR_OFFSET + 4 * index;
    this.config.declare(MemoryBar, at, {
      values: {
        Type: width === 64 ? BarType.BITS_64 : BarType.BITS_32,
        Prefetchable: bar.prefetchable === true ? 1 : 0,
      },
    });
    this.config.allowWrites(at, (-bytes >>> 0) & ~0xf);
    if (width === 64) this.config.allowWrites(at + 4, 0xffff_ffff);
    this.#bars.push(bar);
  }

  /** The link, once the function is plugged in. */
  get link(): Link {
    assert(this.#link !== null, `${this.name} is not plugged in`);
    return this.#link;
  }

  /** For the root complex: connects the link. `moved` is called when a BAR or the command register changed. */
  attachLink(link: Link, moved: () => void): void {
    assert(this.#link === null, `${this.name} is plugged in once`);
    this.#link = link;
    this.#moved = moved;
    this.plugged(link);
  }

  /** Called when the function got its link. */
  protected plugged(_link: Link): void {}

  /** Function level reset (PCIe §6.6.2): the function forgets everything but what is sticky. */
  reset(): void {
    this.config.reset();
  }

  /** Shows in the status register that a request of this function was refused (PCIe §7.5.1.1.4). */
  noteAbort(status: Completion): void {
    if (status === Completion.UNSUPPORTED_REQUEST) this.config.set(Header.ReceivedMasterAbort, 0, 1);
    else if (status === Completion.COMPLETER_ABORT) this.config.set(Header.ReceivedTargetAbort, 0, 1);
  }

  /** A function without ATS refuses the message, which ends the invalidation (IHI 0070 §3.9.1.5). */
  invalidate(_request: InvalidateRequest, completed: () => void): void {
    completed();
  }

  /** A function without PRI refuses the message. */
  pageGroupResponse(_response: PageGroupResponse): void {}
}
