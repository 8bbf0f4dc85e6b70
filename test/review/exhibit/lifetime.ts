/** What C leaves to chance and a test must see: freed objects in use, null pointers followed, warnings on the console. */

/** An object was used after it was freed. In a kernel: corrupted memory, now or later. */
export class UseAfterFree extends Error {
  override readonly name = 'UseAfterFree';
}

/** A null pointer was followed: the kernel's thread dies. */
export class NullDereference extends Error {
  override readonly name = 'NullDereference';
}

/** Something allocated, which may be freed while others still refer to it. */
export class Allocation {
  readonly what: string;
  #freed = false;

  constructor(what: string) {
    this.what = what;
  }

  get freed(): boolean {
    return this.#freed;
  }

  free(): void {
    this.use();
    this.#freed = true;
  }

  /** To be called with every access. @throws UseAfterFree */
  use(): void {
    if (this.#freed) throw new UseAfterFree(`${this.what} is used after it was freed`);
  }
}

/** @throws NullDereference */
export function follow<T>(pointer: T | null | undefined, what: string): T {
  if (pointer === null || pointer === undefined) throw new NullDereference(`${what} is null`);
  return pointer;
}
