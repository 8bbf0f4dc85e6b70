/** binary-parser 2.3.0 exports no types for ESM; its CommonJS declarations are the same. */
declare module 'binary-parser' {
  export * from 'binary-parser/dist/binary_parser.js';
}
