import { describe, expect, test } from 'vitest';
import { vfioFixture } from '../../test/support/vfio.ts';
import { Errno } from '../errno.ts';
import { encode } from '../layout/struct.ts';
import {
  DeviceInfo,
  Ioctl,
  IrqInfo,
  IrqSet,
  IrqSetFlags,
  PciIrq,
  PciRegion,
  REGION_STRIDE,
  RegionInfo,
} from './uapi.layout.ts';

const { EINVAL, EFAULT, EIO, ENOTTY, EBADF, ERANGE } = Errno;
const CONFIG = PciRegion.CONFIG * REGION_STRIDE;

function opened() {
  const fixture = vfioFixture();
  const { run, process, setUp, backend } = fixture;
  const { container, group } = run(setUp());
  const name = new DataView(new TextEncoder().encode(`${backend.name}\0`).buffer);
  const device = run(process.ioctl(group, Ioctl.VFIO_GROUP_GET_DEVICE_FD, name));
  const ioctl = (request: number, argument: DataView | number) => run(process.ioctl(device, request, argument));
  const read = (offset: number, bytes: number) => {
    const view = new DataView(new ArrayBuffer(bytes));
    const status = run(process.pread(device, view, offset));
    return status < 0
      ? status
      : bytes === 4
        ? view.getUint32(0, true)
        : bytes === 2
          ? view.getUint16(0, true)
          : view.getUint8(0);
  };
  const write = (offset: number, bytes: number, value: number) => {
    const view = new DataView(new ArrayBuffer(bytes));
    if (bytes === 4) view.setUint32(0, value, true);
    else if (bytes === 2) view.setUint16(0, value, true);
    else view.setUint8(0, value);
    return run(process.pwrite(device, view, offset));
  };
  const setIrqs = (index: number, flags: number, start: number, data: readonly number[], count = data.length) => {
    const width = (flags & IrqSetFlags.DATA_TYPE_MASK) === IrqSetFlags.DATA_EVENTFD ? 4 : 1;
    const view = new DataView(new ArrayBuffer(20 + data.length * width));
    IrqSet.ARGSZ.set(view, 0, view.byteLength);
    IrqSet.FLAGS.set(view, 0, flags);
    IrqSet.INDEX.set(view, 0, index);
    IrqSet.START.set(view, 0, start);
    IrqSet.COUNT.set(view, 0, count);
    for (const [at, value] of data.entries()) {
      if (width === 4) view.setInt32(20 + 4 * at, value, true);
      else view.setUint8(20 + at, value);
    }
    return ioctl(Ioctl.VFIO_DEVICE_SET_IRQS, view);
  };
  return { ...fixture, container, group, device, ioctl, read, write, setIrqs };
}

describe('information', () => {
  test('of the device', () => {
    const { ioctl } = opened();
    const info = encode(DeviceInfo, { ARGSZ: 20 });
    expect(ioctl(Ioctl.VFIO_DEVICE_GET_INFO, info)).toBe(0);
    expect([8, 12, 4].map((at) => info.getUint32(at, true))).toEqual([9, 5, 3]);
    expect(ioctl(Ioctl.VFIO_DEVICE_GET_INFO, encode(DeviceInfo, { ARGSZ: 15 }))).toBe(EINVAL);
    expect(ioctl(Ioctl.VFIO_DEVICE_GET_INFO, 0)).toBe(EFAULT);
    expect(ioctl(0x3bff, 0)).toBe(ENOTTY);
  });

  test.each([
    [PciRegion.BAR0, 4096, 3],
    [1, 0, 0],
    [PciRegion.ROM, 0, 0],
    [PciRegion.CONFIG, 4096, 3],
  ])('of region %i', (index, size, flags) => {
    const { ioctl } = opened();
    const info = encode(RegionInfo, { ARGSZ: 32, INDEX: index });
    expect(ioctl(Ioctl.VFIO_DEVICE_GET_REGION_INFO, info)).toBe(0);
    expect([RegionInfo.SIZE_LOW.get(info), RegionInfo.FLAGS.get(info)]).toEqual([size, flags]);
    expect(Number(info.getBigUint64(24, true))).toBe(index * 2 ** 40);
  });

  test('of regions and interrupts that do not exist', () => {
    const { ioctl } = opened();
    for (const INDEX of [8, 9, 0xffff_ffff]) {
      expect(ioctl(Ioctl.VFIO_DEVICE_GET_REGION_INFO, encode(RegionInfo, { ARGSZ: 32, INDEX }))).toBe(EINVAL);
    }
    expect(ioctl(Ioctl.VFIO_DEVICE_GET_IRQ_INFO, encode(IrqInfo, { ARGSZ: 16, INDEX: 5 }))).toBe(EINVAL);
  });

  test.each([
    [PciIrq.INTX, 0, 7],
    [PciIrq.MSI, 0, 9],
    [PciIrq.MSIX, 2, 9],
    [PciIrq.ERR, 1, 9],
    [PciIrq.REQ, 1, 9],
  ])('of interrupt index %i', (index, count, flags) => {
    const { ioctl } = opened();
    const info = encode(IrqInfo, { ARGSZ: 16, INDEX: index });
    expect(ioctl(Ioctl.VFIO_DEVICE_GET_IRQ_INFO, info)).toBe(0);
    expect([IrqInfo.COUNT.get(info), IrqInfo.FLAGS.get(info)]).toEqual([count, flags]);
  });
});

describe('configuration space', () => {
  test('BARs are virtual: sizing them does not move the function', () => {
    const { read, write, backend } = opened();
    expect(read(CONFIG + 0x10, 4)).toBe(0x1000_0000);
    write(CONFIG + 0x10, 4, 0xffff_ffff);
    expect(read(CONFIG + 0x10, 4)).toBe(0xffff_f000);
    write(CONFIG + 0x14, 4, 0xffff_ffff);
    expect(read(CONFIG + 0x14, 4)).toBe(0);
    expect(backend.readConfig(0x10, 4)).toBe(0x1000_0000);
  });

  test('identity and everything unknown is read-only; the bus master bit reaches the function', () => {
    const { read, write, backend } = opened();
    write(CONFIG, 4, 0);
    write(CONFIG + 0x100, 4, 0xffff_ffff);
    expect(read(CONFIG, 4)).toBe(0xfa17_1d0f);
    expect(backend.readConfig(0x100, 4)).toBe(0);
    write(CONFIG + 4, 2, 0xffff);
    expect(backend.readConfig(4, 2)).toBe(0x0546);
  });
});

describe('regions', () => {
  test('reads and writes stay inside and are cut where the region ends', () => {
    const { run, process, device, backend } = opened();
    const view = new DataView(new ArrayBuffer(16));
    for (let at = 0; at < 16; at++) view.setUint8(at, at + 1);
    expect(run(process.pwrite(device, view, 4096 - 5))).toBe(5);
    expect(backend.bars[0]?.getUint8(4095)).toBe(5);
    expect(run(process.pread(device, view, 4096))).toBe(EINVAL);
    expect(run(process.pread(device, view, REGION_STRIDE))).toBe(EINVAL);
    expect(run(process.pread(device, view, -1))).toBe(EINVAL);
    expect(run(process.pread(device, view, 2 ** 52))).toBe(EINVAL);
  });

  test('configuration space is not cut, nothing is read anywhere, and an abort ends a transfer', () => {
    const { run, process, device, backend } = opened();
    const view = new DataView(new ArrayBuffer(16));
    expect(run(process.pread(device, view, CONFIG + 4096 - 8))).toBe(EFAULT);
    expect(run(process.pwrite(device, view, CONFIG + 4096))).toBe(EFAULT);
    expect(run(process.pread(device, view, CONFIG + 4096 - 16))).toBe(16);
    expect(run(process.pread(device, new DataView(new ArrayBuffer(0)), REGION_STRIDE))).toBe(0);
    backend.readBar = (_bar, offset) => offset < 8;
    expect(run(process.pread(device, view, 0))).toBe(EIO);
  });

  test('a reset keeps what user space set in configuration space', () => {
    const { ioctl, read, write, backend } = opened();
    write(CONFIG + 4, 2, 6);
    backend.reset = function* () {
      backend.config.setUint16(4, 2, true);
    };
    expect(ioctl(Ioctl.VFIO_DEVICE_RESET, 0)).toBe(0);
    expect(read(CONFIG + 4, 2)).toBe(6);
  });

  test('the MSI-X table is out of reach', () => {
    const { read, write, backend } = opened();
    backend.bars[2]?.setUint32(0, 0x1234, true);
    write(2 * REGION_STRIDE, 4, 7);
    expect(read(2 * REGION_STRIDE, 4)).toBe(0xffff_ffff);
    expect(backend.bars[2]?.getUint32(0, true)).toBe(0x1234);
    write(2 * REGION_STRIDE + 32, 4, 7);
    expect(read(2 * REGION_STRIDE + 32, 4)).toBe(7);
  });
});

describe('interrupts', () => {
  const trigger = IrqSetFlags.DATA_EVENTFD | IrqSetFlags.ACTION_TRIGGER;
  const disable = IrqSetFlags.DATA_NONE | IrqSetFlags.ACTION_TRIGGER;

  test('a vector signals its event descriptor through the mapped doorbell', () => {
    const { process, setIrqs, backend, type1 } = opened();
    let signals = 0;
    const event = process.eventfd(() => signals++);
    expect(setIrqs(PciIrq.MSIX, trigger, 0, [event, -1])).toBe(0);
    backend.vectors[0]?.();
    expect([signals, backend.vectors[1]]).toEqual([1, null]);
    expect(backend.doorbell).toBe(0x0800_0040);
    expect(type1().io.domain.translate(0x0800_0040)?.physical).toBe(0x0802_0040);
    expect(setIrqs(PciIrq.MSIX, disable | IrqSetFlags.ACTION_TRIGGER, 0, [], 2)).toBe(0);
    expect(signals).toBe(2);
    expect(setIrqs(PciIrq.MSIX, disable, 0, [], 0)).toBe(0);
    expect(backend.vectors[0]).toBe(null);
  });

  test('a descriptor that is none takes the vectors before it with it', () => {
    const { process, setIrqs, backend } = opened();
    const event = process.eventfd(() => {});
    expect(setIrqs(PciIrq.MSIX, trigger, 0, [event, 77])).toBe(EBADF);
    expect(backend.vectors).toEqual([null, null]);
    // It was off, and is off: two vectors may be enabled.
    expect(setIrqs(PciIrq.MSIX, disable, 0, [], 0)).toBe(EINVAL);
    expect(setIrqs(PciIrq.MSIX, trigger, 0, [event, event])).toBe(0);
    expect(setIrqs(PciIrq.MSIX, trigger, 1, [77])).toBe(EBADF);
    expect(backend.vectors.map((vector) => vector === null)).toEqual([false, true]);
    expect(setIrqs(PciIrq.MSIX, disable, 0, [], 0)).toBe(0);
  });

  test('-1 takes a single interrupt away, other negative descriptors change nothing', () => {
    const { process, setIrqs } = opened();
    let signals = 0;
    const event = process.eventfd(() => signals++);
    expect(setIrqs(PciIrq.ERR, trigger, 0, [event])).toBe(0);
    expect(setIrqs(PciIrq.ERR, trigger, 0, [-2])).toBe(0);
    expect(setIrqs(PciIrq.ERR, disable, 0, [], 1)).toBe(0);
    expect(signals).toBe(1);
    expect(setIrqs(PciIrq.ERR, trigger, 0, [-1])).toBe(0);
    expect(setIrqs(PciIrq.ERR, disable, 0, [], 1)).toBe(EINVAL);
  });

  test('survive a reset of the function, not the closing of its file', () => {
    const { process, setIrqs, backend, ioctl, run, device } = opened();
    expect(setIrqs(PciIrq.MSIX, trigger, 0, [process.eventfd(() => {})])).toBe(0);
    backend.vectors[0] = null;
    const before = backend.resets;
    expect(ioctl(Ioctl.VFIO_DEVICE_RESET, 0)).toBe(0);
    expect(backend.resets).toBe(before + 1);
    expect(backend.vectors[0]).not.toBe(null);
    run(process.close(device));
    expect(backend.vectors[0]).toBe(null);
  });

  test('an access that fails for good signals the error interrupt', () => {
    const { process, setIrqs, backend, container, enableIopf, run, iommu, device } = opened();
    void device;
    let signals = 0;
    expect(setIrqs(PciIrq.ERR, trigger, 0, [process.eventfd(() => signals++)])).toBe(0);
    run(enableIopf(container));
    const [domain] = iommu.domains;
    const fault = {
      device: backend.iommu,
      domain: null,
      pasid: -1,
      event: 'F_TRANSLATION',
      page: 1,
      ipa: 0,
      write: true,
    };
    domain?.handler?.unrecoverable?.({ ...fault, stage: 1 });
    expect(signals).toBe(1);
  });

  test.each<[string, number, number, number, readonly number[], number, number]>([
    ['an index that does not exist', 5, trigger, 0, [-1], 1, EINVAL],
    ['no data type', PciIrq.MSIX, IrqSetFlags.ACTION_TRIGGER, 0, [], 1, EINVAL],
    ['two actions', PciIrq.MSIX, disable | IrqSetFlags.ACTION_MASK, 0, [], 1, ENOTTY],
    ['no action', PciIrq.MSIX, IrqSetFlags.DATA_NONE, 0, [], 1, ENOTTY],
    ['disabling what is off', PciIrq.MSIX, disable, 0, [], 0, EINVAL],
    ['enabling no vector', PciIrq.MSIX, trigger, 0, [], 0, ERANGE],
    ['enabling vectors before the first', PciIrq.MSIX, trigger, 1, [], 0, EINVAL],
    ['testing an error interrupt that is off', PciIrq.ERR, disable, 0, [], 1, EINVAL],
    ['taking away a request interrupt that is off', PciIrq.REQ, disable, 0, [], 0, EINVAL],
    ['a descriptor of another kind', PciIrq.MSIX, trigger, 0, [3], 1, EINVAL],
    ['an error interrupt of another kind', PciIrq.ERR, trigger, 0, [3], 1, EINVAL],
    ['masking', PciIrq.MSIX, IrqSetFlags.DATA_NONE | IrqSetFlags.ACTION_MASK, 0, [], 1, ENOTTY],
    ['an unknown flag', PciIrq.MSIX, trigger | 0x40, 0, [-1], 1, EINVAL],
    ['vectors beyond the last', PciIrq.MSIX, trigger, 1, [-1, -1], 2, EINVAL],
    ['start + count wrapping', PciIrq.MSIX, disable, 1, [], 0xffff_fffe, EINVAL],
    ['fewer descriptors than counted', PciIrq.MSIX, trigger, 0, [-1], 2, EINVAL],
    ['a descriptor that is not open', PciIrq.MSIX, trigger, 0, [77], 1, EBADF],
    ['a function without a pin', PciIrq.INTX, trigger, 0, [-1], 1, EINVAL],
  ])('%s', (_what, index, flags, start, data, count, errno) => {
    expect(opened().setIrqs(index, flags, start, data, count)).toBe(errno);
  });
});
