#!/usr/bin/env python3
"""Kills and stops workers and tokenizer under running streams, and checks that no stream notices.

Run: chaos.py [--seconds 0] [--seed N] [--streams 32] [--kills 20] [--stops 4] [--device cpu|simulated]
              [--tensor_parallel_size 3] [--max_tokens N] [--log FILE]

A round: all streams undisturbed, then all again while --kills processes are killed or stopped, each at a moment that was observed
(disturbance.py). Rounds follow each other, each with its own seed, until --seconds are over; at least one. Then every text must be that of
the undisturbed run, byte for byte, and no process, file descriptor, KV block or shared memory may be left. Prints each kill and a
summary line; ends with 1 if anything does not hold.
"""

import argparse
import bisect
import difflib
import math
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/integration"), str(pathlib.Path(__file__).parent)]

import cluster  # noqa: E402
import disturbance  # noqa: E402
import observe  # noqa: E402
import protocol_stubs  # noqa: E402
import streams as clients  # noqa: E402

ROUND_TIMEOUT_S = 600
SETTLE_TIMEOUT_S = 60


class Holdings:
    """What must be the same before and after: processes, their descriptors, KV blocks in use, shared memory."""

    def __init__(self, server, leader):
        self.roles = observe.roles(server)
        self.num_processes = len(server.processes())
        self.files = {role: observe.files_of(pid) for role, pid in self.roles.items()}
        self.shared_memory = sorted(os.listdir("/dev/shm"))
        load = leader.load()
        self.used_blocks = load.num_used_kv_blocks if load else -1
        self.busy = load.num_running + load.num_waiting if load else -1

    def leaks_against(self, before: "Holdings") -> list[str]:
        found = []
        if set(self.roles) != set(before.roles) or self.num_processes != before.num_processes:
            found.append(f"processes: {before.num_processes} {sorted(before.roles)} became {self.num_processes} {sorted(self.roles)}")
        for role, files in self.files.items():
            if files.total() > before.files.get(role, files).total():
                found.append(f"descriptors of {role}: {before.files[role].total()} and now {dict(files - before.files[role])} more")
        if self.used_blocks != before.used_blocks:
            found.append(f"KV blocks in use: {before.used_blocks} became {self.used_blocks}")
        if self.busy != 0:
            found.append(f"{self.busy} sequences are still there")
        if len(self.shared_memory) > len(before.shared_memory):
            found.append(f"shared memory: {sorted(set(self.shared_memory) - set(before.shared_memory))}")
        return found


def compare(expected, got) -> dict[str, int]:
    """How many items of a text or list of ids are lost, come twice (or from nowhere), or are changed."""
    counts = {"lost": 0, "duplicated": 0, "changed": 0}
    if expected == got:
        return counts
    for kind, a, b, c, d in difflib.SequenceMatcher(None, expected, got, autojunk=False).get_opcodes():
        if kind == "delete":
            counts["lost"] += b - a
        elif kind == "insert":
            counts["duplicated"] += d - c
        elif kind == "replace":
            counts["changed"] += max(b - a, d - c)
    return counts


def num_resumes(stream: clients.Stream, losses: list[float]) -> int:
    """How often the stream went on after its group was lost: pairs of neighbouring outputs with a loss between them."""
    arrivals = stream.arrivals
    return sum(any(a < loss <= b for loss in losses) for a, b in zip(arrivals, arrivals[1:]))


def recoveries(streams, losses: list[float]) -> list[float]:
    """Seconds from each loss of a group to the first output of any stream; losses with no output between them are one. What was under
    way at a loss does not count."""
    under_way_s = 0.03
    arrivals = sorted(t for stream in streams for t in stream.arrivals)
    found, first = [], None
    for loss, following in zip(losses, [*losses[1:], math.inf]):
        first = loss if first is None else first
        at = bisect.bisect_right(arrivals, loss + under_way_s)
        if at < len(arrivals) and arrivals[at] < following:
            found.append(arrivals[at] - first)
            first = None
    return found


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else float("nan")


class Run:
    """One cluster and all rounds on it."""

    def __init__(self, options, folder: pathlib.Path):
        self.options = options
        self.violations = []
        self.kills, self.recoveries, self.resumes = [], [], []
        self.totals = {"lost": 0, "duplicated": 0, "changed": 0}
        self.num_streams = 0
        self.stubs = protocol_stubs.stubs
        flags = [f"--tensor_parallel_size={options.tensor_parallel_size}", *options.flags]
        self.server = cluster.Server(*flags, model=make_model(options, folder), log_path=options.log or folder / "serve.log").wait_ready()
        self.leader = observe.Leader(observe.leader_address(self.server), self.stubs)

    def require(self, holds: bool, what: str):
        if not holds:
            self.violations.append(what)
            print(f"VIOLATION: {what}", flush=True)

    def settled(self, before: Holdings | None) -> Holdings:
        """The holdings once nothing runs any more and nothing changes, or is left over `before`; or the time is up."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        last = None
        while True:
            now = Holdings(self.server, self.leader)
            is_quiet = now.busy == 0 and now.used_blocks == 0
            is_good = last is not None and now.files == last.files if before is None else not now.leaks_against(before)
            if (is_quiet and is_good) or time.monotonic() > deadline:
                return now
            last = now
            time.sleep(1)

    def round(self, seed: int):
        options = self.options
        rng = random.Random(seed)
        requests = clients.make_requests(options.streams, options.max_tokens, options.long_words, seed)
        start = time.monotonic()
        undisturbed = clients.start_all(requests, self.server, self.stubs)
        clients.join_all(undisturbed, ROUND_TIMEOUT_S)
        for i, stream in enumerate(undisturbed):
            self.require(stream.done and stream.error is None, f"undisturbed stream {i} failed: {stream.error}")
        before = self.settled(None)
        print(f"round of seed {seed}: undisturbed run took {time.monotonic() - start:.1f} s", flush=True)

        start = time.monotonic()
        disturbed = clients.start_all(requests, self.server, self.stubs)
        plan = disturbance.make_plan(options.kills, options.stops, options.tensor_parallel_size, rng)
        done, provoked = self.strike_all(plan, disturbed, rng)
        clients.join_all(disturbed, ROUND_TIMEOUT_S)
        print(f"round of seed {seed}: disturbed run took {time.monotonic() - start:.1f} s", flush=True)
        self.judge(undisturbed, disturbed, done, provoked)
        for leak in self.settled(before).leaks_against(before):
            self.require(False, f"leaked: {leak}")
        for kill in done:
            self.require(observe.is_gone(kill.pid), f"process {kill.pid} ({kill.role}, {'stopped' if kill.stop else 'killed'}) is still there")

    def strike_all(self, plan, streams, rng) -> tuple[list, list[float]]:
        """The kills that were done, and when workers were killed beside them to bring a moment about."""
        striker = disturbance.Striker(self.server, self.leader, streams, rng)
        done, recovered_from = [], 0.0
        for kill in plan:
            try:
                if kill.moment != disturbance.RECOVERY:
                    self.wait_recovered(streams, recovered_from, with_output=kill.moment in (disturbance.DECODING, disturbance.ALL_REDUCE))
                striker.strike(kill)
            except TimeoutError as error:
                self.require(False, str(error))
                break
            recovered_from = kill.at
            done.append(kill)
            self.require(kill.num_unfinished * 4 >= len(streams) * 3,
                         f"only {kill.num_unfinished} of {len(streams)} streams were unfinished at kill {len(done)}")
            print(f"kill {len(done):2}: {'SIGSTOP' if kill.stop else 'SIGKILL'} {kill.role:9} {kill.moment:10} "
                  f"{kill.num_unfinished} unfinished, {kill.seen}", flush=True)
        return done, striker.provoked

    def wait_recovered(self, streams, since: float, with_output: bool):
        """Until a group serves and, if wanted, three quarters of the streams that have a place have had output since."""
        deadline = time.monotonic() + disturbance.MOMENT_TIMEOUT_S
        while time.monotonic() < deadline:
            load = self.leader.load()
            fresh = sum(bool(s.arrivals) and s.arrivals[-1] > since + 0.05 for s in streams)
            places = min(self.options.places, sum(s.unfinished for s in streams))
            if load is not None and (not with_output or fresh * 4 >= places * 3):
                return
            time.sleep(0.01)
        raise TimeoutError(f"not recovered within {disturbance.MOMENT_TIMEOUT_S} s")

    def judge(self, undisturbed, disturbed, kills, provoked):
        losses = sorted([kill.at for kill in kills if kill.hits_group] + provoked)
        for i, (want, got) in enumerate(zip(undisturbed, disturbed)):
            face = "gRPC" if got.request.over_grpc else "HTTP"
            self.require(got.done and got.error is None, f"stream {i} ({face}) failed: {got.error}")
            self.require(got.sequence_numbers == list(range(1, len(got.sequence_numbers) + 1)),
                         f"stream {i}: sequence numbers have gaps or repeats: {got.sequence_numbers[:20]} ...")
            self.require(got.completion_tokens == got.request.sampling["max_tokens"] and got.finish_reason == "length",
                         f"stream {i}: {got.completion_tokens} tokens, finish reason {got.finish_reason}")
            differences = compare(want.ids or want.text, got.ids or got.text)
            for what, count in differences.items():
                self.totals[what] += count
            self.require(want.text.encode() == got.text.encode() and want.ids == got.ids,
                         f"stream {i} ({face}) differs from the undisturbed run: {differences}")
        self.kills += kills
        self.num_streams += len(disturbed)
        self.recoveries += recoveries(disturbed, losses)
        self.resumes += [num_resumes(stream, losses) for stream in disturbed]

    def judge_all(self):
        options = self.options
        rounds = self.num_streams // options.streams
        self.require(len(self.kills) == options.kills * rounds, f"{len(self.kills)} kills instead of {options.kills} a round")
        for moment in disturbance.MOMENTS:
            wanted = options.kills >= len(disturbance.MOMENTS)
            self.require(not wanted or any(kill.moment == moment for kill in self.kills), f"no kill fell {moment}")
        twice = sum(count >= 2 for count in self.resumes)
        self.require(twice * 2 >= self.num_streams, f"only {twice} of {self.num_streams} streams resumed at least twice")

        counted = self.server.metric("quartet_sequences_resumed_total")
        self.require(counted >= sum(self.resumes), f"the gateway counted {counted:.0f} resumes, its clients saw {sum(self.resumes)}")

    def summary(self) -> str:
        by_moment = ", ".join(f"{m} {sum(k.moment == m for k in self.kills)}" for m in disturbance.MOMENTS)
        stopped = sum(kill.stop for kill in self.kills)
        twice = sum(count >= 2 for count in self.resumes)
        return (f"chaos: streams {self.num_streams}, kills {len(self.kills)} ({stopped} by SIGSTOP; {by_moment}), "
                f"resumed {sum(self.resumes)} ({twice} streams twice or more), lost {self.totals['lost']}, "
                f"duplicated {self.totals['duplicated']}, changed {self.totals['changed']}, "
                f"recovery p50 {percentile(self.recoveries, 0.5):.2f} s, p99 {percentile(self.recoveries, 0.99):.2f} s, "
                f"fewest unfinished at a kill {min((k.num_unfinished for k in self.kills), default=0)}, "
                f"violations {len(self.violations)}")


def run(options) -> Run:
    """All rounds. The cluster is ended in any case; that it ends properly is checked too."""
    with tempfile.TemporaryDirectory(prefix="quartet_chaos_") as folder:
        result = Run(options, pathlib.Path(folder))
        try:
            end = time.monotonic() + options.seconds
            seed = options.seed
            while True:
                result.round(seed)
                seed += 1
                if time.monotonic() >= end or result.violations:
                    break
            result.judge_all()
            code = result.server.stop()
            result.require(code == 0, f"quartet serve ended with {code}")
        finally:
            if result.server.process.poll() is None:
                result.server.kill()
        print(result.summary(), flush=True)
        return result


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0, help="rounds are begun until then")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 20))
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--stops", type=int, default=4, help="how many of the kills are SIGSTOP")
    parser.add_argument("--device", choices=("cpu", "simulated"), default="cpu")
    parser.add_argument("--tensor_parallel_size", type=int, default=3)
    parser.add_argument("--sim_time_scale", type=float, default=8, help="slows the simulated device")
    parser.add_argument("--max_tokens", type=int, default=400, help="of each stream: so many that they outlast the kills")
    parser.add_argument("--long_words", type=int, default=120, help="words of every fourth prompt")
    parser.add_argument("--log", type=pathlib.Path, help="where the cluster's log goes")
    options = parser.parse_args(arguments)
    # Fewer places than streams, so that some wait; chunks, so that prompts share steps and take several.
    # Prompts that are read again after a loss come first, so that streams don't end while others wait for that. Silence is noticed
    # sooner than by default, because a round waits for it.
    options.places = options.streams * 3 // 4
    options.flags = [f"--max_num_seqs={options.places}", "--max_num_batched_tokens=512", "--itl_target=0",
                     "--heartbeat_timeout=3s"]
    if options.device == "simulated":
        options.flags += ["--device=simulated", "--sim_profile=4xrtx4090-bf16", f"--sim_time_scale={options.sim_time_scale}"]
    return options


def make_model(options, folder: pathlib.Path) -> pathlib.Path:
    """The model to serve: the small real one, or the 7B's sizes without weights for the simulated device."""
    if options.device == "cpu":
        return cluster.MODEL
    subprocess.run([sys.executable, ROOT / "deploy/sim_profiles/make_model", folder / "model"], check=True, stdout=subprocess.DEVNULL)
    return folder / "model"


if __name__ == "__main__":
    chosen = parse()
    print(f"seed {chosen.seed}", flush=True)
    sys.exit(1 if run(chosen).violations else 0)
