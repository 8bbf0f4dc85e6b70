/**
 * The user API against the header itself: a C program prints numbers, sizes and offsets, where a compiler and the kernel's
 * headers are at hand; and against values typed from the header everywhere.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { markdownTable } from '../layout/markdown.ts';
import type { Layout } from '../layout/struct.ts';
import * as uapi from './uapi.layout.ts';
import * as extensions from './uapi-extensions.layout.ts';

/** Members by our names, in the header's order; a 64-bit one has a LOW and a HIGH half. */
const STRUCTS: readonly [string, Layout, readonly string[]][] = [
  ['vfio_info_cap_header', uapi.InfoCapHeader, ['id', 'version', 'next']],
  ['vfio_group_status', uapi.GroupStatus, ['argsz', 'flags']],
  ['vfio_device_info', uapi.DeviceInfo, ['argsz', 'flags', 'num_regions', 'num_irqs', 'cap_offset']],
  ['vfio_region_info', uapi.RegionInfo, ['argsz', 'flags', 'index', 'cap_offset', 'size', 'offset']],
  ['vfio_irq_info', uapi.IrqInfo, ['argsz', 'flags', 'index', 'count']],
  ['vfio_irq_set', uapi.IrqSet, ['argsz', 'flags', 'index', 'start', 'count']],
  ['vfio_iommu_type1_info', uapi.IommuInfo, ['argsz', 'flags', 'iova_pgsizes', 'cap_offset']],
  ['vfio_iommu_type1_info_cap_iova_range', uapi.CapIovaRange, ['nr_iovas']],
  ['vfio_iova_range', uapi.IovaRange, ['start', 'end']],
  ['vfio_iommu_type1_info_cap_migration', uapi.CapMigration, ['flags', 'pgsize_bitmap', 'max_dirty_bitmap_size']],
  ['vfio_iommu_type1_info_dma_avail', uapi.CapDmaAvail, ['avail']],
  ['vfio_iommu_type1_dma_map', uapi.DmaMap, ['argsz', 'flags', 'vaddr', 'iova', 'size']],
  ['vfio_iommu_type1_dma_unmap', uapi.DmaUnmap, ['argsz', 'flags', 'iova', 'size']],
  ['vfio_bitmap', uapi.DirtyBitmap, ['pgsize', 'size', 'data']],
  ['vfio_iommu_type1_dirty_bitmap', uapi.DirtyPages, ['argsz', 'flags']],
  ['vfio_iommu_type1_dirty_bitmap_get', uapi.DirtyBitmapGet, ['iova', 'size']],
];

/** Constants of the header by our name for them. */
const CONSTANTS: readonly [string, number][] = [
  ...Object.entries(uapi.Ioctl).filter(([name]) => name !== 'VFIO_IOMMU_ENABLE_IOPF'),
  ...Object.entries(uapi.Extension),
  ...prefixed('VFIO_GROUP_FLAGS_', uapi.GroupFlags),
  ...prefixed('VFIO_DEVICE_FLAGS_', uapi.DeviceFlags),
  ...prefixed('VFIO_REGION_INFO_FLAG_', uapi.RegionFlags),
  ...prefixed('VFIO_IRQ_INFO_', uapi.IrqInfoFlags),
  ...prefixed('VFIO_IRQ_SET_', uapi.IrqSetFlags),
  ...prefixed('VFIO_IOMMU_INFO_', uapi.IommuInfoFlags),
  ...prefixed('VFIO_DMA_MAP_FLAG_', uapi.DmaMapFlags),
  ...prefixed('VFIO_DMA_UNMAP_FLAG_', uapi.DmaUnmapFlags),
  ...prefixed('VFIO_IOMMU_DIRTY_PAGES_FLAG_', uapi.DirtyPagesFlags),
  ['VFIO_API_VERSION', uapi.VFIO_API_VERSION],
  ['VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE', uapi.IommuInfoCap.IOVA_RANGE],
  ['VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION', uapi.IommuInfoCap.MIGRATION],
  ['VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL', uapi.IommuInfoCap.DMA_AVAIL],
  ['VFIO_PCI_BAR0_REGION_INDEX', uapi.PciRegion.BAR0],
  ['VFIO_PCI_BAR5_REGION_INDEX', uapi.PciRegion.BAR5],
  ['VFIO_PCI_ROM_REGION_INDEX', uapi.PciRegion.ROM],
  ['VFIO_PCI_CONFIG_REGION_INDEX', uapi.PciRegion.CONFIG],
  ['VFIO_PCI_VGA_REGION_INDEX', uapi.PciRegion.VGA],
  ['VFIO_PCI_NUM_REGIONS', uapi.PciRegion.COUNT],
  ['VFIO_PCI_INTX_IRQ_INDEX', uapi.PciIrq.INTX],
  ['VFIO_PCI_MSI_IRQ_INDEX', uapi.PciIrq.MSI],
  ['VFIO_PCI_MSIX_IRQ_INDEX', uapi.PciIrq.MSIX],
  ['VFIO_PCI_ERR_IRQ_INDEX', uapi.PciIrq.ERR],
  ['VFIO_PCI_REQ_IRQ_INDEX', uapi.PciIrq.REQ],
  ['VFIO_PCI_NUM_IRQS', uapi.PciIrq.COUNT],
];

function prefixed(prefix: string, table: Readonly<Record<string, number>>): [string, number][] {
  return Object.entries(table).map(([name, value]) => [`${prefix}${name}`, value]);
}

/** Byte offset and size of a member as our layout has it. */
function placeOf(layout: Layout, member: string): [number, number] {
  const fields = layout.$.fields;
  const name = member.toUpperCase();
  const whole = fields.find((field) => field.name === name);
  if (whole !== undefined) return [whole.lsb / 8, whole.width / 8];
  const low = fields.find((field) => field.name === `${name}_LOW`);
  const high = fields.find((field) => field.name === `${name}_HIGH`);
  if (low === undefined || high?.lsb !== low.lsb + 32) throw new Error(`${layout.$.title} has no ${member}`);
  return [low.lsb / 8, 8];
}

const PROBE_SOURCE = `
#include <stddef.h>
#include <stdio.h>
#include <linux/ioctl.h>
#include <linux/vfio.h>
int main(void) {
${CONSTANTS.map(([name]) => `  printf("${name} %llu\\n", (unsigned long long)(${name}));`).join('\n')}
${STRUCTS.map(([name, , members]) =>
  [
    // struct vfio_device_info grew after Linux 6.1.
    name === 'vfio_device_info' ? '' : `  printf("sizeof ${name} %zu\\n", sizeof(struct ${name}));`,
    ...members.map(
      (member) =>
        `  printf("${name}.${member} %zu %zu\\n", offsetof(struct ${name}, ${member}), sizeof(((struct ${name} *)0)->${member}));`,
    ),
  ].join('\n'),
).join('\n')}
  return 0;
}
`;

/** What the probe prints, or null without a compiler or headers. */
function probe(): string | null {
  const folder = mkdtempSync(join(tmpdir(), 'faultline-uapi-'));
  try {
    writeFileSync(join(folder, 'probe.c'), PROBE_SOURCE);
    const check = spawnSync('cc', ['-E', '-include', 'linux/vfio.h', '-xc', '/dev/null'], { stdio: 'ignore' });
    if (check.error !== undefined || check.status !== 0) return null;
    execFileSync('cc', ['-o', join(folder, 'probe'), join(folder, 'probe.c')]);
    return execFileSync(join(folder, 'probe'), { encoding: 'utf8' });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const printed = probe();

describe('against the header on this machine', () => {
  test.runIf(printed !== null)('a C program sees the same numbers, sizes and offsets', () => {
    const ours = [
      ...CONSTANTS.map(([name, value]) => `${name} ${value}`),
      ...STRUCTS.flatMap(([name, layout, members]) => [
        ...(name === 'vfio_device_info' ? [] : [`sizeof ${name} ${layout.$.byteLength}`]),
        ...members.map((member) => `${name}.${member} ${placeOf(layout, member).join(' ')}`),
      ]),
    ];
    expect(ours).toEqual(printed?.trim().split('\n'));
  });
});

describe('typed from the header', () => {
  test('request numbers are _IO(;, 100 + n)', () => {
    const io = (n: number) => 0x3b * 256 + 100 + n;
    expect(uapi.Ioctl).toMatchObject({
      VFIO_GET_API_VERSION: io(0),
      VFIO_SET_IOMMU: io(2),
      VFIO_GROUP_GET_DEVICE_FD: io(6),
      VFIO_DEVICE_RESET: io(11),
      VFIO_IOMMU_GET_INFO: io(12),
      VFIO_IOMMU_MAP_DMA: io(13),
      VFIO_IOMMU_UNMAP_DMA: io(14),
      VFIO_IOMMU_DIRTY_PAGES: io(17),
      VFIO_IOMMU_ENABLE_IOPF: io(18),
    });
    expect(Object.values(extensions.ExtensionIoctl)).toEqual([100, 101, 102, 103, 104].map(io));
  });

  test('struct vfio_iommu_type1_dma_map is 32 bytes', () => {
    expect(uapi.DmaMap.$.byteLength).toBe(32);
    expect(['argsz', 'flags', 'vaddr', 'iova', 'size'].map((member) => placeOf(uapi.DmaMap, member))).toEqual([
      [0, 4],
      [4, 4],
      [8, 8],
      [16, 8],
      [24, 8],
    ]);
  });

  test('ours collide with no number of the header', () => {
    const theirs = new Set(
      CONSTANTS.filter(([name]) => /^VFIO_(IOMMU|DEVICE|GROUP|SET|GET|CHECK)/.test(name)).map(([, value]) => value),
    );
    for (const number of Object.values(extensions.ExtensionIoctl)) expect(theirs.has(number)).toBe(false);
    expect(Object.values(uapi.Extension)).not.toContain(extensions.VFIO_IOPF);
    expect(Object.values(uapi.DmaMapFlags)).not.toContain(extensions.VFIO_DMA_MAP_FLAG_STATIC);
  });
});

test('docs/uapi.md shows our structures and numbers as they are', () => {
  const text = readFileSync(new URL('../../docs/uapi.md', import.meta.url), 'utf8');
  for (const layout of [extensions.IopfConfig, extensions.DmaRange, extensions.CapIopf]) {
    expect(text).toContain(markdownTable(layout).trim());
  }
  for (const [name, number] of Object.entries(extensions.ExtensionIoctl)) {
    expect(text).toContain(`| ${name} | \`0x${number.toString(16)}\` |`);
  }
});
