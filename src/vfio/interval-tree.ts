/** Intervals by their start, in a balanced (AVL) tree that knows the largest end of each subtree. They may overlap. */
import { assert } from '../assert.ts';

export interface Interval {
  /** Half-open: `[start, end)`. Neither changes while the interval is in a tree. */
  readonly start: number;
  readonly end: number;
  /** Distinct in a tree: orders intervals with the same start. */
  readonly id: number;
}

interface Node<T> {
  readonly item: T;
  left: Node<T> | null;
  right: Node<T> | null;
  height: number;
  /** Largest end in this subtree. */
  reach: number;
}

export class IntervalTree<T extends Interval> {
  #root: Node<T> | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  insert(item: T): void {
    this.#root = insert(this.#root, item);
    this.#size += 1;
  }

  remove(item: T): void {
    this.#root = remove(this.#root, item);
    this.#size -= 1;
  }

  /** The interval with the lowest start that meets `[start, end)`, or null. */
  first(start: number, end: number): T | null {
    return first(this.#root, start, end);
  }

  /** Appends every interval that meets `[start, end)` to `out`, by ascending start. */
  collect(start: number, end: number, out: T[]): void {
    collect(this.#root, start, end, out);
  }

  /** All intervals by ascending start. */
  all(): T[] {
    const out: T[] = [];
    collect(this.#root, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, out);
    return out;
  }
}

function before(a: Interval, b: Interval): boolean {
  return a.start < b.start || (a.start === b.start && a.id < b.id);
}

function update<T extends Interval>(node: Node<T>): void {
  const { left, right } = node;
  node.height = 1 + Math.max(left?.height ?? 0, right?.height ?? 0);
  node.reach = Math.max(node.item.end, left?.reach ?? node.item.end, right?.reach ?? node.item.end);
}

function balance<T extends Interval>(node: Node<T>): Node<T> {
  update(node);
  const lean = (node.left?.height ?? 0) - (node.right?.height ?? 0);
  if (lean > 1 && node.left !== null) {
    if ((node.left.left?.height ?? 0) < (node.left.right?.height ?? 0)) node.left = rotateLeft(node.left);
    return rotateRight(node);
  }
  if (lean < -1 && node.right !== null) {
    if ((node.right.right?.height ?? 0) < (node.right.left?.height ?? 0)) node.right = rotateRight(node.right);
    return rotateLeft(node);
  }
  return node;
}

function rotateRight<T extends Interval>(node: Node<T>): Node<T> {
  const top = node.left;
  assert(top !== null, 'a rotation to the right needs a left child');
  node.left = top.right;
  top.right = node;
  update(node);
  update(top);
  return top;
}

function rotateLeft<T extends Interval>(node: Node<T>): Node<T> {
  const top = node.right;
  assert(top !== null, 'a rotation to the left needs a right child');
  node.right = top.left;
  top.left = node;
  update(node);
  update(top);
  return top;
}

function insert<T extends Interval>(node: Node<T> | null, item: T): Node<T> {
  if (node === null) return { item, left: null, right: null, height: 1, reach: item.end };
  if (before(item, node.item)) node.left = insert(node.left, item);
  else node.right = insert(node.right, item);
  return balance(node);
}

function remove<T extends Interval>(node: Node<T> | null, item: T): Node<T> | null {
  assert(node !== null, 'the interval is in the tree');
  if (node.item !== item) {
    if (before(item, node.item)) node.left = remove(node.left, item);
    else node.right = remove(node.right, item);
    return balance(node);
  }
  if (node.left === null) return node.right;
  if (node.right === null) return node.left;
  let next = node.right;
  while (next.left !== null) next = next.left;
  const { left } = node;
  const right = remove(node.right, next.item);
  return balance({ item: next.item, left, right, height: 0, reach: 0 });
}

function first<T extends Interval>(root: Node<T> | null, start: number, end: number): T | null {
  for (let node = root; node !== null; ) {
    const { left } = node;
    if (left !== null && left.reach > start) {
      // Something on the left ends beyond `start`. If it does not meet the range, it begins beyond `end`, and so does
      // everything to its right: the answer is on the left or nowhere.
      node = left;
    } else if (node.item.start < end && node.item.end > start) {
      return node.item;
    } else {
      node = node.right;
    }
  }
  return null;
}

function collect<T extends Interval>(node: Node<T> | null, start: number, end: number, out: T[]): void {
  if (node === null || node.reach <= start) return;
  collect(node.left, start, end, out);
  if (node.item.start < end && node.item.end > start) out.push(node.item);
  if (node.item.start < end) collect(node.right, start, end, out);
}
