/**
 * What Faultline adds to the VFIO user API for guests that translate first: requests on a container of type
 * VFIO_TYPE1_NESTING_IOMMU, and the file on which faults reach a handler in user space.
 */
import { struct } from '../layout/struct.ts';

const OURS = 'Faultline, docs/uapi.md';

/** Requests on a type1 container: _IO(';', 205 + n). */
export const NestingIoctl = {
  /** {@link FaultQueueAlloc}; the result is the descriptor of a fault queue. */
  VFIO_IOMMU_ALLOC_FAULT_QUEUE: 0x3bcd,
  /** {@link GuestTable}: the devices translate by the guest's tables first, then by the container's. */
  VFIO_IOMMU_BIND_GUEST_TABLE: 0x3bce,
  /** The devices translate by the container's tables alone again; no argument. */
  VFIO_IOMMU_UNBIND_GUEST_TABLE: 0x3bcf,
  /** {@link GuestInvalidation} with its commands; the result is how many were carried out. */
  VFIO_IOMMU_INVALIDATE_GUEST: 0x3bd0,
} as const;

/** VFIO_CHECK_EXTENSION of a container with an IOMMU: 1 where these requests can be used. */
export const VFIO_GUEST_STAGE = 201;

export const FaultQueueAlloc = struct('struct vfio_iommu_fault_queue', OURS, 12, {
  ARGSZ: [31, 0],
  FLAGS: [63, 32],
  /** Descriptor to signal when a group comes in, or -1; a signed number. */
  EVENT_FD: [95, 64],
});

/** Where the guest keeps its context descriptors: what it wrote into its own stream table entry (IHI 0070 §5.2). */
export const GuestTable = struct('struct vfio_iommu_guest_table', OURS, 32, {
  ARGSZ: [31, 0],
  FLAGS: [63, 32],
  /** STE.S1ContextPtr, as a guest physical address: an I/O virtual address of the container. */
  CONTEXT_TABLE_LOW: [95, 64],
  CONTEXT_TABLE_HIGH: [127, 96],
  /** STE.S1CDMax. */
  CONTEXT_BITS: [159, 128],
  /** STE.S1Fmt. */
  CONTEXT_FORMAT: [191, 160],
  /** STE.S1DSS: {@link WithoutPasid}. */
  WITHOUT_PASID: [223, 192],
  /** Where faults of the guest's stage go, or -1: they are answered INVALID; a signed number. */
  FAULT_QUEUE_FD: [255, 224],
});
export const WithoutPasid = { ABORT: 0, BYPASS: 1, TRANSLATE: 2 } as const;

/**
 * Followed by COUNT commands of 16 bytes (IHI 0070 §4.3, §4.4). A StreamID in them is the number of a device: the lowest
 * that was free when it came into the container, which it keeps.
 */
export const GuestInvalidation = struct('struct vfio_iommu_guest_invalidation', OURS, 12, {
  ARGSZ: [31, 0],
  FLAGS: [63, 32],
  COUNT: [95, 64],
});
/** Commands of one request. */
export const GUEST_COMMANDS_MAX = 1024;

/**
 * What a read of a fault queue gives, one for each page; never a part of a group. All pages of a group have one COOKIE, and
 * the last one has LAST_PAGE. The shape is that of the fault queues of kernels since 6.11.
 */
export const FaultRecord = struct('struct vfio_iommu_fault', OURS, 40, {
  FLAGS: [31, 0],
  DEVICE: [63, 32],
  PASID: [95, 64],
  GROUP: [127, 96],
  PERMISSIONS: [159, 128],
  ADDRESS_LOW: [223, 192],
  ADDRESS_HIGH: [255, 224],
  LENGTH: [287, 256],
  COOKIE: [319, 288],
});
export const FaultFlags = { PASID_VALID: 1, LAST_PAGE: 2 } as const;
export const FaultPermission = { READ: 1, WRITE: 2, EXECUTE: 4, PRIVILEGED: 8 } as const;

/** What is written to a fault queue: one for each group. */
export const FaultAnswer = struct('struct vfio_iommu_fault_response', OURS, 8, { COOKIE: [31, 0], CODE: [63, 32] });
export const AnswerCode = { SUCCESS: 0, INVALID: 1 } as const;
