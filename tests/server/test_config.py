"""Where settings come from, and which are refused."""

import grpc
import pytest

from fastclust import errors
from fastclust_server.config import Settings, read_settings

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
