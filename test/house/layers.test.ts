/** Who may see whom (docs/design.md, "Layers"): imports point one way, and nothing below the platform knows real time. */
import { describe, expect, test } from 'vitest';
import { type SourceFile, sourceFiles } from './source-files.ts';

interface Room {
  /** Files whose path starts so; the longest match wins. */
  readonly prefix: string;
  /** Prefixes it may import, beside itself, `src/assert.ts` and `src/errno.ts`. */
  readonly sees: readonly string[];
  /** Packages and Node modules it may import. */
  readonly packages?: readonly string[];
}

const LOG = ['pino'];

const ROOMS: readonly Room[] = [
  { prefix: 'src/assert.ts', sees: [] },
  { prefix: 'src/errno.ts', sees: [] },
  { prefix: 'src/layout/', sees: [], packages: ['binary-parser'] },
  { prefix: 'src/sim/', sees: [], packages: LOG },
  { prefix: 'src/hw/', sees: ['src/layout/', 'src/sim/'], packages: [...LOG, 'node:crypto'] },
  { prefix: 'src/iommu/spec/', sees: ['src/layout/'] },
  { prefix: 'src/iommu/core.ts', sees: ['src/sim/'] },
  {
    prefix: 'src/iommu/smmuv3/',
    sees: ['src/iommu/spec/', 'src/hw/', 'src/layout/', 'src/sim/'],
    packages: LOG,
  },
  {
    prefix: 'src/iommu/driver/',
    sees: ['src/iommu/spec/', 'src/iommu/core.ts', 'src/hw/', 'src/layout/', 'src/sim/'],
    packages: LOG,
  },
  { prefix: 'src/mm/', sees: ['src/hw/memory.ts', 'src/layout/', 'src/sim/'], packages: LOG },
  { prefix: 'src/vfio/', sees: ['src/iommu/core.ts', 'src/mm/', 'src/layout/', 'src/sim/'], packages: LOG },
  { prefix: 'src/sva/', sees: ['src/iommu/core.ts', 'src/mm/', 'src/layout/', 'src/sim/'], packages: LOG },
  {
    prefix: 'src/guest/',
    sees: [
      'src/vfio/uapi',
      'src/iommu/spec/',
      'src/hw/devices/accelerator.layout.ts',
      'src/hw/pcie/',
      'src/layout/',
      'src/sim/',
    ],
    packages: [...LOG, 'node:crypto'],
  },
];

/** Rooms above the layers: they may see everything below them. */
const ABOVE = [
  'src/platform',
  'src/cli/',
  'src/scenario/',
  'src/conformance/',
  'src/board/',
  'src/index.ts',
  'src/machine.ts',
];

/** The guest reads layouts of the hardware as a driver reads headers, never its code. */
const LAYOUTS_ONLY: readonly [from: string, to: string][] = [
  ['src/guest/', 'src/hw/'],
  ['src/guest/', 'src/vfio/'],
  ['src/guest/', 'src/iommu/'],
];

function roomOf(file: string): Room | undefined {
  return ROOMS.filter((room) => file.startsWith(room.prefix)).sort((a, b) => b.prefix.length - a.prefix.length)[0];
}

/** What is wrong with the imports of a file; empty when nothing is. */
function trespasses({ file, imports }: Pick<SourceFile, 'file' | 'imports'>): string[] {
  const room = roomOf(file);
  if (room === undefined) return ABOVE.some((prefix) => file.startsWith(prefix)) ? [] : [`${file} stands in no room`];
  return imports.flatMap((target) => {
    if (!target.startsWith('src/')) {
      return room.packages?.includes(target) ? [] : [`${file} imports the package ${target}`];
    }
    const data = LAYOUTS_ONLY.some(([from, to]) => file.startsWith(from) && target.startsWith(to));
    const allowed =
      target === 'src/assert.ts' ||
      target === 'src/errno.ts' ||
      target.startsWith(room.prefix) ||
      (room.sees.some((prefix) => target.startsWith(prefix)) && roomOf(target) !== undefined);
    return allowed && (!data || /\.layout\.ts$/.test(target)) ? [] : [`${file} imports ${target}`];
  });
}

const files = sourceFiles('src');

test('every import is one that the plan of the house allows', () => {
  expect(files.length).toBeGreaterThan(20);
  expect(files.flatMap(trespasses)).toEqual([]);
});

test.each([
  ['src/iommu/smmuv3/a.ts', 'src/iommu/driver/b.ts'],
  ['src/iommu/driver/a.ts', 'src/iommu/smmuv3/b.ts'],
  ['src/layout/a.ts', 'src/sim/clock.ts'],
  ['src/vfio/a.ts', 'src/iommu/driver/b.ts'],
  ['src/vfio/a.ts', 'src/hw/memory.ts'],
  ['src/sva/a.ts', 'src/vfio/container.ts'],
  ['src/vfio/a.ts', 'src/sva/sva.ts'],
  ['src/guest/a.ts', 'src/mm/address-space.ts'],
  ['src/guest/a.ts', 'src/vfio/container.ts'],
  ['src/guest/a.ts', 'src/hw/devices/accelerator.ts'],
  ['src/hw/a.ts', 'src/iommu/core.ts'],
  ['src/hw/a.ts', 'src/platform.ts'],
  ['src/sim/a.ts', 'node:fs'],
])('%s may not import %s', (file, target) => {
  expect(trespasses({ file, imports: [target] })).toHaveLength(1);
});

describe('below the platform', () => {
  const REAL =
    /\bDate\.now\b|\bnew Date\b|\bperformance\.now\b|\bprocess\.hrtime\b|\bMath\.random\b|\bsetTimeout\b|\bsetInterval\b|\bsetImmediate\b|\bqueueMicrotask\b|\bnew Promise\b|\bPromise\.|\bawait\b|\basync\b/;
  const code = (text: string) => text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');

  test('nothing reads a real clock, chance, a timer or a promise', () => {
    const found = files.filter((file) => roomOf(file.file) !== undefined && REAL.test(code(file.text)));
    expect(found.map(({ file }) => file)).toEqual([]);
  });
});

test('a layout file holds data only', () => {
  const busy = files
    .filter(({ file }) => /\.layout\.ts$/.test(file))
    .filter(({ text }) => /\bfunction\b|=>|\bclass\b/.test(text.replace(/\/\*[\s\S]*?\*\//g, '')));
  expect(busy.map(({ file }) => file)).toEqual([]);
});
