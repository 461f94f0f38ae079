// Work shared by threads that wait awake, but make way.
//
// A network is hundreds of short pieces of work a cloud. A thread that sleeps between them takes
// longer to wake than most pieces take; one that spins takes its core from whoever else could use
// it, another node say. These wait by offering their core to others again and again, and sleep when
// nothing has come for a while.
#pragma once

#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <system_error>
#include <thread>

class Team {
   public:
    // The process's own; never destroyed, for its threads live as long as the process. A forked
    // child inherits the memory but no threads, and starts anew.
    static Team& ours() {
        static std::atomic<Team*> team{nullptr};
        Team* found = team.load();
        while (!found || found->process != getpid()) {
            Team* made = new Team;
            if (team.compare_exchange_strong(found, made)) return *made;
            delete made;
        }
        return *found;
    }

    // f(i) for every i below count, by `threads` threads of which the caller is one. Who comes
    // while another caller has the team works alone.
    template <typename Function>
    void run(int64_t count, int threads, const Function& f) {
        std::unique_lock<std::mutex> mine(one_caller, std::defer_lock);
        const int helpers = static_cast<int>(std::min<int64_t>(threads, count)) - 1;
        if (helpers <= 0 || !mine.try_lock()) {
            for (int64_t i = 0; i < count; ++i) f(i);
            return;
        }
        while (members < helpers && hire()) ++members;
        work = [](const void* function, int64_t i) {
            (*static_cast<const Function*>(function))(i);
        };
        function = &f;
        end = count;
        wanted = helpers;
        next = 0;
        open = ++round;
        if (asleep) {
            // Those about to sleep hold the lock until they can be woken.
            std::lock_guard<std::mutex> lock(sleeping);
            wake.notify_all();
        }
        take_part();
        open = 0;
        // Whoever came too late to see it open leaves without having touched anything.
        while (active) sched_yield();
    }

   private:
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::microseconds AWAKE{2000};

    // False where the system has no thread to give: then fewer do the work.
    bool hire() {
        // Signals are for the program's own threads.
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        bool hired = true;
        try {
            std::thread([this, number = members] { help(number); }).detach();
        } catch (const std::system_error&) {
            hired = false;
        }
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        return hired;
    }

    void take_part() {
        for (int64_t i; (i = next.fetch_add(1)) < end;) work(function, i);
    }

    void help(int number) {
        for (uint64_t seen = 0;;) {
            wait_for_work(seen);
            seen = round;
            ++active;
            if (open && number < wanted) take_part();
            --active;
        }
    }

    void wait_for_work(uint64_t seen) {
        const Clock::time_point sleep_at = Clock::now() + AWAKE;
        while (round == seen) {
            sched_yield();
            if (Clock::now() < sleep_at) continue;
            std::unique_lock<std::mutex> lock(sleeping);
            ++asleep;
            wake.wait(lock, [&] { return round != seen; });
            --asleep;
        }
    }

    const pid_t process = getpid();
    std::mutex one_caller;
    int members = 0;
    // The work; valid while `open` is the number of its round, and written while nobody is active.
    void (*work)(const void*, int64_t) = nullptr;
    const void* function = nullptr;
    std::atomic<int64_t> next{0};
    std::atomic<int64_t> end{0};
    std::atomic<int> wanted{0};
    std::atomic<uint64_t> round{0}, open{0};
    std::atomic<int> active{0}, asleep{0};
    std::mutex sleeping;
    std::condition_variable wake;
};

// f(i) for every i below count, by so many threads: those of OpenMP, which torch works with as
// well, or, where the number is negative, as many of our own. Ours are the faster ones as long as
// torch's rest; where torch works in between, as in training, both would want the same cores.
template <typename Function>
void share(int64_t count, int threads, const Function& f) {
    if (threads < -1) {
        Team::ours().run(count, -threads, f);
        return;
    }
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < count; ++i) f(i);
#else
    if (threads > 1)
        Team::ours().run(count, threads, f);
    else
        for (int64_t i = 0; i < count; ++i) f(i);
#endif
}

// f(block, first, last) for blocks of so many rows.
template <typename Function>
void share_rows(int64_t rows, int64_t block_rows, int threads, const Function& f) {
    share((rows + block_rows - 1) / block_rows, threads, [&](int64_t block) {
        f(block, block * block_rows, std::min(rows, (block + 1) * block_rows));
    });
}
