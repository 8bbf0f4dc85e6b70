/** Cuts a stream of JSON objects into texts, whatever blanks and newlines lie between them; QMP is such a stream. */

/** Longest object that is accepted. */
const MAX_CHARACTERS = 0x10_0000;

export class JsonStream {
  #text = '';
  #depth = 0;
  #inString = false;
  #escaped = false;

  /** Calls `complete` with each whole object, and `refuse` for what is none: stray characters, or an endless object. */
  receive(text: string, complete: (object: string) => void, refuse: () => void): void {
    let stray = false;
    let start = 0;
    for (let at = 0; at < text.length; at++) {
      const character = text.charAt(at);
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (character === '\\') this.#escaped = true;
        else if (character === '"') this.#inString = false;
      } else if (this.#depth === 0) {
        if (character === '{') {
          this.#depth = 1;
          start = at;
        } else if (character.trim() !== '' && character !== 'ÿ' && !stray) {
          stray = true;
          refuse();
        }
        if (character === '\n') stray = false;
      } else if (character === '"') this.#inString = true;
      else if (character === '{' || character === '[') this.#depth += 1;
      else if (character === '}' || character === ']') {
        this.#depth -= 1;
        if (this.#depth === 0) {
          complete(this.#text + text.slice(start, at + 1));
          this.#text = '';
        }
      }
    }
    if (this.#depth === 0) return;
    this.#text += text.slice(start);
    if (this.#text.length <= MAX_CHARACTERS) return;
    this.#reset();
    refuse();
  }

  #reset(): void {
    this.#text = '';
    this.#depth = 0;
    this.#inString = false;
    this.#escaped = false;
  }
}
