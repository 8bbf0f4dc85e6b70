/** What becomes of stalled accesses whose records may be lost (IHI 0070 §7.2.2): all of them are ended. */
import type { Steps } from '../../sim/task.ts';
import type { CommandQueue } from './command-queue.ts';
import type { SmmuDevice } from './device.ts';
import type { PendingGroup } from './fault-groups.ts';
import type { FaultService } from './fault-service.ts';
import type { Invalidation } from './invalidation.ts';
import type { RecordQueue } from './record-queue.ts';
import type { StreamConfiguration } from './stream-configuration.ts';

export interface StallRecoveryOptions {
  readonly configuration: StreamConfiguration;
  readonly events: RecordQueue<PendingGroup>;
  readonly service: FaultService;
  readonly queue: CommandQueue;
  readonly invalidation: Invalidation;
}

export class StallRecovery {
  readonly #options: StallRecoveryOptions;

  constructor(options: StallRecoveryOptions) {
    this.#options = options;
  }

  /**
   * Ends every access of the device that is stalled now, and lets it go on. The stream aborts meanwhile, as CMD_STALL_TERM
   * wants it (§4.7.2): no access comes to stall, and the records of those that did are in the queue.
   */
  *run(device: SmmuDevice): Steps {
    const { configuration, events, service, queue, invalidation } = this.#options;
    if (device.endingStalls) return;
    device.endingStalls = true;
    yield* configuration.applyStream(device);
    yield* events.drain();
    yield* service.abortStalled(device);
    const batch = queue.batch();
    batch.terminateStalls(device.streamId);
    yield* invalidation.complete(batch, null);
    device.endingStalls = false;
    yield* configuration.applyStream(device);
  }
}
