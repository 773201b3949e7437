"""A worker group survives the death or hang of any rank: streams go on as if nothing had been, survivors keep their weights."""

import os
import signal
import subprocess
import time

import pytest

from cluster import MODEL, binary, wait_until
from faults import (LiveStream, epochs, kill, num_fds, num_loads, recoveries, resume, stop, worker_pids, zombies_of)

STORY = {"prompt": "Once upon a time", "max_tokens": 250, "temperature": 0.8, "seed": 11, "ignore_eos": True}
RANKS = 3


@pytest.fixture(scope="module")
def cluster(start_server):
    """Three ranks; a silent process is replaced after 2 s."""
    return start_server(f"--tensor_parallel_size={RANKS}", "--heartbeat_timeout=2s")


@pytest.fixture(scope="module")
def undisturbed(cluster):
    return cluster.text(**STORY)


def is_healthy(server):
    try:
        return server.post("/v1/completions", {"prompt": "Hi", "max_tokens": 1}, timeout=10).status_code == 200
    except OSError:
        return False


def stream_in_the_midst(server):
    """A stream that has brought some tokens and is far from its end."""
    # What the test before has broken may still be coming back.
    wait_until(lambda: is_healthy(server), 60, "the cluster answers")
    stream = LiveStream(server, STORY)
    stream.wait_events(15)
    return stream


def break_while_streaming(server, whole, lost_ranks, break_it):
    """Breaks a group in the midst of a stream; checks the text, the survivors and the epoch."""
    wait_until(lambda: is_healthy(server), 60, "the cluster answers")
    before, loads, old_epochs = worker_pids(server), [num_loads(server, r) for r in range(RANKS)], epochs(server)
    stream = stream_in_the_midst(server)
    break_it(before)
    assert stream.num_events < STORY["max_tokens"], "the stream was at its end before anything broke"
    assert stream.whole_text() == whole
    after = worker_pids(server)
    for rank in range(RANKS):
        is_lost = rank in lost_ranks
        assert (after[rank] != before[rank]) == is_lost, (rank, before, after)
        assert num_loads(server, rank) == loads[rank] + is_lost
    new_epochs = epochs(server)[len(old_epochs):]
    assert new_epochs and all(a < b for a, b in zip(old_epochs[-1:] + new_epochs, new_epochs))
    report = recoveries(server)[-1]
    assert report["survivors"] == RANKS - len(lost_ranks)
    return report


@pytest.mark.parametrize("lost", [[2], [0], [0, 1], [1, 2]], ids=["follower", "leader", "leader_and_follower", "followers"])
def test_a_killed_rank_is_replaced_and_the_others_keep_their_weights(cluster, undisturbed, lost):
    report = break_while_streaming(cluster, undisturbed, lost, lambda pids: kill(*(pids[rank] for rank in lost)))
    assert report["loaded_ms"] > 0


@pytest.mark.parametrize("rank", [1, 0], ids=["follower", "leader"])
def test_a_rank_that_hangs_is_replaced(cluster, undisturbed, rank):
    report = break_while_streaming(cluster, undisturbed, [rank], lambda pids: stop(pids[rank]))
    assert report["noticed_ms"] > 1000
    assert f"worker rank {rank} has been silent for 2 s: killing it" in cluster.log()


def test_the_leader_reports_the_recovery(cluster, undisturbed, leader_info):
    before = leader_info(cluster)
    break_while_streaming(cluster, undisturbed, [1], lambda pids: kill(pids[1]))
    info, logged = leader_info(cluster), recoveries(cluster)[-1]
    assert info.epoch > before.epoch and info.recovery.count == before.recovery.count + 1 == logged["count"]
    assert "rank 1" in info.recovery.reason and info.recovery.survivors == RANKS - 1
    for phase in ("noticed_ms", "restarted_ms", "loaded_ms", "formed_ms"):
        assert getattr(info.recovery, phase) == pytest.approx(logged[phase], rel=1e-3, abs=0.1)
    assert info.num_kv_blocks == before.num_kv_blocks, "the caches stay what they were"
    assert [rank.pid for rank in info.ranks] == worker_pids(cluster)


def test_kills_during_a_recovery(cluster, undisturbed):
    def kill_again_and_again(pids):
        kill(pids[1])
        # The next one dies while the first is loading, and the leader while both are.
        wait_until(lambda: worker_pids(cluster)[1] not in (None, pids[1]), 30, "rank 1 is started again")
        kill(pids[2])
        wait_until(lambda: worker_pids(cluster)[2] not in (None, pids[2]), 30, "rank 2 is started again")
        kill(pids[0])

    stream, before = stream_in_the_midst(cluster), worker_pids(cluster)
    kill_again_and_again(before)
    assert stream.whole_text() == undisturbed
    assert not set(before) & set(worker_pids(cluster))


def test_the_other_services_that_hang_are_replaced(cluster, undisturbed):
    workers = worker_pids(cluster)
    for service in ("quartet-tokenizer", "quartet-gateway"):
        (pid,) = cluster.pids_of(service)
        stop(pid)
        wait_until(lambda: cluster.pids_of(service) not in ([], [pid]), 30, f"{service} is replaced")
    wait_until(lambda: is_healthy(cluster), 60, "the gateway answers on the same port")
    assert cluster.text(**STORY) == undisturbed
    assert worker_pids(cluster) == workers
    assert not zombies_of(cluster.process.pid)


@pytest.fixture(scope="module")
def patient(start_server):
    """Nobody kills a silent process here; a step is given a second and what it should take."""
    return start_server(f"--tensor_parallel_size={RANKS}", "--heartbeat_timeout=0", "--step_timeout=1s")


@pytest.mark.parametrize("rank", [2, 0], ids=["follower", "leader"])
def test_a_rank_that_wakes_up_late_is_fenced_and_joins_anew(patient, undisturbed, rank):
    def sleep_through_it(pids):
        logged = len(patient.log())
        stop(pids[rank])
        # The others wait for it in a step, until their watchdogs name it.
        wait_until(lambda: f"waits for rank {rank}" in patient.log()[logged:], 60, "the watchdog names the rank")
        if rank != 0:
            wait_until(lambda: "the group is over; the next one forms" in patient.log()[logged:], 30, "the group ends")
        resume(pids[rank])

    break_while_streaming(patient, undisturbed, [], sleep_through_it)


class WorkersAlone:
    """Ranks that the test itself starts, without `quartet serve`."""

    def __init__(self, folder, world_size):
        self.folder, self.world_size, self.processes = folder, world_size, {}
        for rank in range(world_size):
            self.start(rank)

    def start(self, rank):
        address = f"unix:{self.folder}/worker.sock"
        with open(self.folder / f"rank-{rank}.log", "ab") as log:
            self.processes[rank] = subprocess.Popen(
                [binary("quartet-worker"), f"--model={MODEL}", f"--rank={rank}", f"--world_size={self.world_size}",
                 "--num_threads=1", "--kv_cache_bytes=20000000", f"--{'address' if rank == 0 else 'leader_address'}={address}"],
                stdin=subprocess.DEVNULL, stderr=log)

    def kill(self, rank):
        self.processes[rank].kill()
        self.processes[rank].wait()

    def log(self, rank):
        return (self.folder / f"rank-{rank}.log").read_text()

    def wait_groups(self, count):
        wait_until(lambda: self.log(0).count("worker group serves") >= count, 60, f"{count} groups")

    def stop(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        return [process.wait(30) for process in self.processes.values()]


def test_twenty_recoveries_leave_nothing_behind(tmp_path):
    segments = lambda: {name for name in os.listdir("/dev/shm") if tmp_path.name in name}
    workers = WorkersAlone(tmp_path, 3)
    try:
        workers.wait_groups(1)
        counts = []
        for recovery in range(1, 21):
            workers.kill(2)
            workers.start(2)
            workers.wait_groups(recovery + 1)
            counts.append(tuple(num_fds(workers.processes[rank].pid) for rank in (0, 1)))
        # What is used for the first time stays open; nothing comes on top of it.
        assert all(a <= b for a, b in zip(counts[-1], map(max, zip(*counts[:5])))), counts
        assert not segments()
        assert workers.log(0).count("model opened") == 1 and workers.log(1).count("model opened") == 1
        # A killed leader's successor removes what it finds under its own name.
        workers.kill(0)
        leftover = "/dev/shm/quartet-" + str(tmp_path / "worker.sock").replace("/", ".") + ".77"
        open(leftover, "w").close()
        (tmp_path / "rank-0.log").write_text("")
        workers.start(0)
        workers.wait_groups(1)
        assert not segments()
        assert workers.stop() == [0, 0, 0]
    finally:
        for process in workers.processes.values():
            process.kill()


def test_an_idle_group_notices_a_rank_that_hangs(patient):
    pids = worker_pids(patient)
    logged = len(patient.log())
    stop(pids[1])
    wait_until(lambda: "the leader waits for rank 1" in patient.log()[logged:], 30, "the idle probe finds it")
    resume(pids[1])
    wait_until(lambda: "group recovered" in patient.log()[logged:], 30, "the group forms anew")
    assert worker_pids(patient) == pids


def test_idle_probes_cost_next_to_nothing(cluster):
    def cpu_seconds():
        ticks = 0
        for pid in cluster.processes():
            with open(f"/proc/{pid}/stat") as stat:
                fields = stat.read().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    wait_until(lambda: is_healthy(cluster), 60, "the group before is back")
    time.sleep(1)
    start, begin = cpu_seconds(), time.monotonic()
    time.sleep(10)
    share = (cpu_seconds() - start) / (time.monotonic() - begin)
    print(f"{share:.2%} of a core")
    assert share < 0.01, f"{share:.1%} of a core while idle"
