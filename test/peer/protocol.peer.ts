/** How a server starts, speaks and ends: ours, and QEMU where there is one, by the same checks. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { ROOT } from '../house/source-files.ts';
import { Board, EDU_TRANSFER_NS, TestDevice } from './board.ts';
import { IOVA, program } from './builder.ts';
import { execute } from './execute.ts';
import { ECAM_BASE, machine, SMMU_BASE } from './memory-map.ts';
import { type Emulator, FAULTLINE, findQemu, PeerServer } from './server.ts';

const found = findQemu();
const EMULATORS: readonly Emulator[] = found === null ? [FAULTLINE] : [FAULTLINE, found];
const MACHINE = machine(found?.testDevice ?? true);
const VIRT = MACHINE.slice(0, 10);
const PROBE = ['-machine', 'none'];
const GIC = 'arm-gicv3';
const SMMU = 'arm-smmuv3';

let server: PeerServer | null = null;
afterEach(async () => {
  await server?.stop();
  server = null;
});

const start = async (emulator: Emulator, words: readonly string[]): Promise<PeerServer> => {
  server = await PeerServer.start(emulator, { arguments: words });
  return server;
};

/** The path of the one object of a type. */
async function pathOf(peer: PeerServer, type: string): Promise<string> {
  const children = (await peer.qmp.execute('qom-list', { path: '/machine/unattached' })) as {
    readonly name: string;
    readonly type: string;
  }[];
  const child = children.find((each) => each.type === `child<${type}>`);
  return `/machine/unattached/${child?.name}`;
}

describe.each(EMULATORS.map((emulator) => [emulator.name, emulator] as const))('%s', (_, emulator) => {
  test('answers a probe', async () => {
    const peer = await start(emulator, PROBE);
    const machines = (await peer.qmp.execute('query-machines')) as { readonly name: string; readonly alias?: string }[];
    expect(machines.flatMap(({ name, alias }) => [name, alias])).toContain('virt');
  });

  test('ends with 0 on SIGTERM and writes nothing', async () => {
    const peer = await start(emulator, MACHINE);
    expect(await peer.qtest.request('endianness')).toBe('little');
    expect(await peer.stop()).toEqual({ status: 0, stdout: '', stderr: '' });
  });

  test('has the devices where they belong', async () => {
    const peer = await start(emulator, [
      ...VIRT,
      '-device',
      emulator.testDevice ? 'iommu-testdev' : 'edu',
      '-device',
      'edu',
    ]);
    const present: [number, number][] = [];
    for (let devfn = 0; devfn < 256; devfn++) {
      const id = await peer.qtest.read32(ECAM_BASE + devfn * 0x1000);
      if (id !== 0xffff_ffff) present.push([devfn, id]);
    }
    expect(present).toEqual([
      [0x00, 0x0008_1b36],
      [0x08, emulator.testDevice ? 0x0005_1b36 : 0x11e8_1234],
      [0x10, 0x11e8_1234],
    ]);
  });

  test.runIf(emulator.testDevice)('a BAR is sized and placed', async () => {
    const peer = await start(emulator, machine(true));
    const config = (offset: number) => ECAM_BASE + 0x08 * 0x1000 + offset;
    const { qtest } = peer;
    qtest.post(`writew 0x${config(4).toString(16)} 7`);
    expect(await qtest.request(`readw 0x${config(4).toString(16)}`)).toBe('0x0000000000000007');
    qtest.write32(config(0x10), 0xffff_ffff);
    expect(await qtest.read32(config(0x10))).toBe(0xffff_f000);
    qtest.write32(config(0x10), 0x1000_0000);
    expect(await qtest.read32(0x1000_0018)).toBe(2);
    expect(await qtest.read32(0x1000_0010)).toBe(0xffff_ffff);
  });

  test('the SMMU pulses its event line for a fault, and no other', async () => {
    const board = await Board.start(emulator, emulator);
    server = board.server;
    await board.server.qtest.request(`irq_intercept_out ${await pathOf(board.server, SMMU)} sysbus-irq`);
    const fault = program('fault', (p) => {
      p.throughStage1(p.stage1());
      p.enable().set('IRQ_CTRL', 4).dma(IOVA, 0x41b0_0000).command('SYNC').set('IRQ_CTRL', 0).dma(IOVA, 0x41b0_0000);
    });
    await execute(board, fault, () => {});
    expect(board.server.qtest.takeLineChanges()).toEqual([
      { line: 0, level: true },
      { line: 0, level: false },
    ]);
  });

  test('a global error and a sync pulse their lines at the interrupt controller', async () => {
    const board = await Board.start(emulator, emulator);
    server = board.server;
    await board.server.qtest.request(`irq_intercept_in ${await pathOf(board.server, GIC)}`);
    const errors = program('errors', (p) => {
      p.enable().set('IRQ_CTRL', 1);
      p.command('SYNC', { CS: 1 }).commands([{ words: { 0: 0xff } }]);
    });
    await execute(board, errors, () => {});
    const lines = board.server.qtest.takeLineChanges().map(({ line, level }) => `${line} ${level}`);
    expect(lines).toEqual(['76 true', '76 false', '77 true', '77 false']);
  });

  test('edu raises and drops its interrupt; clock_step brings the transfer', async () => {
    const peer = await start(emulator, [...VIRT, '-device', 'edu']);
    const { qtest } = peer;
    await qtest.request(`irq_intercept_in ${await pathOf(peer, GIC)}`);
    qtest.write32(ECAM_BASE + 0x8010, 0x1000_0000);
    qtest.write32(ECAM_BASE + 0x8004, 7);
    expect(await qtest.read32(0x1000_0000)).toBe(0x0100_00ed);
    qtest.write32(0x1000_0004, 0x1234_5678);
    expect(await qtest.read32(0x1000_0004)).toBe(0xedcb_a987);
    qtest.write64(0x1000_0080, 0x4_0000n);
    qtest.write64(0x1000_0088, 0x4100_0000n);
    qtest.write64(0x1000_0090, 16n);
    qtest.write64(0x1000_0098, 7n);
    expect(await qtest.read32(0x1000_0098)).toBe(7);
    expect(qtest.takeLineChanges()).toEqual([]);
    expect(await qtest.clockStep()).toBe(BigInt(EDU_TRANSFER_NS));
    expect(await qtest.read32(0x1000_0098)).toBe(6);
    expect(await qtest.read32(0x1000_0024)).toBe(0x100);
    expect(qtest.takeLineChanges().map(({ level }) => level)).toEqual([true]);
    qtest.write32(0x1000_0064, 0x100);
    await qtest.settled();
    expect(qtest.takeLineChanges().map(({ level }) => level)).toEqual([false]);
  });

  test('a reset gives power-on registers and keeps RAM', async () => {
    const peer = await start(emulator, MACHINE);
    const { qtest } = peer;
    qtest.write32(SMMU_BASE + 0x44, 0x8010_0000);
    qtest.write32(0x4200_0000, 77);
    expect(await qtest.read32(SMMU_BASE + 0x44)).toBe(0x10_0000);
    await peer.qmp.systemReset();
    expect(await qtest.read32(SMMU_BASE + 0x44)).toBe(0x1000);
    expect(await qtest.read32(0x4200_0000)).toBe(77);
  });
});

describe('faultline alone', () => {
  test('ends with 0 when the client goes away', async () => {
    const peer = await start(FAULTLINE, MACHINE);
    peer.qtest.close();
    expect(await peer.exited).toBe(0);
  });

  test('ends with 0 when the monitor goes away', async () => {
    const peer = await start(FAULTLINE, MACHINE);
    peer.qmp.close();
    expect(await peer.exited).toBe(0);
  });

  test('survives garbage on both sockets', async () => {
    const peer = await start(FAULTLINE, MACHINE);
    const id = await peer.qtest.request('readl 0x09050000');
    const noise = Buffer.alloc(0x10_0000, 'readl \u0000\u00ff 0x7fffffffffffffffffff \r\n{"[', 'latin1');
    peer.qtest.sendRaw(noise);
    peer.qtest.sendRaw('\nwrite 0x40000000 0xffffffffffff 0x00\n');
    // Whatever was said to the noise, in the end the server answers again.
    await expect.poll(() => peer.qtest.request('readl 0x09050000').catch(() => ''), { timeout: 20_000 }).toBe(id);
  });

  test('is started by its own name, as libqtest starts a binary', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'faultline-bin-'));
    try {
      const name = path.join(folder, 'faultline-qemu-system-aarch64');
      symlinkSync(path.join(ROOT, 'dist/cli/qemu-system-aarch64.js'), name);
      const { status, stdout } = spawnSync(process.execPath, [name, '-version'], { encoding: 'utf8' });
      expect(status).toBe(0);
      expect(stdout).toMatch(/^QEMU emulator version 11\./);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test.each([
    ['an unknown option', ['-bios', 'x'], /-bios: invalid option/],
    ['an unknown device', ['-machine', 'virt', '-device', 'e1000'], /'e1000' is not a valid device model name/],
    ['nobody listens', ['-machine', 'virt', '-qtest', 'unix:/nonexistent/socket'], /qtest: Failed to connect/],
    ['a log that cannot be written', ['-machine', 'virt', '-qtest-log', '/nonexistent/log'], /-qtest-log: /],
  ])('refuses clearly: %s', (_, words, message) => {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [path.join(ROOT, 'dist/cli/qemu-system-aarch64.js'), ...words],
      { encoding: 'utf8', timeout: 20_000 },
    );
    expect(status).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(message);
    expect(stderr.trim().split('\n').length).toBe(1);
  });

  test('edu sends its message to the GICv2m frame', async () => {
    const peer = await start(FAULTLINE, ['-machine', 'virt', '-device', 'edu']);
    const { qtest } = peer;
    await qtest.request(`irq_intercept_in ${await pathOf(peer, GIC)}`);
    qtest.write32(ECAM_BASE + 0x8010, 0x1000_0000);
    qtest.write32(ECAM_BASE + 0x8004, 7);
    expect(await qtest.read32(ECAM_BASE + 0x8034)).toBe(0x40);
    qtest.write32(ECAM_BASE + 0x8044, 0x0802_0040);
    qtest.write32(ECAM_BASE + 0x804c, 90);
    qtest.post(`writew 0x${(ECAM_BASE + 0x8042).toString(16)} 1`);
    qtest.write32(0x1000_0060, 1);
    await qtest.settled();
    // Interrupt identifier 90 is shared peripheral interrupt 58.
    expect(qtest.takeLineChanges()).toEqual([
      { line: 58, level: true },
      { line: 58, level: false },
    ]);
  });

  test('with a latency profile a DMA takes virtual time', async () => {
    const peer = await start(FAULTLINE, [
      ...['-machine', 'virt,iommu=smmuv3', '-m', '512', '-device', 'iommu-testdev'],
      ...['-global', 'arm-smmuv3.latency=kunpeng920'],
    ]);
    const { qtest } = peer;
    const at = (offset: number) => 0x1000_0000 + offset;
    qtest.write32(ECAM_BASE + 0x8010, 0x1000_0000);
    qtest.write32(ECAM_BASE + 0x8004, 7);
    qtest.write32(at(TestDevice.IOVA_LOW), 0x4200_0000);
    qtest.write32(at(TestDevice.PHYSICAL_LOW), 0x4200_0000);
    qtest.write32(at(TestDevice.LENGTH), 64);
    qtest.write32(at(TestDevice.DOORBELL), 1);
    expect(await qtest.read32(at(TestDevice.TRIGGER))).toBe(0);
    expect(await qtest.read32(at(TestDevice.RESULT))).toBe(0xffff_fffe);
    await qtest.clockStep(1_000_000);
    expect(await qtest.read32(at(TestDevice.RESULT))).toBe(0);
  });

  test('speaks on standard input and output', async () => {
    const child = spawn(process.execPath, [path.join(ROOT, 'dist/cli/main.js'), 'qtest'], { stdio: 'pipe' });
    let out = '';
    child.stdout.on('data', (text) => {
      out += String(text);
    });
    child.stdin.end('endianness\nwritel 0x40000000 5\nreadl 0x40000000\n');
    const status = await new Promise((resolve) => child.once('close', resolve));
    expect(status).toBe(0);
    expect(out).toBe('OK little\nOK\nOK 0x0000000000000005\n');
  });

  test.each([
    ['a reader of its answers that goes away ends it with 0', '| true', 0, ''],
    ['answers that find no room end it with 1', '> /dev/full', 1, 'stdout: no space left on the device\n'],
    ['a log that finds no room ends it with 1', '-qtest-log /dev/full -qtest stdio', 1, /^-qtest-log: ENOSPC.*\n$/],
  ])('%s', (_what, rest, status, said) => {
    const server = `"$0" "$1" qtest ${rest}; echo "\${PIPESTATUS[0]}" >&3`;
    const child = spawnSync('bash', ['-c', server, process.execPath, path.join(ROOT, 'dist/cli/main.js')], {
      input: 'endianness\n'.repeat(100),
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
      encoding: 'utf8',
    });
    expect(child.output[3]).toBe(`${status}\n`);
    const message = child.stderr.replace(/^faultline qtest: /, '');
    if (typeof said === 'string') expect(message).toBe(said);
    else expect(message).toMatch(said);
  });
});
