/** The words a cached structure was decoded from, so that the same words need no second decoding. */
export class StructureSource {
  readonly #words: Int32Array;
  #known = false;

  /** `count` 32-bit words from the start of the structure matter. */
  constructor(count: number) {
    this.#words = new Int32Array(count);
  }

  /** Takes the words at byte `at` of `view`: whether they differ from those before. */
  changes(view: DataView, at: number): boolean {
    const words = this.#words;
    let difference = this.#known ? 0 : 1;
    for (let index = 0; index < words.length; index++) {
      const word = view.getInt32(at + 4 * index, true);
      difference |= word ^ (words[index] ?? 0);
      words[index] = word;
    }
    this.#known = true;
    return difference !== 0;
  }
}
