"""Where settings come from, and which are refused."""

from dataclasses import replace

import grpc
import pytest

from fastclust import errors
from fastclust_server.config import Settings, read_settings
from fastclust_server.jobs import engine

CODE = grpc.StatusCode


def test_flags_win_over_variables_over_the_file_over_defaults(tmp_path):
    (tmp_path / "c.toml").write_text(
        'listen = "127.0.0.1:1"\ngrace = 1.5\nmax-queued = 7\nimport_roots = ["/a", "/b"]\n'
    )
    environment = {"FASTCLUST_GRACE": "2.5", "FASTCLUST_MAX_QUEUED": "8", "FASTCLUST_DATA": str(tmp_path)}
    found = read_settings(["--config", str(tmp_path / "c.toml"), "--max-queued", "9"], environment)
    assert found == Settings(tmp_path, "127.0.0.1:1", grace=2.5, max_queued=9, import_roots=("/a", "/b"))
    environment["FASTCLUST_CONFIG"] = str(tmp_path / "c.toml")
    assert read_settings([], environment).max_queued == 8


@pytest.mark.parametrize("text", ["no toml", "unknown = 1", 'grace = "soon"', 'insecure-public = "perhaps"'])
def test_a_file_that_says_nonsense_is_refused(tmp_path, text):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(errors.FastclustError):
        read_settings(["--config", str(tmp_path / "c.toml"), "--data", str(tmp_path)], {})


def test_an_unknown_flag_is_told_in_a_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        read_settings(["--data", str(tmp_path), "--no-such"], {})
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said == "error: unrecognized arguments: --no-such. See: python -m fastclust_server --help\n"


def test_fewer_workers_than_none_are_refused(tmp_path):
    with pytest.raises(errors.InputError, match="--workers: got -1"):
        Settings(tmp_path, workers=-1).check()


def test_a_set_up_without_a_folder_is_refused():
    with pytest.raises(errors.InputError, match="--data"):
        read_settings([], {})


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"engine": "spark"}, errors.InputError, "--engine"),
        ({"ray_address": "host:6379"}, errors.InputError, "--ray-address"),
        ({"ray_workers": 2}, errors.InputError, "--ray-workers"),
        ({"engine": "ray", "ray_workers": -1}, errors.InputError, "--ray-workers"),
        ({"engine": "ray"}, errors.MissingPackageError, r"fastclust\[ray\]"),
    ],
)
def test_an_engine_that_cannot_be_is_refused_at_the_start(tmp_path, monkeypatch, given, error, words):
    monkeypatch.setattr(engine, "find_spec", lambda _: None)
    with pytest.raises(error, match=words):
        Settings(tmp_path, **given).check()
    there = Settings(tmp_path, engine="ray", ray_address="host:6379")
    assert there.for_worker()["ray_address"] == "host:6379"


def test_later_attempts_of_a_job_take_as_many_workers_and_nothing_that_another_engine_kept(
    tmp_path, monkeypatch, capfd
):
    there, sizes = Settings(tmp_path, engine="ray", ray_address="host:6379"), iter([3, 5, 5])
    monkeypatch.setattr(engine, "_nodes", lambda _: next(sizes))
    state, features = tmp_path / "learn" / "checkpoint.safetensors", tmp_path / "features.safetensors"
    assert engine.cluster_of(Settings(tmp_path), tmp_path) is None
    state.parent.mkdir()
    state.touch()
    features.touch()
    assert engine.cluster_of(Settings(tmp_path), tmp_path) is None
    assert state.exists()
    for _ in range(2):
        assert engine.cluster_of(there, tmp_path) == {"address": "host:6379", "n_workers": 3}
        assert not state.exists()
    assert features.exists()
    assert "job_begins_again" in capfd.readouterr().err
    assert engine.cluster_of(replace(there, ray_workers=2), tmp_path)["n_workers"] == 3
    state.parent.mkdir()
    assert engine.cluster_of(Settings(tmp_path), tmp_path) is None
    assert not state.parent.exists()
