"""The same work by Python's multiprocessing: answers each line of its input ("what tasks") with the seconds that it took."""
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

WORKERS = 2


def double(n):
    return 2 * n


def nothing():
    pass


def start_and_join(context):
    process = context.Process(target=nothing)
    process.start()
    process.join()


def increment(counter, place, times):
    """Under its lock. A Value has no places."""
    for _ in range(times):
        with counter.get_lock():
            if place is None:
                counter.value += 1
            else:
                counter[place] += 1


def together(part, other_part):
    """Two processes at the same time. Seconds for this one's part, and until the other's is done."""
    gate = multiprocessing.Barrier(2)

    def other():
        gate.wait()
        other_part()

    process = multiprocessing.Process(target=other)
    process.start()
    gate.wait()
    start = time.perf_counter()
    part()
    process.join()
    return time.perf_counter() - start


def alone(part):
    start = time.perf_counter()
    part()
    return time.perf_counter() - start


def value_alone(tasks):
    value = multiprocessing.Value("Q", 0)
    took = alone(lambda: increment(value, None, tasks))
    assert value.value == tasks
    return took


def value_together(tasks):
    value = multiprocessing.Value("Q", 0)
    half = tasks // 2
    took = together(lambda: increment(value, None, half), lambda: increment(value, None, tasks - half))
    assert value.value == tasks
    return took


def array_alone(tasks):
    array = multiprocessing.Array("Q", 64)
    took = alone(lambda: increment(array, 7, tasks))
    assert array[7] == tasks
    return took


def queue(tasks, item):
    """The other process sends numbered items, this one sees that they come in order."""
    queue = multiprocessing.Queue(1024)

    def send():
        for n in range(tasks):
            queue.put((n, item) if item else n)

    def receive():
        for n in range(tasks):
            got = queue.get()
            assert (got[0] if item else got) == n

    return together(receive, send)


def barrier(tasks):
    barrier = multiprocessing.Barrier(2)

    def cross():
        for _ in range(tasks):
            barrier.wait()

    return together(cross, cross)


def main():
    pool, executor = multiprocessing.Pool(WORKERS), ProcessPoolExecutor(WORKERS)
    forking, spawning = map(multiprocessing.get_context, ("fork", "spawn"))

    def results(map_all):
        """Of doubling all numbers: they are checked by their sum."""

        def seconds(tasks):
            start = time.perf_counter()
            result = sum(map_all(range(tasks)))
            took = time.perf_counter() - start
            assert result == tasks * (tasks - 1), result
            return took

        return seconds

    def chunked(numbers):
        return executor.map(double, numbers, chunksize=-(-len(numbers) // (4 * WORKERS)))

    def processes(context):
        return lambda tasks: alone(lambda: [start_and_join(context) for _ in range(tasks)])

    work = {
        "pool-chunked": results(lambda numbers: pool.map(double, numbers)),
        "pool-one-by-one": results(lambda numbers: pool.imap_unordered(double, numbers)),
        "executor-chunked": results(chunked),
        "executor-one-by-one": results(lambda numbers: executor.map(double, numbers)),
        "process-fork": processes(forking),
        "process-spawn": processes(spawning),
        "value-alone": value_alone,
        "value-together": value_together,
        "array-alone": array_alone,
        "queue": lambda tasks: queue(tasks, None),
        "queue-4k": lambda tasks: queue(tasks, bytes(4096 - 8)),
        "barrier": barrier,
    }
    print("ready", flush=True)
    for line in sys.stdin:
        what, tasks = line.split()
        print(work[what](int(tasks)), flush=True)
    pool.terminate()
    executor.shutdown()


if __name__ == "__main__":
    main()
