/** The system around the SMMU under test: records what comes out of it, and answers where it is asked to. */
import type { Fabric, InvalidateRequest, PageGroupResponse } from '../../hw/pcie/tlp.ts';
import type { InterruptSource, World } from '../subject.ts';

export interface SentInvalidation extends InvalidateRequest {
  readonly streamId: number;
  /** Completes it, as the endpoint does. */
  readonly complete: () => void;
}

export interface SentResponse extends PageGroupResponse {
  readonly streamId: number;
}

export interface FarWrite {
  readonly address: number;
  readonly size: number;
  readonly value: bigint;
}

export class System implements World {
  readonly interrupts: InterruptSource[] = [];
  readonly invalidations: SentInvalidation[] = [];
  readonly responses: SentResponse[] = [];
  readonly farWrites: FarWrite[] = [];
  wakeUps = 0;
  /** Whether invalidations are completed at once; else a row completes them. */
  completesInvalidations = true;
  /** Whether any function answers. */
  functionsAnswer = true;

  readonly fabric: Fabric = {
    invalidate: (streamId, request, completed) => {
      if (!this.functionsAnswer) return false;
      this.invalidations.push({ ...request, streamId, complete: completed });
      if (this.completesInvalidations) completed();
      return true;
    },
    pageGroupResponse: (streamId, response) => {
      this.responses.push({ ...response, streamId });
      return this.functionsAnswer;
    },
  };

  interrupt(source: InterruptSource): void {
    this.interrupts.push(source);
  }

  wakeUp(): void {
    this.wakeUps += 1;
  }

  /** Far memory reads as its own address, so that a transaction shows where it arrived. */
  readFar(address: number, size: number): bigint {
    const aligned = BigInt(address - (address % 8));
    return BigInt.asUintN(size * 8, aligned >> BigInt((address % 8) * 8));
  }

  writeFar(address: number, size: number, value: bigint): void {
    this.farWrites.push({ address, size, value });
  }

  /** Interrupts raised since the last call. */
  takeInterrupts(): InterruptSource[] {
    return this.interrupts.splice(0);
  }
}
