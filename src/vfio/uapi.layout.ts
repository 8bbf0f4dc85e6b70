/**
 * The user API of VFIO and its type1 IOMMU, as `linux/vfio.h` of Linux 6.1 has it. Numbers and layouts are the header's;
 * 64-bit members are split into LOW and HIGH words.
 */
import { struct } from '../layout/struct.ts';

const HEADER = 'linux/vfio.h';

export const VFIO_API_VERSION = 0;

/** Requests: _IO(';', 100 + n). Numbers from 112 on mean different things on devices and on type1 containers. */
export const Ioctl = {
  VFIO_GET_API_VERSION: 0x3b64,
  VFIO_CHECK_EXTENSION: 0x3b65,
  VFIO_SET_IOMMU: 0x3b66,
  VFIO_GROUP_GET_STATUS: 0x3b67,
  VFIO_GROUP_SET_CONTAINER: 0x3b68,
  VFIO_GROUP_UNSET_CONTAINER: 0x3b69,
  VFIO_GROUP_GET_DEVICE_FD: 0x3b6a,
  VFIO_DEVICE_GET_INFO: 0x3b6b,
  VFIO_DEVICE_GET_REGION_INFO: 0x3b6c,
  VFIO_DEVICE_GET_IRQ_INFO: 0x3b6d,
  VFIO_DEVICE_SET_IRQS: 0x3b6e,
  VFIO_DEVICE_RESET: 0x3b6f,
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: 0x3b70,
  VFIO_DEVICE_PCI_HOT_RESET: 0x3b71,
  VFIO_DEVICE_IOEVENTFD: 0x3b74,
  VFIO_DEVICE_FEATURE: 0x3b75,
  VFIO_IOMMU_GET_INFO: 0x3b70,
  VFIO_IOMMU_MAP_DMA: 0x3b71,
  VFIO_IOMMU_UNMAP_DMA: 0x3b72,
  VFIO_IOMMU_DIRTY_PAGES: 0x3b75,
  /** Of the 2021 proposal, in no release. On other IOMMU types the number is VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY. */
  VFIO_IOMMU_ENABLE_IOPF: 0x3b76,
} as const;

/** VFIO_CHECK_EXTENSION arguments; the first three of type1 also name an IOMMU for VFIO_SET_IOMMU. */
export const Extension = {
  VFIO_TYPE1_IOMMU: 1,
  VFIO_TYPE1v2_IOMMU: 3,
  VFIO_DMA_CC_IOMMU: 4,
  VFIO_TYPE1_NESTING_IOMMU: 6,
  VFIO_NOIOMMU_IOMMU: 8,
  VFIO_UNMAP_ALL: 9,
  VFIO_UPDATE_VADDR: 10,
} as const;

/** Heads each entry of a capability chain. */
export const InfoCapHeader = struct('struct vfio_info_cap_header', HEADER, 8, {
  ID: [15, 0],
  VERSION: [31, 16],
  NEXT: [63, 32],
});

export const GroupStatus = struct('struct vfio_group_status', HEADER, 8, { ARGSZ: [31, 0], FLAGS: [63, 32] });
export const GroupFlags = { VIABLE: 1, CONTAINER_SET: 2 } as const;

export const DeviceInfo = struct('struct vfio_device_info', HEADER, 20, {
  ARGSZ: [31, 0],
  FLAGS: [63, 32],
  NUM_REGIONS: [95, 64],
  NUM_IRQS: [127, 96],
  CAP_OFFSET: [159, 128],
});
/** Least argsz of {@link DeviceInfo}: cap_offset came later. */
export const DEVICE_INFO_BYTES_MIN = 16;
export const DeviceFlags = { RESET: 1, PCI: 2, CAPS: 0x80 } as const;

export const RegionInfo = struct('struct vfio_region_info', HEADER, 32, {
  ARGSZ: [31, 0],
  FLAGS: [63, 32],
  INDEX: [95, 64],
  CAP_OFFSET: [127, 96],
  SIZE_LOW: [159, 128],
  SIZE_HIGH: [191, 160],
  OFFSET_LOW: [223, 192],
  OFFSET_HIGH: [255, 224],
});
export const RegionFlags = { READ: 1, WRITE: 2, MMAP: 4, CAPS: 8 } as const;

/** Region indexes of a PCI device, and where a region lies in the device file. */
export const PciRegion = { BAR0: 0, BAR5: 5, ROM: 6, CONFIG: 7, VGA: 8, COUNT: 9 } as const;
/** Bytes of device file per region: offset = index * 2^40. */
export const REGION_STRIDE = 2 ** 40;

export const IrqInfo = struct('struct vfio_irq_info', HEADER, 16, {
  ARGSZ: [31, 0],
  FLAGS: [63, 32],
  INDEX: [95, 64],
  COUNT: [127, 96],
});
export const IrqInfoFlags = { EVENTFD: 1, MASKABLE: 2, AUTOMASKED: 4, NORESIZE: 8 } as const;

/** Followed by one byte (BOOL) or one signed 32-bit file descriptor (EVENTFD) per interrupt. */
export const IrqSet = struct('struct vfio_irq_set', HEADER, 20, {
  ARGSZ: [31, 0],
  FLAGS: [63, 32],
  INDEX: [95, 64],
  START: [127, 96],
  COUNT: [159, 128],
});
export const IrqSetFlags = {
  DATA_NONE: 1,
  DATA_BOOL: 2,
  DATA_EVENTFD: 4,
  ACTION_MASK: 8,
  ACTION_UNMASK: 0x10,
  ACTION_TRIGGER: 0x20,
  DATA_TYPE_MASK: 7,
  ACTION_TYPE_MASK: 0x38,
} as const;
export const PciIrq = { INTX: 0, MSI: 1, MSIX: 2, ERR: 3, REQ: 4, COUNT: 5 } as const;

export const IommuInfo = struct('struct vfio_iommu_type1_info', HEADER, 24, {
  ARGSZ: [31, 0],
  FLAGS: [63, 32],
  IOVA_PGSIZES_LOW: [95, 64],
  IOVA_PGSIZES_HIGH: [127, 96],
  CAP_OFFSET: [159, 128],
});
/** Least argsz of {@link IommuInfo}: cap_offset came later. */
export const IOMMU_INFO_BYTES_MIN = 16;
export const IommuInfoFlags = { PGSIZES: 1, CAPS: 2 } as const;
export const IommuInfoCap = { IOVA_RANGE: 1, MIGRATION: 2, DMA_AVAIL: 3 } as const;

/** Followed by NR_IOVAS times {@link IovaRange}. */
export const CapIovaRange = struct('struct vfio_iommu_type1_info_cap_iova_range', HEADER, 16, {
  NR_IOVAS: [95, 64],
});
/** END is the last address of the range. */
export const IovaRange = struct('struct vfio_iova_range', HEADER, 16, {
  START_LOW: [31, 0],
  START_HIGH: [63, 32],
  END_LOW: [95, 64],
  END_HIGH: [127, 96],
});
export const CapMigration = struct('struct vfio_iommu_type1_info_cap_migration', HEADER, 32, {
  FLAGS: [95, 64],
  PGSIZE_BITMAP_LOW: [159, 128],
  PGSIZE_BITMAP_HIGH: [191, 160],
  MAX_DIRTY_BITMAP_SIZE_LOW: [223, 192],
  MAX_DIRTY_BITMAP_SIZE_HIGH: [255, 224],
});
export const CapDmaAvail = struct('struct vfio_iommu_type1_info_dma_avail', HEADER, 12, { AVAIL: [95, 64] });

export const DmaMap = struct('struct vfio_iommu_type1_dma_map', HEADER, 32, {
  ARGSZ: [31, 0],
  FLAGS: [63, 32],
  VADDR_LOW: [95, 64],
  VADDR_HIGH: [127, 96],
  IOVA_LOW: [159, 128],
  IOVA_HIGH: [191, 160],
  SIZE_LOW: [223, 192],
  SIZE_HIGH: [255, 224],
});
export const DmaMapFlags = { READ: 1, WRITE: 2, VADDR: 4 } as const;

/** With GET_DIRTY_BITMAP followed by {@link DirtyBitmap}. */
export const DmaUnmap = struct('struct vfio_iommu_type1_dma_unmap', HEADER, 24, {
  ARGSZ: [31, 0],
  FLAGS: [63, 32],
  IOVA_LOW: [95, 64],
  IOVA_HIGH: [127, 96],
  SIZE_LOW: [159, 128],
  SIZE_HIGH: [191, 160],
});
export const DmaUnmapFlags = { GET_DIRTY_BITMAP: 1, ALL: 2, VADDR: 4 } as const;

/** DATA points to SIZE bytes of 64-bit words, one bit per page of PGSIZE bytes. */
export const DirtyBitmap = struct('struct vfio_bitmap', HEADER, 24, {
  PGSIZE_LOW: [31, 0],
  PGSIZE_HIGH: [63, 32],
  SIZE_LOW: [95, 64],
  SIZE_HIGH: [127, 96],
  DATA_LOW: [159, 128],
  DATA_HIGH: [191, 160],
});
/** Largest bitmap, in bytes. */
export const DIRTY_BITMAP_BYTES_MAX = 0x1000_0000;

/** With GET_BITMAP followed by {@link DirtyBitmapGet}. */
export const DirtyPages = struct('struct vfio_iommu_type1_dirty_bitmap', HEADER, 8, {
  ARGSZ: [31, 0],
  FLAGS: [63, 32],
});
export const DirtyPagesFlags = { START: 1, STOP: 2, GET_BITMAP: 4 } as const;

/** IOVA, SIZE, then {@link DirtyBitmap} at byte 16. */
export const DirtyBitmapGet = struct('struct vfio_iommu_type1_dirty_bitmap_get', HEADER, 40, {
  IOVA_LOW: [31, 0],
  IOVA_HIGH: [63, 32],
  SIZE_LOW: [95, 64],
  SIZE_HIGH: [127, 96],
});

/** Mappings that a container may hold unless told otherwise. */
export const DMA_ENTRY_LIMIT = 65_535;
