/** VFIO's container and group as a VMM uses them: system calls with the kernel's own structures, nothing else. */
import { high32, low32 } from '../layout/field.ts';
import { encode, type Layout, type Values } from '../layout/struct.ts';
import type { Steps } from '../sim/task.ts';
import {
  CapIovaRange,
  DmaMap,
  DmaMapFlags,
  DmaUnmap,
  Extension,
  GroupFlags,
  GroupStatus,
  InfoCapHeader,
  Ioctl,
  IommuInfo,
  IommuInfoCap,
  IovaRange,
  VFIO_API_VERSION,
} from '../vfio/uapi.layout.ts';
import {
  DmaRange,
  ExtensionIoctl,
  IopfConfig,
  IopfConfigFlags,
  type IopfMode,
  type PremapPolicyKind,
  VFIO_IOPF,
} from '../vfio/uapi-extensions.layout.ts';
import type { HostProcess } from './host-process.ts';
import { succeeded, VmmError } from './vmm-error.ts';

const TWO_32 = 2 ** 32;
/** Room for IommuInfo with all its capabilities. */
const INFO_BYTES = 4096;

/** How the device may fault on this container's mappings. */
export interface FaultSettings {
  readonly mode: (typeof IopfMode)[keyof typeof IopfMode];
  readonly policy: (typeof PremapPolicyKind)[keyof typeof PremapPolicyKind];
  /** Pages mapped for each fault, the faulting one counted. */
  readonly premapPages: number;
  /** Most bytes mapped on demand at one time; null: no limit. */
  readonly residencyLimitBytes: number | null;
  /** Threads of the work queue; 0: faults are handled on the thread that reads the IOMMU's queue. */
  readonly workers: number;
}

/** A structure with ARGSZ filled in, as the kernel wants to see it. */
export function withSize<S extends Layout>(layout: S, values: Partial<Values<S>>): DataView {
  return encode(layout, { ARGSZ: layout.$.byteLength, ...values } as Partial<Values<S>>);
}

export class VfioContainer {
  readonly #process: HostProcess;
  readonly #container: number;
  readonly #group: number;

  private constructor(process: HostProcess, container: number, group: number) {
    this.#process = process;
    this.#container = container;
    this.#group = group;
  }

  /**
   * Opens the container and puts the group into it, with a type 1 IOMMU; `nesting`: one over which a guest may have its
   * own stage. @throws VmmError
   */
  static *open(process: HostProcess, groupNumber: number, nesting = false): Steps<VfioContainer> {
    const container = succeeded(yield* process.open('/dev/vfio/vfio'), 'open /dev/vfio/vfio');
    const path = `/dev/vfio/${groupNumber}`;
    const group = yield* process.open(path);
    if (group < 0) yield* process.close(container);
    const opened = new VfioContainer(process, container, succeeded(group, `open ${path}`));
    try {
      yield* opened.#setUp(nesting);
    } catch (error) {
      yield* opened.close();
      throw error;
    }
    return opened;
  }

  /** The container's descriptor. */
  get descriptor(): number {
    return this.#container;
  }

  /** A capability of the IOMMU, and where it is in what VFIO_IOMMU_GET_INFO says; null where there is none. @throws VmmError */
  *capability(id: number): Steps<{ readonly info: DataView; readonly at: number } | null> {
    const info = new DataView(new ArrayBuffer(INFO_BYTES));
    IommuInfo.ARGSZ.set(info, 0, INFO_BYTES);
    yield* this.#call(this.#container, 'VFIO_IOMMU_GET_INFO', Ioctl.VFIO_IOMMU_GET_INFO, info);
    for (let at = IommuInfo.CAP_OFFSET.get(info); at !== 0; at = InfoCapHeader.NEXT.get(info, at)) {
      if (InfoCapHeader.ID.get(info, at) === id) return { info, at };
    }
    return null;
  }

  /** The first range of I/O virtual addresses that is not for memory: the kernel has interrupts there. @throws VmmError */
  *reserved(): Steps<{ readonly address: number; readonly bytes: number }> {
    const found = yield* this.capability(IommuInfoCap.IOVA_RANGE);
    if (found === null || CapIovaRange.NR_IOVAS.get(found.info, found.at) < 2) {
      throw new VmmError('VFIO does not say where interrupts go');
    }
    const { info, at } = found;
    const first = at + CapIovaRange.$.byteLength;
    const second = first + IovaRange.$.byteLength;
    const address = IovaRange.END_HIGH.get(info, first) * TWO_32 + IovaRange.END_LOW.get(info, first) + 1;
    const end = IovaRange.START_HIGH.get(info, second) * TWO_32 + IovaRange.START_LOW.get(info, second);
    return { address, bytes: end - address };
  }

  /** Turns faulting on: mappings made afterwards pin nothing. @throws VmmError when the kernel or a device cannot. */
  *enableFaults(settings: FaultSettings): Steps {
    const supported = yield* this.#ioctl(this.#container, Ioctl.VFIO_CHECK_EXTENSION, VFIO_IOPF);
    if (supported === 0) throw new VmmError('this kernel has no I/O page faults for VFIO');
    yield* this.#call(this.#container, 'VFIO_IOMMU_ENABLE_IOPF', Ioctl.VFIO_IOMMU_ENABLE_IOPF, settings.mode);
    const limit = settings.residencyLimitBytes ?? 0;
    const { PREMAP, RESIDENCY_LIMIT, WORKERS } = IopfConfigFlags;
    const config = withSize(IopfConfig, {
      FLAGS: PREMAP + RESIDENCY_LIMIT + WORKERS,
      POLICY: settings.policy,
      PAGES: settings.premapPages,
      RESIDENCY_LIMIT_LOW: low32(limit),
      RESIDENCY_LIMIT_HIGH: high32(limit),
      WORKERS: settings.workers,
    });
    yield* this.#call(this.#container, 'VFIO_IOMMU_CONFIGURE_IOPF', ExtensionIoctl.VFIO_IOMMU_CONFIGURE_IOPF, config);
  }

  /** Lets devices reach `bytes` bytes of the process at `hostAddress` under I/O virtual address `iova`. */
  *map(iova: number, hostAddress: number, bytes: number): Steps {
    const argument = withSize(DmaMap, {
      FLAGS: DmaMapFlags.READ + DmaMapFlags.WRITE,
      VADDR_LOW: low32(hostAddress),
      VADDR_HIGH: high32(hostAddress),
      IOVA_LOW: low32(iova),
      IOVA_HIGH: high32(iova),
      SIZE_LOW: low32(bytes),
      SIZE_HIGH: high32(bytes),
    });
    yield* this.#call(this.#container, `VFIO_IOMMU_MAP_DMA of ${bytes} bytes`, Ioctl.VFIO_IOMMU_MAP_DMA, argument);
  }

  *unmap(iova: number, bytes: number): Steps {
    const argument = withSize(DmaUnmap, {
      IOVA_LOW: low32(iova),
      IOVA_HIGH: high32(iova),
      SIZE_LOW: low32(bytes),
      SIZE_HIGH: high32(bytes),
    });
    yield* this.#call(this.#container, 'VFIO_IOMMU_UNMAP_DMA', Ioctl.VFIO_IOMMU_UNMAP_DMA, argument);
  }

  /** Keeps mapped memory present for the device, until it is unmapped. @throws VmmError beyond the lock limit */
  *pin(iova: number, bytes: number): Steps {
    const argument = withSize(DmaRange, {
      IOVA_LOW: low32(iova),
      IOVA_HIGH: high32(iova),
      SIZE_LOW: low32(bytes),
      SIZE_HIGH: high32(bytes),
    });
    const request = ExtensionIoctl.VFIO_IOMMU_PIN_DMA;
    yield* this.#call(this.#container, `VFIO_IOMMU_PIN_DMA of ${bytes} bytes`, request, argument);
  }

  /** A descriptor of the group's device called `name`. */
  *openDevice(name: string): Steps<number> {
    const text = new TextEncoder().encode(`${name}\0`);
    const argument = new DataView(text.buffer, text.byteOffset, text.byteLength);
    const result = yield* this.#ioctl(this.#group, Ioctl.VFIO_GROUP_GET_DEVICE_FD, argument);
    return succeeded(result, `VFIO_GROUP_GET_DEVICE_FD ${name}`);
  }

  /** Gives the group back to the host. Device descriptors must be closed. */
  *close(): Steps {
    yield* this.#process.close(this.#group);
    yield* this.#process.close(this.#container);
  }

  *#setUp(nesting: boolean): Steps {
    const version = yield* this.#ioctl(this.#container, Ioctl.VFIO_GET_API_VERSION, 0);
    if (version !== VFIO_API_VERSION) throw new VmmError(`VFIO speaks version ${version} of its interface, not 0`);
    const type1 = nesting ? Extension.VFIO_TYPE1_NESTING_IOMMU : Extension.VFIO_TYPE1v2_IOMMU;
    const known = yield* this.#ioctl(this.#container, Ioctl.VFIO_CHECK_EXTENSION, type1);
    if (known !== 1) throw new VmmError(`VFIO has no ${nesting ? 'nesting ' : ''}type 1 (version 2) IOMMU`);
    const status = withSize(GroupStatus, {});
    yield* this.#call(this.#group, 'VFIO_GROUP_GET_STATUS', Ioctl.VFIO_GROUP_GET_STATUS, status);
    if ((GroupStatus.FLAGS.get(status) & GroupFlags.VIABLE) === 0) throw new VmmError('the IOMMU group is not viable');
    const container = new DataView(new ArrayBuffer(4));
    container.setInt32(0, this.#container, true);
    yield* this.#call(this.#group, 'VFIO_GROUP_SET_CONTAINER', Ioctl.VFIO_GROUP_SET_CONTAINER, container);
    yield* this.#call(this.#container, 'VFIO_SET_IOMMU', Ioctl.VFIO_SET_IOMMU, type1);
  }

  *#call(descriptor: number, name: string, request: number, argument: DataView | number): Steps {
    succeeded(yield* this.#ioctl(descriptor, request, argument), name);
  }

  *#ioctl(descriptor: number, request: number, argument: DataView | number): Steps<number> {
    return yield* this.#process.ioctl(descriptor, request, argument);
  }
}
