/** Which pages to map besides the one that faulted. Each policy is a small object; the fault handler cuts what it says. */
import { assert } from '../assert.ts';
import type { IommuDevice } from '../iommu/core.ts';

/** Pages `first`, `first + step`, ... (`count` of them) of a mapping. With a step of 1 they include the faulting page. */
export interface PremapPlan {
  first: number;
  step: number;
  count: number;
}

export interface PremapPolicy {
  readonly name: string;
  /** Plans around `page` of a mapping of `pageCount` pages; pages outside the mapping are left out by the caller. */
  plan(device: IommuDevice, page: number, pageCount: number, plan: PremapPlan): void;
}

/** The faulting page alone. */
export const premapNone: PremapPolicy = {
  name: 'none',
  plan(_device, page, _pageCount, plan) {
    plan.first = page;
    plan.step = 1;
    plan.count = 1;
  },
};

/** The page and those that follow, `pages` in all: what the RFC does with 512. */
export function premapNext(pages: number): PremapPolicy {
  assert(pages >= 1, `${pages} pages`);
  return {
    name: 'next',
    plan(_device, page, _pageCount, plan) {
      plan.first = page;
      plan.step = 1;
      plan.count = pages;
    },
  };
}

/** The aligned block of `pages` pages around the page, so that large pages can be used. */
export function premapAligned(pages: number): PremapPolicy {
  assert(pages >= 1, `${pages} pages`);
  return {
    name: 'aligned',
    plan(_device, page, _pageCount, plan) {
      plan.first = page - (page % pages);
      plan.step = 1;
      plan.count = pages;
    },
  };
}

/** Once two faults of a device lie as far apart as the two before, the pages that the distance predicts. */
export function premapStride(pages: number): PremapPolicy {
  assert(pages >= 1, `${pages} pages`);
  const histories = new Map<IommuDevice, { page: number; stride: number }>();
  return {
    name: 'stride',
    plan(device, page, _pageCount, plan) {
      plan.first = page;
      plan.step = 1;
      plan.count = 1;
      const history = histories.get(device);
      if (history === undefined) {
        histories.set(device, { page, stride: 0 });
        return;
      }
      const stride = page - history.page;
      // After a prediction of `pages` pages the next fault comes `pages` strides later.
      const expected = stride === history.stride || stride === history.stride * pages;
      if (stride !== 0 && history.stride !== 0 && expected) {
        plan.step = history.stride;
        plan.count = pages;
      } else {
        history.stride = stride;
      }
      history.page = page;
    },
  };
}
