/** Reads the files that a user names, with a limit, and says plainly why it cannot. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { InputError } from './input-error.ts';
import { formatSize } from './quantity.ts';

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  ENOTDIR: 'no such file',
  EISDIR: 'is a directory',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  ELOOP: 'too many symbolic links',
  ENAMETOOLONG: 'file name too long',
  EMFILE: 'too many open files',
  ENOSPC: 'no space left on the device',
  EROFS: 'read-only file system',
};

/** Why the system refused a file, in words. */
export function reasonOf(error: unknown): string {
  const { code = '', message } = error as NodeJS.ErrnoException;
  return REASONS[code] ?? (code === '' ? message : `cannot be used (${code})`);
}

/**
 * The whole content of a file or pipe. `label` opens every error message.
 *
 * @throws InputError when it cannot be read, is a directory or a device, or is larger than `limitBytes`.
 */
export function readWhole(file: string, label: string, limitBytes: number): Buffer {
  let descriptor: number | null = null;
  try {
    if (file === '')
      throw new InputError(`${label === '' ? '' : `${label}: `}expected the name of a file, found nothing`);
    if (file.includes('\0')) throw new InputError(`${label}: no such file`);
    descriptor = openSync(file, 'r');
    const status = fstatSync(descriptor);
    if (status.isDirectory()) throw new InputError(`${label}: is a directory`);
    if (status.isCharacterDevice() || status.isBlockDevice()) {
      throw new InputError(`${label}: is a device, not a file`);
    }
    return readUpTo(descriptor, status.size, label, limitBytes);
  } catch (error) {
    throw error instanceof InputError ? error : new InputError(`${label}: ${reasonOf(error)}`);
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}

function readUpTo(descriptor: number, sizeHint: number, label: string, limitBytes: number): Buffer {
  const tooLarge = () => new InputError(`${label}: larger than ${formatSize(limitBytes)}`);
  if (sizeHint > limitBytes) throw tooLarge();
  let content = Buffer.allocUnsafe(Math.max(sizeHint + 1, 4096));
  let length = 0;
  for (;;) {
    const count = readSync(descriptor, content, length, content.length - length, null);
    if (count === 0) return content.subarray(0, length);
    length += count;
    if (length > limitBytes) throw tooLarge();
    if (length === content.length) {
      const larger = Buffer.allocUnsafe(content.length * 2);
      content.copy(larger);
      content = larger;
    }
  }
}
