/** Pages that the device wrote, collected as its accesses take effect. */
import type { DeviceWrites } from '../machine.ts';

export class WrittenPages {
  #pages = new Set<number>();

  add(page: number): void {
    this.#pages.add(page);
  }

  /** What the run sees of it; `engine` is the one that writes. */
  of(engine: { readonly counters: { readonly aborted: number } }): DeviceWrites {
    return {
      take: () => {
        const pages = this.#pages;
        this.#pages = new Set();
        return pages;
      },
      get failed() {
        return engine.counters.aborted;
      },
    };
  }
}
