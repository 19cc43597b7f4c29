#include <trkx/many.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <trkx/error.hpp>

namespace trkx {

namespace {

/// What workers and the calling thread tell each other. The lock guards only flags; work runs without it.
class Board {
public:
    Board(std::size_t count, std::size_t threads) : window_(2 * threads), count_(count), slots_(count) {}

    /// Takes the next number and waits until it may begin; false when nothing is left.
    bool take(std::size_t& number) {
        number = next_.fetch_add(1, std::memory_order_relaxed);
        if (number >= count_) return false;
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stopped_ || number < delivered_ + window_; });
        return !stopped_;
    }

    void finish(std::size_t number, std::exception_ptr error) {
        {
            const std::lock_guard lock(mutex_);
            slots_[number] = {true, std::move(error)};
        }
        changed_.notify_all();
    }

    /// Waits for a number; throws what it threw.
    void await(std::size_t number) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return slots_[number].done; });
        if (slots_[number].error) std::rethrow_exception(slots_[number].error);
    }

    void deliver() {
        {
            const std::lock_guard lock(mutex_);
            ++delivered_;
        }
        changed_.notify_all();
    }

    void stop() {
        {
            const std::lock_guard lock(mutex_);
            stopped_ = true;
        }
        changed_.notify_all();
    }

private:
    struct Slot {
        bool done = false;
        std::exception_ptr error;
    };

    const std::size_t window_, count_;
    std::atomic<std::size_t> next_{0};
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Slot> slots_;
    std::size_t delivered_ = 0;
    bool stopped_ = false;
};

/// Threads that are told to stop and waited for, whatever happens.
class Workers {
public:
    explicit Workers(Board& board) : board_(board) {}
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;
    ~Workers() {
        board_.stop();
        for (std::thread& thread : threads_) thread.join();
    }
    void start(const std::function<void(std::size_t)>& work) {
        threads_.emplace_back([this, &work] {
            std::size_t number = 0;
            while (board_.take(number)) {
                std::exception_ptr error;
                try {
                    work(number);
                } catch (...) {
                    error = std::current_exception();
                }
                board_.finish(number, std::move(error));
            }
        });
    }

private:
    Board& board_;
    std::vector<std::thread> threads_;
};

}  // namespace

void for_each_in_order(std::size_t count, std::size_t threads, const std::function<void(std::size_t)>& work,
                       const std::function<void(std::size_t)>& deliver) {
    if (threads < 1) throw SpecError("threads must be at least 1, found 0.");
    if (threads == 1) {
        for (std::size_t number = 0; number < count; ++number) {
            work(number);
            deliver(number);
        }
        return;
    }
    Board board(count, threads);
    Workers workers(board);
    for (std::size_t i = 0; i < std::min(threads, count); ++i) workers.start(work);
    for (std::size_t number = 0; number < count; ++number) {
        board.await(number);
        deliver(number);
        board.deliver();
    }
}

}  // namespace trkx
