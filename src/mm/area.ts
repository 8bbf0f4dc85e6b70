/** A range of an address space with one protection, showing pages of one store. */
import type { AddressSpace } from './address-space.ts';
import type { PageStore } from './page-store.ts';

/** What an area may be used for. */
export const Access = { READ: 1, WRITE: 2 } as const;

export class Area {
  readonly space: AddressSpace;
  readonly pageBytes: number;
  readonly store: PageStore;
  /** First and last-plus-one virtual byte address. */
  start: number;
  end: number;
  /** Page of the store at `start`. */
  first: number;
  /** {@link Access} bits. */
  protection: number;
  /** No longer part of its address space; its pages are about to be freed. */
  removed = false;

  constructor(space: AddressSpace, start: number, end: number, store: PageStore, first: number, protection: number) {
    this.space = space;
    this.pageBytes = space.pageBytes;
    this.start = start;
    this.end = end;
    this.store = store;
    this.first = first;
    this.protection = protection;
    store.areas.add(this);
  }

  get pageCount(): number {
    return (this.end - this.start) / this.pageBytes;
  }

  /** Page of the store that `address` shows. */
  indexOf(address: number): number {
    return this.first + Math.floor((address - this.start) / this.pageBytes);
  }

  addressOf(index: number): number {
    return this.start + (index - this.first) * this.pageBytes;
  }

  /** Cuts the area at `address`: keeps what lies below, returns the rest. */
  splitAt(address: number): Area {
    const { space, end, store, protection } = this;
    const first = this.indexOf(address);
    this.end = address;
    return new Area(space, address, end, store, first, protection);
  }
}
