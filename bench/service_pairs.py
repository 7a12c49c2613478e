"""Transfers and online calls of several checkouts or versions of grpcio, in turns: what a change was worth.

``python -m bench.service_pairs down --mib 64 --rounds 45 bare ours ours@OTHER-CHECKOUT ours+PATH-OF-GRPCIO``: each
contender is a client in a process of its own with its server; ``@`` says whose code it runs, ``+`` what goes before all
else on its path (``pip install --no-deps --target``). Prints ms a MiB (us a call), the share of the first one's speed
in the same round, and CPU time of client and servers, which a busy machine moves less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).resolve().parent.parent
_COLUMNS = 64


def main() -> None:
    """Run the contenders in turns, or be one of them."""
    parser = argparse.ArgumentParser(prog="python -m bench.service_pairs")
    parser.add_argument("kind", choices=["up", "down", "online"])
    parser.add_argument("contenders", nargs="+")
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--each", type=int, default=300, help="calls of a caller in a round")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--place", default="/dev/shm", help="where servers keep their data")  # noqa: S108 - in memory
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        _work(asked)
    else:
        _compare(asked)


def _compare(asked: argparse.Namespace) -> None:
    processes = {name: _start(name) for name in asked.contenders}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in processes}
    names = list(processes)
    for number in range(asked.rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            came = _tell(processes[name], "go")
            if number:  # the first round warms up
                rounds[name].append(came)
    for process in processes.values():
        process.communicate()  # a contender ends when its input does
    first = rounds[names[0]]
    per, unit = (asked.callers * asked.each, "us a call") if asked.kind == "online" else (asked.mib, "ms a MiB")
    scale = (1e6 if asked.kind == "online" else 1e3) / per
    print(f"contender | median, {unit} | least | share of {names[0]} | CPU of the client | of the servers")
    for name, came in rounds.items():
        took = [one["wall"] for one in came]
        share = statistics.median(base["wall"] / one["wall"] for base, one in zip(first, came, strict=True))
        cpu = [scale * statistics.median(one[who] for one in came) for who in ("client", "servers")]
        times = f"{scale * statistics.median(took):.3f} | {scale * min(took):.3f}"
        print(f"{name} | {times} | {share:.2f} | {cpu[0]:.3f} | {cpu[1]:.3f}")


def _start(name: str) -> subprocess.Popen[str]:
    """Start a contender; its words are ours, with ``--work``."""
    rest, _, before = name.partition("+")
    kind, _, checkout = rest.partition("@")
    root = Path(checkout) if checkout else _HERE
    path = [before] if before else []
    path += [str(root), str(root / "kernels"), str(root / "server"), str(_HERE)]
    words = [word for word in sys.argv[1:] if "@" not in word and "+" not in word and word not in ("bare", "ours")]
    process = subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).resolve()), *words, kind, "--work"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path), "FASTCLUST_COLD": "1"},
        cwd=root,
    )
    _tell(process, "ready?")
    return process


def _tell(process: subprocess.Popen[str], word: str) -> dict[str, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(word + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"A contender ended: {process.args}")
    came: dict[str, float] = json.loads(line)
    return came


def _work(asked: argparse.Namespace) -> None:
    import psutil

    from bench.bare import bare_server
    from fastclust.cli.demo import server

    rows = np.random.default_rng(0).random((asked.mib * 2**20 // (4 * _COLUMNS), _COLUMNS), np.float32)
    bare = asked.contenders == ["bare"]
    with (
        tempfile.TemporaryDirectory(dir=asked.place) as folder,
        bare_server() if bare else server(Path(folder) / "data") as address,
    ):
        make = _bare if bare else _ours
        call, clean = make(address, asked, rows)
        for line in sys.stdin:
            if line.strip() == "ready?":
                print("{}", flush=True)
                continue
            servers = psutil.Process().children(recursive=True)
            before, begun = _cpu(servers), time.perf_counter()
            call()
            wall, after = time.perf_counter() - begun, _cpu(servers)
            clean()
            spent = {"client": after[0] - before[0], "servers": after[1] - before[1]}
            print(json.dumps({"wall": wall, **spent}), flush=True)


def _cpu(servers: list[Any]) -> tuple[float, float]:
    own, times = resource.getrusage(resource.RUSAGE_SELF), [one.cpu_times() for one in servers]
    return own.ru_utime + own.ru_stime, sum(one.user + one.system for one in times)


_Calls = tuple["Callable[[], Any]", "Callable[[], Any]"]


def _bare(address: str, asked: argparse.Namespace, rows: Any) -> _Calls:
    import grpc

    from bench.bare import CHUNK, OPTIONS

    channel = grpc.insecure_channel(address, OPTIONS)
    if asked.kind == "online":
        echo, request = channel.unary_unary("/bare/Echo"), bytes(4 * 16 * _COLUMNS + 60)
        return lambda: _callers(lambda: echo(request), asked), lambda: None
    if asked.kind == "down":
        down = channel.unary_stream("/bare/Down")
        return lambda: sum(len(message) for message in down(str(asked.mib).encode())), lambda: None
    up, view = channel.stream_unary("/bare/Up"), rows.data.cast("B")
    return lambda: up(bytes(view[at : at + CHUNK]) for at in range(0, len(view), CHUNK)), lambda: None


def _ours(address: str, asked: argparse.Namespace, rows: Any) -> _Calls:
    from fastclust import wire
    from fastclust.client import Client
    from fastclust.v1 import online_pb2

    client = Client(address)
    if asked.kind == "online":
        data = np.random.default_rng(2).standard_normal((20_000, _COLUMNS), np.float32)
        model = client.kmeans(client.upload(data), n_clusters=100, random_state=0, max_iter=5)
        model.wait(timeout=600)
        request = online_pb2.AssignRequest(model=model.name, rows=wire.encode(data[:16])).SerializeToString()
        stub = client._connection.channel.unary_unary("/fastclust.v1.OnlineService/Assign")  # noqa: SLF001 - raw, as the peer is
        stub(request)
        return lambda: _callers(lambda: stub(request), asked), lambda: None
    if asked.kind == "down":
        job = client.mahalanobis(client.upload(rows), precision=client.upload(np.eye(_COLUMNS)), output="transformed")
        job.wait(timeout=600)
        return lambda: job.result()["transformed"], lambda: None
    left: list[Any] = []
    return lambda: left.append(client.upload(rows)), lambda: client.delete_dataset(left.pop())


def _callers(call: Callable[[], Any], asked: argparse.Namespace) -> None:
    import threading

    def work() -> None:
        for _ in range(asked.each):
            call()

    threads = [threading.Thread(target=work) for _ in range(asked.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
