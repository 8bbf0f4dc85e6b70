import { describe, expect, test } from 'vitest';
import { CommandLineError, parseCommandLine, properties } from './command-line.ts';
import { plugDevices } from './devices.ts';
import { createMachine } from './machine.ts';

const VERSION = '11.1.0';
const parse = (line: string) => parseCommandLine(line.split(' ').filter(Boolean), VERSION);

const hooks = { interrupt: () => {}, quit: () => {} };

test('as libqtest of QEMU 11.1 starts it', () => {
  const parsed = parse(
    '-qtest unix:/tmp/qtest-1.sock -qtest-log /dev/null -chardev socket,path=/tmp/qtest-1.qmp,id=char0 ' +
      '-object monitor-qmp,id=qmp0,chardev=char0 -display none -audio none -run-with exit-with-parent=on ' +
      '-machine virt,acpi=off,gic-version=3,iommu=smmuv3 -smp 1 -m 512 -cpu max -net none -device iommu-testdev ' +
      '-accel qtest',
  );
  expect(parsed).toMatchObject({
    machine: 'virt',
    iommu: true,
    ramBytes: 0x2000_0000,
    devices: [{ type: 'iommu-testdev', devfn: undefined, id: undefined, properties: {} }],
    qtest: { kind: 'unix', path: '/tmp/qtest-1.sock', listen: false },
    qtestLog: null,
    monitors: [{ kind: 'unix', path: '/tmp/qtest-1.qmp', listen: false }],
    print: null,
  });
});

test('as libqtest of QEMU 10 starts it, and as a probe', () => {
  const parsed = parse(
    '-trace smmu* -qtest unix:/q -qtest-log /dev/fd/2 -chardev socket,path=/m,id=char0 -mon chardev=char0,mode=control ' +
      '-display none -audio none -machine none -accel qtest',
  );
  expect(parsed.monitors).toEqual([{ kind: 'unix', path: '/m', listen: false }]);
  expect(parsed.machine).toBe('none');
  expect(parsed.qtestLog).toBe('/dev/fd/2');
});

test.each([
  ['-m 1G', 2 ** 30],
  ['-m 256', 2 ** 28],
  ['-m size=1536M,slots=2', 1536 * 2 ** 20],
  ['-m 0.5G', 2 ** 29],
  ['', 2 ** 27],
])('%s', (line, bytes) => {
  expect(parse(`-machine virt ${line}`).ramBytes).toBe(bytes);
});

test('devices take the next slot, or the one they name', async () => {
  const { devices } = parse(
    '-device edu,addr=02.0 -device iommu-testdev -device iommu-testdev,addr=1e.5,id=x -device edu',
  );
  const plugged = await plugDevices(devices);
  expect(plugged.map(({ devfn }) => devfn)).toEqual([0x10, 0x08, 0xf5, 0x18]);
});

test('a doubled comma is a comma', () => {
  expect([...properties('socket,path=/a,,b,id=c', 'backend')]).toEqual([
    ['backend', 'socket'],
    ['path', '/a,b'],
    ['id', 'c'],
  ]);
});

describe('refusals', () => {
  test.each([
    ['-machine q35', /q35: unsupported machine type/],
    ['-machine virt,iommu=intel', /iommu=intel: this board has smmuv3, none/],
    ['-machine virt,nosuch=on', /Property 'virt-machine.nosuch' not found/],
    ['-accel kvm', /accelerator is qtest/],
    ['-hda disk.img', /-hda: invalid option/],
    ['-kernel Image', /-kernel: invalid option/],
    ['disk.img', /no disk/],
    ['-m', /-m: requires an argument/],
    ['-m lots', /expects a size/],
    ['-m 1T', /255 GiB/],
    ['-qtest tcp:localhost:1', /unix:PATH and stdio/],
    ['-mon chardev=none,mode=control', /chardev "none" not found/],
    ['-mon chardev=c,mode=readline', /mode=control/],
    ['-object iothread,id=x', /invalid object type: iothread/],
    ['-device edu,addr=20.0', /no DEVICE.FUNCTION/],
    ['-device edu,bus=pci.3', /Bus 'pci.3' not found/],
    ['-global preset', /DRIVER.PROPERTY=VALUE/],
  ])('%s', (line, message) => {
    expect(() => parse(line)).toThrow(CommandLineError);
    expect(() => parse(line)).toThrow(message);
  });

  test.each([
    ['-machine virt -device e1000', /'e1000' is not a valid device model name/],
    ['-machine virt -device edu,speed=9', /Property 'edu.speed' not found/],
    ['-machine virt -device edu,dma_mask=5', /mask of 1 to 64 low bits/],
    ['-machine virt -device edu,addr=1.0 -device edu,addr=1.0', /slot 1.0 is not free/],
    ['-machine virt -device edu,addr=0.0', /slot 0.0 is not free/],
    ['-machine none -device edu', /No 'PCI' bus/],
    ['-machine virt,iommu=smmuv3 -global arm-smmuv3.preset=big', /full, wide, minimal, qemu/],
    ['-machine virt,iommu=smmuv3 -global arm-smmuv3.OAS=9', /0\.\.7/],
    ['-machine virt,iommu=smmuv3 -global arm-smmuv3.S1P=0 -global arm-smmuv3.S2P=0', /stage 1, stage 2 or both/],
    ['-machine virt,iommu=smmuv3 -global arm-smmuv3.nosuch=1', /Property 'arm-smmuv3.nosuch' not found/],
  ])('%s', async (line, message) => {
    await expect(createMachine(parse(line), VERSION, hooks)).rejects.toThrow(message);
    await expect(createMachine(parse(line), VERSION, hooks)).rejects.toThrow(CommandLineError);
  });
});

test('features by name: stage 2 alone', async () => {
  const { qtest } = await createMachine(
    parse('-machine virt,iommu=smmuv3 -global arm-smmuv3.preset=qemu -global arm-smmuv3.stage=2'),
    VERSION,
    hooks,
  );
  const data = new DataView(new ArrayBuffer(8));
  qtest.readSized(0x0905_0000, 4, data);
  expect(data.getUint32(0, true) & 3).toBe(1);
});

test('a board without an SMMU has nothing at its address', async () => {
  const { qtest, qmp } = await createMachine(parse('-machine virt'), VERSION, hooks);
  const data = new DataView(new ArrayBuffer(8));
  qtest.readSized(0x0905_0000, 4, data);
  expect(data.getUint32(0, true)).toBe(0);
  expect(qmp.children('/machine/unattached')?.map(({ type }) => type)).not.toContain('child<arm-smmuv3>');
});
