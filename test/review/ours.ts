/** Ours, for comparison with the exhibit: a container with on-demand paging, behind the IOMMU of VFIO's own tests. */
import type { Steps } from '../../src/sim/task.ts';
import { Process } from '../../src/vfio/process.ts';
import { Extension, Ioctl } from '../../src/vfio/uapi.layout.ts';
import { PAGE } from '../support/host.ts';
import { int32, type VfioFixtureOptions, vfioFixture } from '../support/vfio.ts';
import { IOVA } from './exhibit/board.ts';

/** IOPF on, and `pages` pages that nobody touched at {@link IOVA}. */
export function demand(pages: number, options: VfioFixtureOptions = {}, flags = 3) {
  const board = container(options);
  board.run(board.enableIopf(board.fd));
  return { ...board, at: board.memory(pages, flags) };
}

/** A container with its IOMMU set; pages are pinned. */
export function container(options: VfioFixtureOptions = {}) {
  const fixture = vfioFixture(options);
  const { run, process, space, map } = fixture;
  const { container: fd, group } = run(fixture.setUp());
  const ioctl = (request: number, argument: DataView | number): number => run(process.ioctl(fd, request, argument));
  return {
    ...fixture,
    fd,
    group,
    io: fixture.type1().io,
    ioctl,
    container: () => fixture.vfio.containers[0],
    memory(count: number, flags = 3): number {
      const at = space.mmap(count * PAGE);
      const status = run(map(fd, at, IOVA, count * PAGE, flags));
      if (status !== 0) throw new Error(`VFIO_IOMMU_MAP_DMA: ${status}`);
      return at;
    },
    /** A container of its own for another group: its descriptor. */
    openContainer(number: number, by: Process = process): number {
      const other = run(by.open('/dev/vfio/vfio'));
      const opened = run(by.open(`/dev/vfio/${number}`));
      run(by.ioctl(opened, Ioctl.VFIO_GROUP_SET_CONTAINER, int32(other)));
      const status = run(by.ioctl(other, Ioctl.VFIO_SET_IOMMU, Extension.VFIO_TYPE1v2_IOMMU));
      if (status !== 0) throw new Error(`VFIO_SET_IOMMU: ${status}`);
      return other;
    },
    /** Another process with the same memory. */
    thread: () => new Process({ vfio: fixture.vfio, space, latency: fixture.latency }),
    /** Closes group and container. */
    *close(): Steps {
      yield* process.close(group);
      yield* process.close(fd);
    },
  };
}
