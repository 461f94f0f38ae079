// A thread pool whose idle threads yield in a loop before they sleep.
//
// A network is hundreds of short parallel loops a cloud. A thread that sleeps between them takes
// longer to wake than most loops take; one that spins takes its core from other processes, a second
// node for instance. These threads call sched_yield while they wait, and sleep when no work has
// come for a while.
#pragma once

#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

class ThreadPool {
   public:
    // One a process; never destroyed, for its threads live as long as the process. A forked child
    // inherits the memory but no threads, and makes a new pool.
    static ThreadPool& of_process() {
        static std::atomic<ThreadPool*> pool{nullptr};
        ThreadPool* current = pool.load();
        while (!current || current->process != getpid()) {
            ThreadPool* created = new ThreadPool;
            if (pool.compare_exchange_strong(current, created)) return *created;
            delete created;
        }
        return *current;
    }

    // f(i) for every i below count, on `threads` threads of which the caller is one. While another
    // caller uses the pool, a second one runs its loop alone. What f throws ends the loop and goes on
    // to the caller.
    template <typename Function>
    void run(int64_t count, int threads, const Function& f) {
        std::unique_lock<std::mutex> caller_lock(one_caller, std::defer_lock);
        const int helpers = static_cast<int>(std::min<int64_t>(threads, count)) - 1;
        if (helpers <= 0 || !caller_lock.try_lock()) {
            for (int64_t i = 0; i < count; ++i) f(i);
            return;
        }
        while (workers < helpers && start_worker()) ++workers;
        run_item = [](const void* function, int64_t i) {
            (*static_cast<const Function*>(function))(i);
        };
        function = &f;
        end = count;
        helpers_needed = helpers;
        next = 0;
        open = ++round;
        if (sleepers) {
            // A thread that is about to sleep holds the mutex until it can be woken.
            std::lock_guard<std::mutex> sleep_lock(sleep_mutex);
            wake.notify_all();
        }
        run_items();
        open = 0;
        // A thread that is too late to see `open` set runs nothing.
        while (running) sched_yield();
        if (has_thrown.exchange(false)) std::rethrow_exception(std::exchange(thrown, nullptr));
    }

   private:
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::microseconds SPIN_TIME{2000};

    // False where the system refuses another thread: the pool then stays smaller.
    bool start_worker() {
        // Signals are for the program's own threads to handle.
        sigset_t every, before;
        sigfillset(&every);
        pthread_sigmask(SIG_SETMASK, &every, &before);
        bool started = true;
        try {
            std::thread([this, number = workers] { work_loop(number); }).detach();
        } catch (const std::system_error&) {
            started = false;
        }
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        return started;
    }

    void run_items() {
        try {
            for (int64_t i; (i = next.fetch_add(1)) < end;) run_item(function, i);
        } catch (...) {
            next = end.load();
            if (!has_thrown.exchange(true)) thrown = std::current_exception();
        }
    }

    void work_loop(int number) {
        for (uint64_t last_round = 0;;) {
            wait_for_work(last_round);
            last_round = round;
            ++running;
            if (open && number < helpers_needed) run_items();
            --running;
        }
    }

    void wait_for_work(uint64_t last_round) {
        const Clock::time_point spin_end = Clock::now() + SPIN_TIME;
        while (round == last_round) {
            sched_yield();
            if (Clock::now() < spin_end) continue;
            std::unique_lock<std::mutex> sleep_lock(sleep_mutex);
            ++sleepers;
            wake.wait(sleep_lock, [&] { return round != last_round; });
            --sleepers;
        }
    }

    const pid_t process = getpid();
    std::mutex one_caller;
    int workers = 0;
    // The loop's body; valid while `open` is its round, written while no worker is running.
    void (*run_item)(const void*, int64_t) = nullptr;
    const void* function = nullptr;
    std::atomic<int64_t> next{0};
    std::atomic<int64_t> end{0};
    std::atomic<int> helpers_needed{0};
    std::atomic<uint64_t> round{0}, open{0};
    std::atomic<int> running{0}, sleepers{0};
    std::atomic<bool> has_thrown{false};
    std::exception_ptr thrown;  // read while no worker is running
    std::mutex sleep_mutex;
    std::condition_variable wake;
};

// f(i) for every i below count, on so many threads: those of OpenMP, which torch uses as well, or,
// where the number is negative, as many of our own pool. The pool is faster as long as torch's
// threads are idle; where torch computes in between, as in training, both would compete for cores.
template <typename Function>
void parallel_for(int64_t count, int threads, const Function& f) {
    if (threads < -1) {
        ThreadPool::of_process().run(count, -threads, f);
        return;
    }
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < count; ++i) f(i);
#else
    if (threads > 1)
        ThreadPool::of_process().run(count, threads, f);
    else
        for (int64_t i = 0; i < count; ++i) f(i);
#endif
}

// f(block, first, last) for blocks of so many rows.
template <typename Function>
void parallel_for_rows(int64_t rows, int64_t block_rows, int threads, const Function& f) {
    parallel_for((rows + block_rows - 1) / block_rows, threads, [&](int64_t block) {
        f(block, block * block_rows, std::min(rows, (block + 1) * block_rows));
    });
}
