/** Component identification block (IHI 0070 §6.3.170). A field without a value is IMPLEMENTATION DEFINED. */
import type { ComponentFact } from './register-fact.ts';

export const COMPONENT_REGISTERS: readonly ComponentFact[] = [
  {
    name: 'PIDR4',
    offset: 0x0fd0,
    fields: [
      { name: 'SIZE', bits: [7, 4], value: 0 },
      { name: 'DES_2', bits: [3, 0] },
    ],
  },
  { name: 'PIDR5', offset: 0x0fd4, fields: [] },
  { name: 'PIDR6', offset: 0x0fd8, fields: [] },
  { name: 'PIDR7', offset: 0x0fdc, fields: [] },
  { name: 'PIDR0', offset: 0x0fe0, fields: [{ name: 'PART_0', bits: [7, 0] }] },
  {
    name: 'PIDR1',
    offset: 0x0fe4,
    fields: [
      { name: 'DES_0', bits: [7, 4] },
      { name: 'PART_1', bits: [3, 0] },
    ],
  },
  {
    name: 'PIDR2',
    offset: 0x0fe8,
    fields: [
      { name: 'REVISION', bits: [7, 4] },
      { name: 'JEDEC', bits: [3, 3], value: 1 },
      { name: 'DES_1', bits: [2, 0] },
    ],
  },
  {
    name: 'PIDR3',
    offset: 0x0fec,
    fields: [
      { name: 'REVAND', bits: [7, 4] },
      { name: 'CMOD', bits: [3, 0] },
    ],
  },
  { name: 'CIDR0', offset: 0x0ff0, fields: [{ name: 'PRMBL', bits: [7, 0], value: 13 }] },
  {
    name: 'CIDR1',
    offset: 0x0ff4,
    fields: [
      { name: 'CLASS', bits: [7, 4], value: 15 },
      { name: 'PRMBL', bits: [3, 0], value: 0 },
    ],
  },
  { name: 'CIDR2', offset: 0x0ff8, fields: [{ name: 'PRMBL', bits: [7, 0], value: 5 }] },
  { name: 'CIDR3', offset: 0x0ffc, fields: [{ name: 'PRMBL', bits: [7, 0], value: 177 }] },
];
