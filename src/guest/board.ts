/**
 * The virtual machine's board as the guest's kernel meets it: one PCI function behind a window of memory-mapped I/O, an
 * interrupt controller with a doorbell for messages, and memory. The virtual machine implements it; drivers use it.
 */
import type { Steps } from '../sim/task.ts';
import type { GuestMemory } from './guest-memory.ts';

/** Guest-physical addresses, laid out as on QEMU's `virt` machine. */
export const GUEST_MMIO_BASE = 0x1000_0000;
export const GUEST_MMIO_END = 0x3eff_0000;
export const GUEST_RAM_BASE = 0x4000_0000;
/** A 32-bit write of an interrupt number here raises that interrupt (GICv2m SETSPI_NS). */
export const GUEST_MSI_DOORBELL = 0x0802_0040;
/** The first interrupt number that messages may use. */
export const GUEST_MSI_FIRST = 80;

/** Bytes of one access by a guest CPU. */
export type GuestAccessSize = 1 | 2 | 4;

export interface GuestBoard {
  readonly memory: GuestMemory;
  /** Configuration space of the function; offsets are multiples of `size`. */
  readConfig(offset: number, size: GuestAccessSize): Steps<number>;
  writeConfig(offset: number, size: GuestAccessSize, value: number): Steps;
  /** A register; addresses are multiples of `size`. Reads where nothing answers give all ones; writes there are lost. */
  readMmio(address: number, size: GuestAccessSize): Steps<number>;
  writeMmio(address: number, size: GuestAccessSize, value: number): Steps;
  /** Runs `handler` each time `interrupt` is raised; a handler only notes what happened and wakes tasks. */
  connectInterrupt(interrupt: number, handler: () => void): void;
  /**
   * Keeps memory present for the device, which cannot wait for it, until the machine stops. A board without it cannot.
   *
   * @throws VmmError
   */
  keepPresent?(address: number, bytes: number): Steps;
}
