"""Kills and stops processes of a running cluster, each at a moment that was seen: the cluster is held still, looked at, then struck."""

import contextlib
import dataclasses
import os
import random
import signal
import time

import observe

# What the cluster must be seen to do at a kill.
QUEUED = "queued"          # sequences wait for a place
MID_CHUNK = "mid-chunk"    # a step reads a part of a prompt that is not its end
DECODING = "decoding"      # a step that only decodes, for streams that have had output
ALL_REDUCE = "all-reduce"  # the process itself sleeps in the ranks' shared memory
RECOVERY = "recovery"      # no group serves: an earlier loss is not made good yet
MOMENTS = (QUEUED, MID_CHUNK, DECODING, ALL_REDUCE, RECOVERY)

MOMENT_TIMEOUT_S = 90
# Prompts are read within tenths of a second after a loss and not again before the next one. Whoever has missed that brings the next
# one about.
MISSED_AFTER_S = 5


@dataclasses.dataclass
class Kill:
    """One planned disturbance and, once done, what was seen of it."""
    moment: str
    role: str       # tokenizer, or rank N
    stop: bool      # SIGSTOP and left so, instead of SIGKILL
    pid: int = 0
    at: float = 0.0
    num_unfinished: int = 0
    seen: str = ""

    @property
    def hits_group(self) -> bool:
        return self.role.startswith("rank ")


def make_plan(num_kills: int, num_stops: int, num_ranks: int, rng: random.Random) -> list[Kill]:
    """Every moment equally often, in random order. Before a kill during a recovery, or in the middle of a prompt, a worker is lost: then
    prompts are read again, from an empty cache. Workers of all ranks, and the tokenizer about every fifth time."""
    moments = [MOMENTS[i % len(MOMENTS)] for i in range(num_kills)]
    while True:
        rng.shuffle(moments)
        if moments[0] not in (RECOVERY, MID_CHUNK):  # at first the prompts come out of the prefix cache
            break
    workers = [f"rank {rank}" for rank in range(num_ranks)]
    plan = []
    for i, moment in enumerate(moments):
        must_be_worker = moment == ALL_REDUCE or moments[i + 1:i + 2] in ([RECOVERY], [MID_CHUNK])
        is_tokenizer = not must_be_worker and rng.random() < 0.35
        plan.append(Kill(moment, "tokenizer" if is_tokenizer else rng.choice(workers), stop=False))
    for kill in rng.sample(plan, min(num_stops, num_kills)):
        kill.stop = True
    return plan


class Striker:
    """Carries out kills on one cluster."""

    def __init__(self, server, leader: observe.Leader, streams, rng: random.Random):
        self._server = server
        self._leader = leader
        self._streams = streams
        self._rng = rng
        self.provoked = []  # when workers were killed only so that prompts are read again

    def strike(self, kill: Kill):
        """Waits for the kill's moment and does it. Raises TimeoutError if the moment doesn't come."""
        deadline = time.monotonic() + MOMENT_TIMEOUT_S
        attempt = self._strike_in_recovery if kill.moment == RECOVERY else self._strike_held
        missed_at = time.monotonic() + MISSED_AFTER_S
        while not attempt(kill):
            if kill.moment == MID_CHUNK and time.monotonic() > missed_at:
                self._provoke()
                missed_at = time.monotonic() + MISSED_AFTER_S
            if time.monotonic() > deadline:
                raise TimeoutError(f"no moment for a kill ({kill.moment}, {kill.role}) within {MOMENT_TIMEOUT_S} s")
            time.sleep(self._rng.uniform(0.001, 0.02))

    def _provoke(self):
        workers = [pid for role, pid in observe.roles(self._server).items() if role.startswith("rank ") and observe.runs(pid)]
        if self._leader.load() is None or not workers:
            return  # a loss is under way as it is
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._rng.choice(workers), signal.SIGKILL)
            self.provoked.append(time.monotonic())

    def _finish(self, kill: Kill, pid: int, seen: str) -> bool:
        """False if the process has just ended by itself, as a rank may whose group is lost."""
        kill.pid = pid
        kill.num_unfinished = sum(stream.unfinished for stream in self._streams)
        kill.seen = seen
        try:
            os.kill(pid, signal.SIGSTOP if kill.stop else signal.SIGKILL)
        except ProcessLookupError:
            return False
        kill.at = time.monotonic()
        return True

    def _strike_in_recovery(self, kill: Kill) -> bool:
        if self._leader.load() is not None:
            return False
        pid = observe.roles(self._server).get(kill.role)
        if pid is None or not observe.runs(pid):
            return False  # it is the one that is gone: wait until it is started again
        return self._finish(kill, pid, "the leader serves no group")

    def _strike_held(self, kill: Kill) -> bool:
        load = self._leader.load()
        if load is None or not self._describe(kill.moment, load):
            return False
        roles = observe.roles(self._server)
        pid = roles.get(kill.role)
        if pid is None or not observe.runs(pid):
            return False
        # A follower that stands still holds the whole group in the middle of its step.
        # One that an earlier kill has stopped must not be woken.
        followers = [follower for role, follower in roles.items()
                     if role.startswith("rank ") and role not in ("rank 0", kill.role) and observe.runs(follower)]
        if not followers:
            return False
        with held(self._rng.choice(followers)) as is_held:
            load = self._leader.load() if is_held else None
            seen = load is not None and self._describe(kill.moment, load)
            if not seen:
                return False
            if kill.moment == ALL_REDUCE:
                return self._strike_in_all_reduce(kill, pid, seen)
            return self._finish(kill, pid, seen)

    def _strike_in_all_reduce(self, kill: Kill, pid: int, seen: str) -> bool:
        # The others need a moment to come to the sum for which the one that is held is missing.
        for _ in range(20):
            with held(pid, thaw=False) as is_held:
                if is_held and observe.waits_in_all_reduce(pid):
                    return self._finish(kill, pid, f"rank sleeps in shared memory, {seen}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            time.sleep(0.002)
        return False

    def _describe(self, moment: str, load) -> str:
        """What is seen of `moment` in the leader's account; '' if nothing."""
        with_output = sum(stream.has_output and stream.unfinished for stream in self._streams)
        if moment == QUEUED and load.num_waiting > 0:
            return f"{load.num_waiting} sequences wait"
        if moment == MID_CHUNK and load.num_partial_prompts > 0:
            return f"{load.num_partial_prompts} prompts are partly read"
        if moment in (DECODING, ALL_REDUCE) and load.num_running > 0 and load.num_partial_prompts == 0 and with_output > 0:
            return f"{load.num_running} sequences decode, {with_output} streams have output"
        return ""


@contextlib.contextmanager
def held(pid: int, thaw: bool = True):
    """Stops a process for the time of the block; yields whether it stands."""
    is_held = False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        is_held = observe.wait_stopped(pid)
    try:
        yield is_held
    finally:
        if thaw:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
