/** The tree of objects by which QEMU's protocols name devices, with those of its children that this board has. */

export interface ObjectChild {
  readonly name: string;
  readonly type: string;
}

/** Where QEMU's virt machine has the interrupt controller and the SMMU. */
export const GIC_PATH = '/machine/unattached/device[1]';
export const SMMU_PATH = '/machine/unattached/device[6]';

export class ObjectTree {
  readonly #children = new Map<string, ObjectChild[]>();
  readonly #types = new Map<string, string>();

  constructor(options: {
    readonly smmu: boolean;
    readonly gicVersion: number;
    readonly devices: readonly { readonly type: string; readonly id: string | undefined }[];
  }) {
    for (const path of ['/', '/machine', '/machine/unattached', '/machine/peripheral', '/machine/peripheral-anon']) {
      this.#add(path, path === '/machine' ? 'virt-machine' : 'container');
    }
    this.#add(GIC_PATH, options.gicVersion === 2 ? 'arm_gic' : 'arm-gicv3');
    this.#add('/machine/unattached/device[5]', 'gpex-pcihost');
    if (options.smmu) this.#add(SMMU_PATH, 'arm-smmuv3');
    let anonymous = 0;
    for (const { type, id } of options.devices) {
      this.#add(
        id === undefined ? `/machine/peripheral-anon/device[${anonymous++}]` : `/machine/peripheral/${id}`,
        type,
      );
    }
  }

  /** Children of the object at `path`; null where there is none. */
  children(path: string): readonly ObjectChild[] | null {
    return this.#children.get(path) ?? null;
  }

  /** The full path of an object by its path or, where that is unambiguous, by the last part of it; null for none. */
  resolve(path: string): string | null {
    if (this.#types.has(path)) return path;
    const found = [...this.#types.keys()].filter((whole) => whole.endsWith(`/${path}`));
    return found.length === 1 ? (found[0] ?? null) : null;
  }

  #add(path: string, type: string): void {
    this.#types.set(path, type);
    this.#children.set(path, []);
    if (path === '/') return;
    const cut = path.lastIndexOf('/');
    const siblings = this.#children.get(path.slice(0, cut) || '/');
    siblings?.push({ name: path.slice(cut + 1), type: `child<${type}>` });
  }
}
