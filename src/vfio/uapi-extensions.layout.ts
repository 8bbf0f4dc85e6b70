/**
 * What Faultline adds to the VFIO user API, so that the review's questions have answers: numbers start at 200, well apart
 * from those of any release. Everything here is announced by VFIO_CHECK_EXTENSION and by a VFIO_IOMMU_GET_INFO capability.
 */
import { struct } from '../layout/struct.ts';

const OURS = 'Faultline, docs/uapi.md';

/** Requests on a type1 container: _IO(';', 200 + n). */
export const ExtensionIoctl = {
  /** Drains, pins and maps what user space may use, and stops faulting; no argument. */
  VFIO_IOMMU_DISABLE_IOPF: 0x3bc8,
  /** {@link IopfConfig}. */
  VFIO_IOMMU_CONFIGURE_IOPF: 0x3bc9,
  /** {@link DmaRange}: maps the range now, as a fault would. */
  VFIO_IOMMU_PREFAULT_DMA: 0x3bca,
  /** {@link DmaRange}: pins, accounts and maps pages that the device must never fault on. */
  VFIO_IOMMU_PIN_DMA: 0x3bcb,
  /** {@link DmaRange}: ends one VFIO_IOMMU_PIN_DMA of exactly this range. */
  VFIO_IOMMU_UNPIN_DMA: 0x3bcc,
} as const;

/** VFIO_CHECK_EXTENSION: 1 where VFIO_IOMMU_ENABLE_IOPF and the requests above exist. */
export const VFIO_IOPF = 200;

/** VFIO_IOMMU_ENABLE_IOPF takes which kind of fault to use. */
export const IopfMode = {
  /** Page requests where a device has them, else stalls. */
  ANY: 0,
  STALL: 1,
  PRI: 2,
} as const;

/** VFIO_IOMMU_MAP_DMA: pinned and mapped at once although the container faults. */
export const VFIO_DMA_MAP_FLAG_STATIC = 0x1_0000;

/** Policies of {@link IopfConfig}. PAGES counts the page that faulted. */
export const PremapPolicyKind = {
  NONE: 0,
  /** The page and those that follow it, up to PAGES. */
  NEXT: 1,
  /** The naturally aligned block of PAGES pages around the page. */
  ALIGNED: 2,
  /** The pages that the distance between the last two faults predicts, PAGES with the page itself. */
  STRIDE: 3,
} as const;

/** FLAGS say which members count. */
export const IopfConfig = struct('struct vfio_iommu_iopf_config', OURS, 32, {
  ARGSZ: [31, 0],
  FLAGS: [63, 32],
  POLICY: [95, 64],
  PAGES: [127, 96],
  /** Bytes that may be mapped on demand at one time; 0: no limit. */
  RESIDENCY_LIMIT_LOW: [159, 128],
  RESIDENCY_LIMIT_HIGH: [191, 160],
  /** Threads of the work queue; 0: groups are handled on the thread that reads the IOMMU's queue. */
  WORKERS: [223, 192],
});
export const IopfConfigFlags = { PREMAP: 1, RESIDENCY_LIMIT: 2, WORKERS: 4 } as const;
export const PREMAP_PAGES_MAX = 262_144;
export const WORKERS_MAX = 64;

/** A range of I/O virtual addresses; FLAGS as those of VFIO_IOMMU_MAP_DMA, READ and WRITE. */
export const DmaRange = struct('struct vfio_iommu_dma_range', OURS, 24, {
  ARGSZ: [31, 0],
  FLAGS: [63, 32],
  IOVA_LOW: [95, 64],
  IOVA_HIGH: [127, 96],
  SIZE_LOW: [159, 128],
  SIZE_HIGH: [191, 160],
});

/** Capability of VFIO_IOMMU_GET_INFO. */
export const IOMMU_INFO_CAP_IOPF = 200;
export const CapIopf = struct('struct vfio_iommu_type1_info_cap_iopf', OURS, 16, {
  /** {@link CapIopfFlags}. */
  FLAGS: [95, 64],
  PREMAP_PAGES_MAX: [127, 96],
});
/** ENABLED: on in this container. STALL, PRI: every device of the container can. */
export const CapIopfFlags = { ENABLED: 1, STALL: 2, PRI: 4 } as const;
