/** The crypto accelerator (data sheet: accelerator.layout.ts): its registers and its place in PCIe. */
import type { Latency } from '../../sim/profile.ts';
import { type AccessSize, BusStatus, type MmioDevice } from '../bus.ts';
import { Msix } from '../pcie/capability/msix.ts';
import { EndpointFunction, type EndpointOptions } from '../pcie/endpoint/endpoint-function.ts';
import { NO_PASID } from '../pcie/tlp.ts';
import * as sheet from './accelerator.layout.ts';
import type { RingSettings } from './accelerator-operation.ts';
import { AcceleratorRing, type RingCounters } from './accelerator-ring.ts';

export interface AcceleratorOptions extends Omit<EndpointOptions, 'lanes'> {
  readonly latency: Pick<Latency, 'deviceSetup' | 'acceleratorBytesPerSecond'>;
  /**
   * Source pages between memory and destination at one time; defaults to 4: enough for full throughput over a local link,
   * and few enough that a page waits for no more than three others when one thread serves faults.
   */
  readonly pagesInFlight?: number;
  /** Descriptors fetched and not yet completed; defaults to 16. */
  readonly descriptorsInFlight?: number;
  /** Whether the device can wait for pages of its ring; data sheet: PINNED_RING. Defaults to true. */
  readonly ringFaults?: boolean;
}

const IDENTITY = {
  ...sheet.ACCELERATOR_ID,
  subsystemVendor: sheet.ACCELERATOR_ID.vendor,
  subsystem: sheet.ACCELERATOR_ID.device,
};

/** End of the registers. */
const REGISTER_BYTES = sheet.IV_OFFSET + sheet.IV_BYTES;

export class Accelerator extends EndpointFunction {
  readonly msix: Msix;
  readonly counters: RingCounters = {
    operations: 0,
    bytes: 0,
    sourceFaults: 0,
    destinationFaults: 0,
    badDescriptors: 0,
    ringErrors: 0,
  };
  readonly #newRing: () => AcceleratorRing;
  readonly #ringFaults: boolean;
  #ring: AcceleratorRing;
  /** Registers that keep what was written; the others are read from the ring. */
  #registers = new DataView(new ArrayBuffer(REGISTER_BYTES));

  constructor(options: AcceleratorOptions) {
    const { pagesInFlight = 4, descriptorsInFlight = 16, ringFaults = true, latency } = options;
    // A slot reads one page or writes two; two more lanes carry the ring.
    super(IDENTITY, { ...options, lanes: 2 * pagesInFlight + 2 });
    this.addBar({ index: 0, bytes: sheet.BAR0_BYTES, width: 64, device: this.#bar0 });
    this.msix = new Msix(this, {
      vectors: sheet.MSIX_VECTORS,
      bar: 2,
      tableOffset: sheet.MSIX_TABLE_OFFSET,
      pendingOffset: sheet.MSIX_PBA_OFFSET,
    });
    this.addBar({ index: 2, bytes: sheet.BAR2_BYTES, width: 64, device: this.msix.registers });
    this.#ringFaults = ringFaults;
    this.#newRing = () =>
      new AcceleratorRing(
        {
          clock: this.clock,
          dma: this.dma,
          name: this.name,
          log: this.log,
          pagesInFlight,
          descriptorsInFlight,
          ringFaults,
          setupNs: latency.deviceSetup,
          bytesPerSecond: latency.acceleratorBytesPerSecond,
          raise: (vector) => this.msix.raise(vector),
        },
        () => this.#settings(),
        this.counters,
      );
    this.#ring = this.#newRing();
  }

  /** Nothing is under way. */
  get idle(): boolean {
    return this.#ring.idle;
  }

  override reset(): void {
    super.reset();
    this.msix.reset();
    this.#restart();
  }

  /** CONTROL.RESET: the registers return to zero; PCIe state stays. */
  #softReset(): void {
    const { pasid } = this.#settings();
    this.dma.abandon();
    // Page requests still outstanding for the PASID are the host's to finish; the marker says that no more will come.
    if (pasid !== NO_PASID) this.pageRequests?.stopPasidWithMarker(this.link.requesterId, pasid);
    this.#restart();
  }

  #restart(): void {
    this.#ring.stop();
    this.#ring = this.#newRing();
    this.#registers = new DataView(new ArrayBuffer(REGISTER_BYTES));
  }

  #settings(): RingSettings {
    const registers = this.#registers;
    const withPasid = sheet.PASID_CONTROL.ENABLE.get(registers, sheet.PASID_CONTROL.offset) === 1;
    return {
      page: sheet.RING_BASE.PAGE.get(registers, sheet.RING_BASE.offset),
      offset: sheet.RING_BASE.OFFSET.get(registers, sheet.RING_BASE.offset),
      log2Size: sheet.RING_SIZE.LOG2SIZE.get(registers, sheet.RING_SIZE.offset),
      pasid: withPasid ? sheet.PASID_CONTROL.PASID.get(registers, sheet.PASID_CONTROL.offset) : NO_PASID,
      key: new Uint8Array(registers.buffer, sheet.KEY_OFFSET, sheet.KEY_BYTES),
      initialCounter: new Uint8Array(registers.buffer, sheet.IV_OFFSET, sheet.IV_BYTES),
    };
  }

  readonly #bar0: MmioDevice = {
    name: 'accelerator',
    readRegister: (offset: number, size: AccessSize, data: DataView) => {
      if (size < 4) return BusStatus.ABORT;
      for (let byte = 0; byte < size; byte += 4) data.setUint32(byte, this.#read32(offset + byte), true);
      return BusStatus.OK;
    },
    writeRegister: (offset: number, size: AccessSize, data: DataView) => {
      if (size < 4) return BusStatus.ABORT;
      for (let byte = 0; byte < size; byte += 4) this.#write32(offset + byte, data.getUint32(byte, true));
      return BusStatus.OK;
    },
  };

  #read32(offset: number): number {
    const ring = this.#ring;
    switch (offset) {
      case sheet.IDENTITY.offset:
        return sheet.IDENTITY_VALUE;
      case sheet.FEATURES.offset:
        return sheet.FEATURES.PINNED_RING.in32(this.#ringFaults ? 0 : 1);
      case sheet.CONTROL.offset:
        return sheet.CONTROL.ENABLE.in32(ring.enabled ? 1 : 0);
      case sheet.STATUS.offset:
        return (
          sheet.STATUS.ENABLED.in32(ring.enabled ? 1 : 0) |
          sheet.STATUS.RING_ERROR.in32(ring.error ? 1 : 0) |
          sheet.STATUS.IDLE.in32(ring.idle ? 1 : 0)
        );
      case sheet.RING_TAIL.offset:
        return ring.tail;
      case sheet.RING_HEAD.offset:
        return ring.head;
      default:
        // The key and the counter block are write-only.
        return offset < sheet.KEY_OFFSET ? this.#registers.getUint32(offset, true) : 0;
    }
  }

  #write32(offset: number, value: number): void {
    const ring = this.#ring;
    const registers = this.#registers;
    switch (offset) {
      case sheet.CONTROL.offset:
        if (sheet.CONTROL.RESET.of(value) === 1) this.#softReset();
        else ring.enable(sheet.CONTROL.ENABLE.of(value) === 1);
        return;
      case sheet.RING_TAIL.offset:
        ring.doorbell(sheet.RING_TAIL.INDEX.of(value));
        return;
      case sheet.RING_BASE.offset:
        // Bits 5:0 are zero: a descriptor never crosses a page.
        if (!this.#busy) registers.setUint32(offset, value & ~(sheet.DESCRIPTOR_BYTES - 1), true);
        return;
      case sheet.RING_BASE.offset + 4:
        if (!this.#busy) registers.setUint32(offset, value, true);
        return;
      case sheet.RING_SIZE.offset:
        if (!this.#busy) registers.setUint32(offset, value & sheet.RING_SIZE.LOG2SIZE.mask32, true);
        return;
      case sheet.PASID_CONTROL.offset:
        if (this.#busy) return;
        registers.setUint32(
          offset,
          value & (sheet.PASID_CONTROL.PASID.mask32 | sheet.PASID_CONTROL.ENABLE.mask32),
          true,
        );
        return;
      default:
        if (offset >= sheet.KEY_OFFSET && offset < REGISTER_BYTES) registers.setUint32(offset, value, true);
    }
  }

  /** The ring's registers are fixed while it is enabled or something is under way. */
  get #busy(): boolean {
    return this.#ring.enabled || !this.#ring.idle;
  }
}
