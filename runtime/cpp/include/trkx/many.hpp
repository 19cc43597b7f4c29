// Several events in flight over one pipeline, on threads.
#pragma once

#include <cstddef>
#include <functional>

namespace trkx {

/// Calls work(0) … work(count - 1) on `threads` threads and deliver(i), in order, in the calling thread as soon as work(i) and
/// all before it are done. Work of a number is begun only while fewer than 2 * threads are begun and not delivered, so that
/// memory is bounded.
///
/// Numbers are taken from one atomic counter; no lock is held while work runs. With 1 thread everything happens in the calling
/// thread. Throws what the first number, in their order, threw, after all before it were delivered; what was begun is waited for.
void for_each_in_order(std::size_t count, std::size_t threads, const std::function<void(std::size_t)>& work,
                       const std::function<void(std::size_t)>& deliver);

}  // namespace trkx
