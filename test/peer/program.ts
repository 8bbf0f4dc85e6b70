/**
 * A program is data: steps that both servers carry out, and what was seen at each. Being data, a program can be
 * printed, stored, cut down to the steps that matter, and run again.
 */
import { CD, L1CD } from '../../src/iommu/spec/cd.layout.ts';
import type { COMMANDS } from '../../src/iommu/spec/commands.layout.ts';
import { REGISTERS } from '../../src/iommu/spec/registers.layout.ts';
import { L1STD, STE } from '../../src/iommu/spec/ste.layout.ts';
import type { RegisterLayout } from '../../src/layout/register.ts';
import type { Layout } from '../../src/layout/struct.ts';
import { Stage1Leaf, Stage2Leaf, TableDescriptor } from './descriptors.ts';

/** Structures that a program writes to memory. */
export const STRUCTURES = { STE, L1STD, CD, L1CD, TableDescriptor, Stage1Leaf, Stage2Leaf } as const;
export type StructureName = keyof typeof STRUCTURES;
export type CommandName = keyof typeof COMMANDS;
export type Fields = Readonly<Record<string, number>>;

/** Fields of a structure, checked by its name. */
export type FieldsOf<N extends StructureName> = Partial<Record<keyof (typeof STRUCTURES)[N]['$']['table'], number>>;

const short = (layout: RegisterLayout): string => layout.$.title.replace(/^SMMU_/, '');
const byName: Readonly<Record<string, RegisterLayout>> = Object.fromEntries(
  REGISTERS.map((layout) => [short(layout), layout]),
);

/** The register called `name` as the specification has it, without `SMMU_`. */
export function registerCalled(name: string): RegisterLayout {
  const found = byName[name];
  if (found === undefined) throw new Error(`no register ${name}`);
  return found;
}

export type Step =
  /** Writes a register and reads it back. `size` splits or widens the access. */
  | { readonly op: 'set'; readonly register: string; readonly value: bigint }
  | { readonly op: 'get'; readonly register: string }
  /** Reads or writes with an access of `size` bytes at any offset. */
  | { readonly op: 'peek'; readonly offset: number; readonly size: AccessSize }
  | { readonly op: 'poke'; readonly offset: number; readonly size: AccessSize; readonly value: bigint }
  | { readonly op: 'put'; readonly structure: StructureName; readonly at: number; readonly fields: Fields }
  | { readonly op: 'word'; readonly at: number; readonly value: bigint }
  | { readonly op: 'fill'; readonly at: number; readonly length: number; readonly value: number }
  /** Reads memory. */
  | { readonly op: 'look'; readonly at: number; readonly length: number }
  /** Adds commands to the queue, then tells the SMMU. */
  | { readonly op: 'commands'; readonly commands: readonly Command[] }
  /** Empties the command queue, off and on again, and acknowledges its errors. */
  | { readonly op: 'restart' }
  /** A write by the test device: `length` bytes of its pattern to `iova`; `physical` is where they are looked for. */
  | {
      readonly op: 'dma';
      readonly device: number;
      readonly iova: bigint;
      readonly length: number;
      readonly physical: number;
      /** Leaves records in the event queue. */
      readonly keepEvents?: boolean;
    }
  /** A transfer by the edu device, between its buffer and `iova`. */
  | {
      readonly op: 'transfer';
      readonly direction: 'from-memory' | 'to-memory';
      readonly iova: bigint;
      readonly length: number;
    }
  /** Consumes the event queue. */
  | { readonly op: 'events' };

export type AccessSize = 1 | 2 | 4 | 8;

/** A command by its layout, or as words; `words` are laid over what the fields give. */
export interface Command {
  readonly name?: CommandName;
  readonly fields?: Fields;
  readonly words?: Readonly<Record<number, number>>;
}

export interface Program {
  readonly name: string;
  /** Where the command and event queues lie, and how many entries they have (log2). */
  readonly queues: QueueSizes;
  readonly steps: readonly Step[];
}

export interface QueueSizes {
  readonly commands: number;
  readonly events: number;
}

/** What was seen at a step: numbers as hexadecimal text, in the order in which they were read. */
export interface Observation {
  readonly result?: string;
  readonly CMDQ_CONS?: string;
  readonly [name: string]: string | undefined;
}

export type AnyStructure = Layout;
