/**
 * QEMU's command line, as far as this board has what it asks for. What makes no difference here is accepted; what would
 * make one that we do not have is refused, with QEMU's words where it has some.
 */

/** The command line cannot be obeyed. */
export class CommandLineError extends Error {
  override readonly name = 'CommandLineError';
}

/** Where a protocol is spoken. */
export type Channel =
  | { readonly kind: 'unix'; readonly path: string; readonly listen: boolean }
  | { readonly kind: 'stdio' }
  | { readonly kind: 'none' };

export interface DeviceRequest {
  readonly type: string;
  /** Device and function, when given. */
  readonly devfn: number | undefined;
  readonly id: string | undefined;
  /** What is left: the device's own. */
  readonly properties: Readonly<Record<string, string>>;
}

export interface CommandLine {
  readonly machine: 'virt' | 'none';
  readonly iommu: boolean;
  readonly ramBytes: number;
  readonly devices: readonly DeviceRequest[];
  /** `-global DRIVER.PROPERTY=VALUE`, in order. */
  readonly globals: readonly { readonly driver: string; readonly property: string; readonly value: string }[];
  readonly qtest: Channel;
  /** File that gets the qtest traffic; null for none. */
  readonly qtestLog: string | null;
  readonly monitors: readonly Channel[];
  /** Text to print instead of starting. */
  readonly print: string | null;
}

const MEBIBYTE = 2 ** 20;
/** QEMU's default for this machine. */
const DEFAULT_RAM_BYTES = 128 * MEBIBYTE;
const MAX_RAM_BYTES = 255 * 2 ** 30;

/** Options without an argument that change nothing here. */
const FLAGS = new Set(['nographic', 'nodefaults', 'no-user-config', 'no-reboot', 'no-shutdown', 'S']);

/** Options with an argument that change nothing here. */
const IGNORED = new Set([
  ...['smp', 'cpu', 'net', 'nic', 'display', 'audio', 'run-with', 'trace', 'name', 'serial', 'parallel', 'rtc'],
  ...['boot', 'd', 'D', 'L', 'uuid', 'msg', 'sandbox', 'overcommit', 'vga', 'monitor', 'icount', 'action'],
]);

/** Machine properties, with the values that are allowed; null for any. */
const MACHINE_PROPERTIES: Readonly<Record<string, readonly string[] | null>> = {
  type: ['virt', 'none'],
  iommu: ['smmuv3', 'none'],
  acpi: null,
  'gic-version': ['2', '3', 'max'],
  its: null,
  msi: ['auto', 'gicv2m', 'off'],
  virtualization: null,
  secure: null,
  highmem: null,
  'highmem-ecam': ['on'],
  'highmem-mmio': null,
  'highmem-redists': null,
  ras: null,
  mte: null,
  'dtb-randomness': null,
  'default-bus-bypass-iommu': ['off'],
  graphics: null,
  usb: null,
  accel: ['qtest', 'tcg'],
  'mem-merge': null,
  'dump-guest-core': null,
};

/** `key=value,flag,...`; `first` names the key of a leading word without `=`. A doubled comma stands for one. */
export function properties(text: string, first: string): Map<string, string> {
  const parts = text.replaceAll(',,', '\0').split(',');
  const found = new Map<string, string>();
  for (const [index, part] of parts.entries()) {
    const plain = part.replaceAll('\0', ',');
    if (plain === '') continue;
    const equals = plain.indexOf('=');
    if (equals >= 0) found.set(plain.slice(0, equals), plain.slice(equals + 1));
    else if (index === 0) found.set(first, plain);
    else found.set(plain, 'on');
  }
  return found;
}

function memoryBytes(text: string): number {
  const size = properties(text, 'size').get('size') ?? '';
  const [, digits, suffix = ''] = /^(\d+(?:\.\d+)?)([BbKkMmGgTt]?)$/.exec(size) ?? [];
  if (digits === undefined) throw new CommandLineError(`-m ${text}: Parameter 'size' expects a size`);
  const scale = { b: 1, k: 2 ** 10, '': MEBIBYTE, m: MEBIBYTE, g: 2 ** 30, t: 2 ** 40 }[suffix.toLowerCase()] ?? 1;
  const bytes = Math.ceil((Number(digits) * scale) / MEBIBYTE) * MEBIBYTE;
  if (bytes === 0) return DEFAULT_RAM_BYTES;
  if (bytes > MAX_RAM_BYTES) throw new CommandLineError(`-m ${text}: this board has room for 255 GiB`);
  return bytes;
}

function channel(option: string, text: string): Channel {
  if (text === 'stdio') return { kind: 'stdio' };
  if (text === 'none' || text === 'null') return { kind: 'none' };
  if (!text.startsWith('unix:')) throw new CommandLineError(`-${option} ${text}: only unix:PATH and stdio are served`);
  const found = properties(text.slice('unix:'.length), 'path');
  const listen = [found.get('server'), found.get('listen')].some((value) => value === 'on');
  return { kind: 'unix', path: found.get('path') ?? '', listen };
}

function devicePosition(text: string): number {
  const [, device, fn = '0'] = /^(?:0x)?([0-9a-fA-F]{1,2})(?:\.([0-7]))?$/.exec(text) ?? [];
  const number = device === undefined ? 32 : Number.parseInt(device, 16);
  if (number > 31) throw new CommandLineError(`-device: addr=${text} is no DEVICE.FUNCTION of bus 0`);
  return number * 8 + Number(fn);
}

function device(text: string): DeviceRequest {
  const found = properties(text, 'driver');
  const take = (key: string): string | undefined => {
    const value = found.get(key);
    found.delete(key);
    return value;
  };
  const type = take('driver') ?? '';
  const at = take('addr');
  const bus = take('bus');
  if (bus !== undefined && bus !== 'pcie.0') throw new CommandLineError(`-device ${text}: Bus '${bus}' not found`);
  for (const accepted of ['multifunction', 'romfile', 'rombar']) take(accepted);
  const id = take('id');
  return {
    type,
    id,
    devfn: at === undefined ? undefined : devicePosition(at),
    properties: Object.fromEntries(found),
  };
}

/** Collects what the options say. */
class Reader {
  machine: 'virt' | 'none' | undefined;
  iommu = false;
  ramBytes = DEFAULT_RAM_BYTES;
  readonly devices: DeviceRequest[] = [];
  readonly globals: { driver: string; property: string; value: string }[] = [];
  qtest: Channel = { kind: 'none' };
  qtestLog: string | null = null;
  readonly monitors: Channel[] = [];
  readonly #characterDevices = new Map<string, Channel>();
  readonly #monitorNames: string[] = [];

  option(name: string, argument: string): void {
    switch (name) {
      case 'machine':
      case 'M':
        this.#machine(argument);
        return;
      case 'm':
        this.ramBytes = memoryBytes(argument);
        return;
      case 'device':
        this.devices.push(device(argument));
        return;
      case 'global':
        this.#global(argument);
        return;
      case 'qtest':
        this.qtest = channel(name, argument);
        return;
      case 'qtest-log':
        this.qtestLog = argument === 'none' || argument === '/dev/null' ? null : argument;
        return;
      case 'qmp':
        this.monitors.push(channel(name, argument));
        return;
      case 'chardev':
        this.#characterDevice(argument);
        return;
      case 'mon':
        this.#monitor(argument);
        return;
      case 'object':
        this.#object(argument);
        return;
      case 'accel':
        if (/^(qtest|tcg)(,|$)/.test(argument)) return;
        throw new CommandLineError(`-accel ${argument}: no CPU runs here; the accelerator is qtest`);
      default:
        if (!IGNORED.has(name)) throw new CommandLineError(`-${name}: invalid option`);
    }
  }

  /** Monitors name their channel, and may do so before it is declared. */
  joinMonitors(): void {
    for (const name of this.#monitorNames) {
      const found = this.#characterDevices.get(name);
      if (found === undefined) throw new CommandLineError(`chardev "${name}" not found`);
      this.monitors.push(found);
    }
  }

  #machine(argument: string): void {
    for (const [key, value] of properties(argument, 'type')) {
      const allowed = MACHINE_PROPERTIES[key];
      if (key === 'type' && value !== 'virt' && value !== 'none' && !/^virt-\d+\.\d+$/.test(value)) {
        throw new CommandLineError(`-machine ${value}: unsupported machine type`);
      }
      if (allowed === undefined) throw new CommandLineError(`Property 'virt-machine.${key}' not found`);
      if (allowed !== null && key !== 'type' && !allowed.includes(value)) {
        throw new CommandLineError(`-machine ${key}=${value}: this board has ${allowed.join(', ')}`);
      }
      if (key === 'type') this.machine = value === 'none' ? 'none' : 'virt';
      if (key === 'iommu') this.iommu = value === 'smmuv3';
    }
  }

  #global(argument: string): void {
    const [, driver, property, value] = /^([^.=]+)\.([^=]+)=(.*)$/.exec(argument) ?? [];
    if (driver === undefined || property === undefined || value === undefined) {
      throw new CommandLineError(`-global ${argument}: DRIVER.PROPERTY=VALUE is expected`);
    }
    this.globals.push({ driver, property, value });
  }

  #characterDevice(argument: string): void {
    const found = properties(argument, 'backend');
    const id = found.get('id');
    if (id === undefined) throw new CommandLineError(`-chardev ${argument}: Parameter 'id' is missing`);
    const path = found.get('path');
    switch (found.get('backend')) {
      case 'socket':
        if (path === undefined) throw new CommandLineError(`-chardev ${argument}: only sockets with a path are served`);
        this.#characterDevices.set(id, { kind: 'unix', path, listen: found.get('server') === 'on' });
        return;
      case 'stdio':
        this.#characterDevices.set(id, { kind: 'stdio' });
        return;
      case 'null':
        this.#characterDevices.set(id, { kind: 'none' });
        return;
      default:
        throw new CommandLineError(`-chardev ${argument}: the backend is socket, stdio or null`);
    }
  }

  #monitor(argument: string): void {
    const found = properties(argument, 'chardev');
    if (found.get('mode') !== 'control') throw new CommandLineError(`-mon ${argument}: only mode=control is served`);
    this.#monitorNames.push(found.get('chardev') ?? '');
  }

  #object(argument: string): void {
    const found = properties(argument, 'qom-type');
    const type = found.get('qom-type') ?? '';
    if (type !== 'monitor-qmp') throw new CommandLineError(`-object ${argument}: invalid object type: ${type}`);
    this.#monitorNames.push(found.get('chardev') ?? '');
  }
}

/**
 * Reads QEMU's arguments (without the program's name).
 *
 * @throws CommandLineError with a message for the user.
 */
export function parseCommandLine(words: readonly string[], version: string): CommandLine {
  const reader = new Reader();
  let print: string | null = null;
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? '';
    if (!word.startsWith('-')) throw new CommandLineError(`${word}: this board has no disk to boot from`);
    const name = word.replace(/^--?/, '');
    if (name === 'version') print = `QEMU emulator version ${version} (Faultline's virt board, no CPU)\n`;
    else if (name === 'h' || name === 'help') print = HELP;
    else if (!FLAGS.has(name)) {
      const argument = words[at + 1];
      if (argument === undefined) throw new CommandLineError(`-${name}: requires an argument`);
      reader.option(name, argument);
      at += 1;
    }
  }
  reader.joinMonitors();
  const { iommu, ramBytes, devices, globals, qtest, qtestLog, monitors } = reader;
  return { machine: reader.machine ?? 'none', iommu, ramBytes, devices, globals, qtest, qtestLog, monitors, print };
}

const HELP = `usage: faultline-qemu-system-aarch64 [options]
The silicon of Faultline's board behind QEMU's qtest protocol. Options are QEMU's:
  -machine virt[,iommu=smmuv3]   the board; -machine none for none
  -m SIZE                        RAM, 128M unless given
  -device TYPE[,addr=D.F][,id=X] a device on bus 0: iommu-testdev, edu, faultline-accelerator
  -global arm-smmuv3.preset=P    what the SMMU announces: full, wide, minimal, qemu
  -global arm-smmuv3.FIELD=N     a field of its ID registers
  -global arm-smmuv3.latency=P   what steps cost in virtual time: zero, kunpeng920
  -qtest unix:PATH[,server=on]   or stdio
  -qtest-log FILE                the traffic
  -qmp unix:PATH[,server=on]     a monitor; also by -chardev with -mon or -object monitor-qmp
Options of QEMU that would change nothing here are accepted.
`;
