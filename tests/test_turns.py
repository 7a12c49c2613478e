import threading

from tests.turns import turn


def test_who_is_alone_waits_for_all_and_is_passed_by_nobody(tmp_path):
    places = {"door": tmp_path / "door", "room": tmp_path / "room"}
    for path in places.values():
        path.touch()
    told, inside = [], threading.Event()
    go = {name: threading.Event() for name in ("first", "alone")}

    def come(name):
        with turn(alone=name == "alone", **places):
            told.append(f"{name} comes")
            inside.set()
            if name in go:
                go[name].wait(10)
            told.append(f"{name} goes")

    threads = {name: threading.Thread(target=come, args=(name,)) for name in ("first", "second", "alone", "late")}
    threads["first"].start()
    assert inside.wait(10)
    threads["second"].start()  # beside the first
    threads["second"].join(10)
    threads["alone"].start()
    threads["alone"].join(0.1)
    threads["late"].start()
    threads["late"].join(0.1)
    assert told == ["first comes", "second comes", "second goes"]
    go["first"].set()
    go["alone"].set()
    for thread in threads.values():
        thread.join(10)
    assert told[3:] == ["first goes", "alone comes", "alone goes", "late comes", "late goes"]
