/**
 * A function's 4 KiB configuration space (PCIe Base §7.2): which bits software may write, which it clears by writing 1,
 * and what happens after a write.
 */
import { assert } from '../../assert.ts';
import { Field } from '../../layout/field.ts';
import type { Layout, Values } from '../../layout/struct.ts';
import {
  CAPABILITY_BASE,
  CapabilityHead,
  CONFIG_BYTES,
  EXTENDED_BASE,
  ExtendedCapabilityHead,
  Header,
} from './config.layout.ts';

/** Bytes of one configuration access. */
export type ConfigSize = 1 | 2 | 4;

/** How a structure in configuration space behaves. What is in no list is read-only. */
export interface Declaration<S extends Layout> {
  /** Values after power-on and after a function level reset; zero where not given. */
  readonly values?: Partial<Values<S>>;
  readonly writable?: readonly (keyof S['$']['table'])[];
  /** Write 1 to clear. */
  readonly clearable?: readonly (keyof S['$']['table'])[];
  /** Writable fields that a function level reset leaves alone (PCIe §6.6.2). */
  readonly sticky?: readonly (keyof S['$']['table'])[];
}

interface Hook {
  readonly start: number;
  readonly end: number;
  readonly run: () => void;
}

/** Sets all bits of `field`, of the structure at byte `at`, in a bit mask of the whole space. */
function mark(mask: DataView, at: number, field: Field): void {
  field.set(mask, at, field.max);
}

export class ConfigSpace {
  readonly #view = new DataView(new ArrayBuffer(CONFIG_BYTES));
  readonly #initial = new DataView(new ArrayBuffer(CONFIG_BYTES));
  readonly #writable = new DataView(new ArrayBuffer(CONFIG_BYTES));
  readonly #clearable = new DataView(new ArrayBuffer(CONFIG_BYTES));
  readonly #sticky = new DataView(new ArrayBuffer(CONFIG_BYTES));
  readonly #writeHooks: Hook[] = [];
  readonly #readHooks: Hook[] = [];
  readonly #capabilities = new Map<number, number>();
  readonly #extended = new Map<number, number>();
  #lastCapability = 0;
  #nextCapability = CAPABILITY_BASE;
  #lastExtended = 0;
  #nextExtended = EXTENDED_BASE;

  /** Gives the structure at byte `at` its values and its access rules. */
  declare<S extends Layout>(layout: S, at: number, declaration: Declaration<S>): void {
    const { values = {}, writable = [], clearable = [], sticky = [] } = declaration;
    const fields = layout as unknown as Readonly<Record<PropertyKey, Field>>;
    const fieldOf = (name: PropertyKey): Field => {
      const field = fields[name];
      assert(field instanceof Field, `${layout.$.title} has no field ${String(name)}`);
      return field;
    };
    for (const [name, value] of Object.entries(values)) this.preset(fieldOf(name), at, value as number);
    for (const name of writable) mark(this.#writable, at, fieldOf(name));
    for (const name of clearable) mark(this.#clearable, at, fieldOf(name));
    for (const name of sticky) mark(this.#sticky, at, fieldOf(name));
  }

  /** Lets software write the bits of `mask` in the 32-bit register at `at`; for BARs, whose size is no fixed field. */
  allowWrites(at: number, mask: number): void {
    this.#writable.setUint32(at, (this.#writable.getUint32(at, true) | mask) >>> 0, true);
  }

  /** Sets a field now and as the value that a reset returns to. */
  preset(field: Field, at: number, value: number): void {
    field.set(this.#initial, at, value);
    field.set(this.#view, at, value);
  }

  /** Room for a capability of `byteLength` bytes, linked last in the chain: its offset. */
  addCapability(id: number, byteLength: number): number {
    const at = this.#nextCapability;
    this.#nextCapability = Math.ceil((at + byteLength) / 4) * 4;
    assert(this.#nextCapability <= EXTENDED_BASE, 'capabilities fit below 0x100');
    if (this.#lastCapability === 0) {
      this.preset(Header.CapabilitiesPointer, 0, at);
      this.preset(Header.CapabilitiesList, 0, 1);
    } else {
      this.preset(CapabilityHead.NextCapabilityPointer, this.#lastCapability, at);
    }
    this.preset(CapabilityHead.CapabilityID, at, id);
    this.#lastCapability = at;
    this.#capabilities.set(id, at);
    return at;
  }

  /** Room for an extended capability, linked last in the chain that begins at 0x100: its offset. */
  addExtendedCapability(id: number, version: number, byteLength: number): number {
    const at = this.#nextExtended;
    this.#nextExtended = Math.ceil((at + byteLength) / 4) * 4;
    assert(this.#nextExtended <= CONFIG_BYTES, 'extended capabilities fit below 4 KiB');
    if (this.#lastExtended !== 0) this.preset(ExtendedCapabilityHead.NextCapabilityOffset, this.#lastExtended, at);
    this.preset(ExtendedCapabilityHead.CapabilityID, at, id);
    this.preset(ExtendedCapabilityHead.CapabilityVersion, at, version);
    this.#lastExtended = at;
    this.#extended.set(id, at);
    return at;
  }

  /** Offset of a capability, or 0. */
  capability(id: number): number {
    return this.#capabilities.get(id) ?? 0;
  }

  /** Offset of an extended capability, or 0. */
  extendedCapability(id: number): number {
    return this.#extended.get(id) ?? 0;
  }

  /** A field as it is now, for the function itself. */
  get(field: Field, at = 0): number {
    return field.get(this.#view, at);
  }

  /** Changes a field from inside the function; no hook runs. */
  set(field: Field, at: number, value: number): void {
    field.set(this.#view, at, value);
  }

  /** Runs `hook` after each software write that touches `[at, at + byteLength)`, and after a reset. */
  onWrite(at: number, byteLength: number, hook: () => void): void {
    this.#writeHooks.push({ start: at, end: at + byteLength, run: hook });
  }

  /** Runs `hook` before each software read that touches `[at, at + byteLength)`, to bring dynamic bits up to date. */
  onRead(at: number, byteLength: number, hook: () => void): void {
    this.#readHooks.push({ start: at, end: at + byteLength, run: hook });
  }

  /** A configuration read of `size` bytes at a multiple of it. */
  read(offset: number, size: ConfigSize): number {
    assert(offset % size === 0 && offset >= 0 && offset < CONFIG_BYTES, `configuration read at ${offset}`);
    for (const hook of this.#readHooks) if (hook.start < offset + size && offset < hook.end) hook.run();
    if (size === 4) return this.#view.getUint32(offset, true);
    return size === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint8(offset);
  }

  /** A configuration write; bits that are not writable keep their value. */
  write(offset: number, size: ConfigSize, value: number): void {
    assert(offset % size === 0 && offset >= 0 && offset < CONFIG_BYTES, `configuration write at ${offset}`);
    for (let byte = 0; byte < size; byte++) {
      const at = offset + byte;
      const next = (value >>> (8 * byte)) & 0xff;
      const writable = this.#writable.getUint8(at);
      const cleared = next & this.#clearable.getUint8(at);
      const previous = this.#view.getUint8(at);
      this.#view.setUint8(at, ((previous & ~writable) | (next & writable)) & ~cleared);
    }
    for (const hook of this.#writeHooks) if (hook.start < offset + size && offset < hook.end) hook.run();
  }

  /** Returns every bit that is not sticky to its first value (PCIe §6.6.2), then runs all write hooks. */
  reset(): void {
    for (let at = 0; at < CONFIG_BYTES; at += 4) {
      const sticky = this.#sticky.getUint32(at, true);
      const kept = this.#view.getUint32(at, true) & sticky;
      this.#view.setUint32(at, (this.#initial.getUint32(at, true) & ~sticky) | kept, true);
    }
    for (const hook of this.#writeHooks) hook.run();
  }
}
