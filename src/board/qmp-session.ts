/**
 * The server's end of QMP, over text: the greeting, capability negotiation, and the commands that device tests send.
 * Errors are worded as QEMU words them.
 */
import { JsonStream } from './json-stream.ts';

/** What the monitor can see and do. */
export interface QmpTarget {
  readonly version: string;
  /** Children of an object in the tree of devices; null where there is no such object. */
  children(path: string): readonly { readonly name: string; readonly type: string }[] | null;
  /** Types of devices that can be plugged in. */
  readonly deviceTypes: readonly string[];
  reset(): void;
  quit(): void;
}

type Json = Readonly<Record<string, unknown>>;

class QmpError extends Error {
  readonly class: string;

  constructor(description: string, errorClass = 'GenericError') {
    super(description);
    this.class = errorClass;
  }
}

const MACHINES = [
  {
    ...{ name: 'virt', alias: 'virt-11.1', 'cpu-max': 512, 'hotpluggable-cpus': false, 'numa-mem-supported': true },
    ...{ deprecated: false, acpi: false, 'default-cpu-type': 'cortex-a15-arm-cpu', 'default-ram-id': 'mach-virt.ram' },
  },
  {
    ...{ name: 'none', 'cpu-max': 1, 'hotpluggable-cpus': false, 'numa-mem-supported': false },
    ...{ deprecated: false, acpi: false },
  },
] as const;

export class QmpSession {
  readonly #target: QmpTarget;
  readonly #send: (text: string) => void;
  readonly #stream = new JsonStream();
  #negotiated = false;

  constructor(target: QmpTarget, send: (text: string) => void) {
    this.#target = target;
    this.#send = send;
    const [major = 0, minor = 0, micro = 0] = target.version.split('.').map((part) => Number.parseInt(part, 10));
    this.#write({
      QMP: { version: { qemu: { micro, minor, major }, package: 'faultline' }, capabilities: ['oob'] },
    });
  }

  /** Consumes text from the client and sends what there is to say. */
  receive(text: string): void {
    this.#stream.receive(
      text,
      (object) => this.#message(object),
      () => this.#refuse(undefined, new QmpError('JSON parse error')),
    );
  }

  /** Announces an event. */
  event(name: string, data: Json): void {
    if (this.#negotiated) this.#write({ timestamp: { seconds: 0, microseconds: 0 }, event: name, data });
  }

  #write(message: Json): void {
    this.#send(`${JSON.stringify(message)}\r\n`);
  }

  #refuse(id: unknown, error: QmpError): void {
    this.#write({ error: { class: error.class, desc: error.message }, ...(id !== undefined && { id }) });
  }

  #message(object: string): void {
    let message: Json;
    try {
      message = JSON.parse(object) as Json;
    } catch {
      this.#refuse(undefined, new QmpError('JSON parse error'));
      return;
    }
    const { id } = message;
    try {
      const result = this.#execute(message);
      this.#write({ return: result, ...(id !== undefined && { id }) });
      if (message['execute'] === 'system_reset') this.event('RESET', { guest: false, reason: 'host-qmp-system-reset' });
      if (message['execute'] === 'quit') this.#target.quit();
    } catch (error) {
      if (!(error instanceof QmpError)) throw error;
      this.#refuse(id, error);
    }
  }

  #execute(message: Json): unknown {
    const command = message['execute'] ?? message['exec-oob'];
    if (typeof command !== 'string') throw new QmpError("QMP input lacks member 'execute'");
    if (command === 'qmp_capabilities') {
      if (this.#negotiated) {
        throw new QmpError('Capabilities negotiation is already complete, command ignored', 'CommandNotFound');
      }
      this.#negotiated = true;
      return {};
    }
    if (!this.#negotiated) {
      throw new QmpError("Expecting capabilities negotiation with 'qmp_capabilities'", 'CommandNotFound');
    }
    const args = (message['arguments'] ?? {}) as Json;
    const target = this.#target;
    switch (command) {
      case 'query-machines':
        return MACHINES;
      case 'query-version': {
        const [major = 0, minor = 0, micro = 0] = target.version.split('.').map((part) => Number.parseInt(part, 10));
        return { qemu: { micro, minor, major }, package: 'faultline' };
      }
      case 'query-status':
        return { status: 'running', running: true };
      case 'query-cpus-fast':
      case 'query-named-block-nodes':
      case 'query-block':
        return [];
      case 'query-target':
        return { arch: 'aarch64' };
      case 'query-kvm':
        return { enabled: false, present: false };
      case 'qom-list':
        return this.#list(args['path']);
      case 'qom-list-types':
        return target.deviceTypes.map((name) => ({ name, parent: 'pci-device' }));
      case 'system_reset':
        target.reset();
        return {};
      case 'stop':
      case 'cont':
      case 'quit':
        return {};
      default:
        throw new QmpError(`The command ${command} has not been found`, 'CommandNotFound');
    }
  }

  #list(path: unknown): unknown {
    if (typeof path !== 'string') throw new QmpError("Parameter 'path' is missing");
    const children = this.#target.children(path);
    if (children === null) throw new QmpError(`Device '${path}' not found`, 'DeviceNotFound');
    return [{ name: 'type', type: 'string' }, ...children];
  }
}
