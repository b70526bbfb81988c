// Boost.Interprocess, between two processes. Answers each line of its input ("what length milliseconds") with a figure.
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/version.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <new>
#include <sched.h>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace bi = boost::interprocess;
using Clock = std::chrono::steady_clock;

static int cpus[2] = {-1, -1};

static void pin(int party) {
    if (cpus[party] < 0) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpus[party], &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) abort();
}

static void require(bool so, const char *what) {
    if (so) return;
    fprintf(stderr, "boost: %s\n", what);
    _exit(1);
}

static double seconds(Clock::time_point since) {
    return std::chrono::duration<double>(Clock::now() - since).count();
}

// The second party, in a child that ends with us.
template <class Part> static pid_t second(Part part) {
    pid_t parent = getpid();
    pid_t child = fork();
    require(child >= 0, "fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            pin(1);
            part();
        }
        _exit(0);
    }
    return child;
}

static void finish(pid_t child) {
    int status = 0;
    require(waitpid(child, &status, 0) == child && status == 0, "the second party failed");
}

static const uint64_t END = UINT64_MAX;

// A queue that has no name any more.
struct Queue {
    bi::message_queue queue;
    Queue(const char *way, size_t len)
        : queue(bi::create_only, name(way).c_str(),
                std::min<size_t>(std::max<size_t>((1 << 20) / len, 4), 1024), len) {
        bi::message_queue::remove(name(way).c_str());
    }
    static std::string name(const char *way) {
        return "commonhold-peers-boost-" + std::to_string(getpid()) + "-" + way;
    }
    void send(std::vector<uint64_t> &message, uint64_t number) {
        message.front() = message.back() = number;
        queue.send(message.data(), message.size() * 8, 0);
    }
    uint64_t receive(std::vector<uint64_t> &message) {
        bi::message_queue::size_type len;
        unsigned priority;
        queue.receive(message.data(), message.size() * 8, len, priority);
        require(len == message.size() * 8 && message.front() == message.back(), "half a message");
        return message.front();
    }
};

static double one_way(size_t len, double duration) {
    Queue there("there", len), back("back", 8);
    std::vector<uint64_t> message(len / 8), answer(1);
    pid_t child = second([&] {
        uint64_t expected = 0;
        for (uint64_t n; (n = there.receive(message)) != END; ++expected) require(n == expected, "out of order");
        back.send(answer, expected);
    });
    auto start = Clock::now();
    uint64_t sent = 0;
    while (seconds(start) < duration)
        for (int i = 0; i < 8; ++i) there.send(message, sent++);
    there.send(message, END);
    require(back.receive(answer) == sent, "messages were lost");
    double rate = sent / seconds(start);
    finish(child);
    return rate;
}

static double echo(size_t len, double duration) {
    Queue there("there", len), back("back", len);
    std::vector<uint64_t> message(len / 8);
    pid_t child = second([&] {
        for (uint64_t n; (n = there.receive(message)) != END;) back.send(message, n);
    });
    std::vector<double> trips;
    auto start = Clock::now();
    while (seconds(start) < duration) {
        auto trip = Clock::now();
        there.send(message, trips.size());
        require(back.receive(message) == trips.size(), "not what was sent");
        trips.push_back(seconds(trip) * 1e9);
    }
    there.send(message, END);
    finish(child);
    std::nth_element(trips.begin(), trips.begin() + trips.size() / 2, trips.end());
    return trips[trips.size() / 2];
}

struct Shared {
    bi::interprocess_mutex mutex;
    uint64_t count = 0;
    std::atomic<int> ready{0}, stop{0};
    std::atomic<uint64_t> done{0};
};

// Operations a second, of one party or of both.
static double lock(int parties, double duration) {
    void *room = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(room != MAP_FAILED, "mmap");
    Shared *shared = new (room) Shared;
    auto part = [&](auto goes_on) {
        uint64_t done = 0;
        shared->ready++;
        while (shared->ready < parties) sched_yield();
        while (goes_on())
            for (int i = 0; i < 256; ++i, ++done) {
                shared->mutex.lock();
                shared->count++;
                shared->mutex.unlock();
            }
        shared->done += done;
    };
    pid_t child = 0;
    if (parties > 1) child = second([&] { part([&] { return !shared->stop; }); });
    auto start = Clock::now();
    part([&] { return seconds(start) < duration; });
    double time = seconds(start);
    shared->stop = 1;
    if (child) finish(child);
    require(shared->count == shared->done, "the lock let both in at once");
    double rate = shared->done / time;
    munmap(room, sizeof(Shared));
    return rate;
}

int main(int argc, char **argv) {
    for (int party = 0; party < 2 && party + 1 < argc; ++party) cpus[party] = atoi(argv[party + 1]);
    pin(0);
    std::cout << "Boost " << BOOST_LIB_VERSION << std::endl;
    std::string what;
    size_t len;
    double ms;
    while (std::cin >> what >> len >> ms) {
        double duration = ms / 1e3, figure = 0;
        if (what == "one-way") figure = one_way(len, duration);
        else if (what == "echo") figure = echo(len, duration);
        else if (what == "lock") figure = lock(int(len), duration);
        else require(false, "no such work");
        std::cout << figure << std::endl;
    }
}
