"""Files of every format: what was written comes back, from our writers' point of view and from other libraries'."""

import pickle
import threading

import fsspec
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastclust as fc
from fastclust.data import ResultFolder, write_results
from fastclust.errors import DataError, InputError, NotFoundError, PreconditionError


def fixed(rows):
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def write_bin(path, rows):
    with path.open("wb") as file:
        np.array(rows.shape, np.uint32).tofile(file)
        rows.tofile(file)


def write_vecs(path, rows):
    """As FAISS's contrib/vecs_io.py does it."""
    n, d = rows.shape
    record = np.empty(n, [("d", "<i4"), ("row", rows.dtype, (d,))])
    record["d"], record["row"] = d, rows
    record.tofile(path)


def write_parquet(path, rows):
    pq.write_table(pa.table({"id": np.arange(len(rows)), "vector": fixed(rows)}), path, row_group_size=7)


def write_wide_parquet(path, rows):
    pq.write_table(pa.table({f"c{j}": rows[:, j] for j in range(rows.shape[1])}), path, row_group_size=5)


def write_lists_parquet(path, rows):
    schema = pa.schema([("vector", pa.list_(pa.from_numpy_dtype(rows.dtype)))])
    pq.write_table(pa.table({"vector": [list(row) for row in rows]}, schema), path)


def write_arrow(path, rows, opener=pa.ipc.new_file):
    table = pa.table({"vector": fixed(rows)})
    with opener(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=6)


def write_stream(path, rows):
    write_arrow(path, rows, pa.ipc.new_stream)


def write_feather(path, rows):
    from pyarrow import feather

    feather.write_feather(pa.table({"vector": fixed(rows)}), path, compression="lz4")


def write_zarr(path, rows):
    whole = {"write_empty_chunks": True}
    array = zarr.create_array(str(path), shape=rows.shape, dtype=rows.dtype, chunks=(5, 2), config=whole)
    array[:] = rows


def write_hdf5(path, rows):
    with h5py.File(path, "w") as file:
        file.create_dataset("deep/rows", data=rows, chunks=(min(4, len(rows)), 1))


def write_flat_hdf5(path, rows):
    with h5py.File(path, "w") as file:
        file["rows"] = rows


def write_npy(path, rows):
    np.save(path, rows)


def write_fortran(path, rows):
    np.save(path, np.asfortranarray(rows))


ANY = ("<f4", "<f8", "u1", "<i4")
FORMATS = {
    "npy": ("x.npy", write_npy, ANY),
    "fortran": ("x.npy", write_fortran, ANY),
    "fbin": ("x.fbin", write_bin, ("<f4",)),
    "u8bin": ("x.u8bin", write_bin, ("u1",)),
    "i8bin": ("x.i8bin", write_bin, ("i1",)),
    "fvecs": ("x.fvecs", write_vecs, ("<f4",)),
    "bvecs": ("x.bvecs", write_vecs, ("u1",)),
    "ivecs": ("x.ivecs", write_vecs, ("<i4",)),
    "parquet": ("x.parquet", write_parquet, ANY),
    "wide parquet": ("x.parquet", write_wide_parquet, ANY),
    "parquet of lists": ("x.pq", write_lists_parquet, ANY),
    "arrow": ("x.arrow", write_arrow, ANY),
    "arrow stream": ("x.arrows", write_stream, ANY),
    "feather": ("x.feather", write_feather, ANY),
    "zarr": ("x.zarr", write_zarr, ANY),
    "hdf5": ("x.h5", write_hdf5, ANY),
    "flat hdf5": ("x.hdf5", write_flat_hdf5, ANY),
}


def drawn(dtypes):
    shapes = st.tuples(st.integers(1, 23), st.integers(1, 5))
    return st.sampled_from(dtypes).flatmap(lambda dtype: hnp.arrays(dtype, shapes))


@pytest.mark.parametrize("kind", FORMATS)
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_come_back_whole_in_blocks_and_one_by_one(tmp_path_factory, kind, data):
    name, write, dtypes = FORMATS[kind]
    rows = data.draw(drawn(dtypes))
    path = tmp_path_factory.mktemp("x") / name
    write(path, rows)
    source = fc.open_rows(path)
    assert (source.shape, source.dtype) == (rows.shape, rows.dtype)
    same = lambda got, wanted: np.testing.assert_array_equal(np.asarray(got), wanted)  # noqa: E731
    same(source.read(), rows)
    size = data.draw(st.integers(1, 30))
    blocks = [np.array(block) for block in source.blocks(size)]
    assert [len(block) for block in blocks[:-1]] == [size] * (len(blocks) - 1)
    same(np.concatenate(blocks), rows)
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    part = [np.array(block) for block in source.blocks(size, start=start, stop=stop)]
    same(np.concatenate([rows[:0], *part]), rows[start:stop])
    numbers = data.draw(st.lists(st.integers(-len(rows), len(rows) - 1), max_size=9))
    same(source.take(numbers), rows[np.array(numbers, int)])


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_was_cut_short_is_an_error_of_ours(tmp_path, kind):
    name, write, dtypes = FORMATS[kind]
    rows = np.arange(1, 61).reshape(20, 3).astype(dtypes[0])
    write(tmp_path / name, rows)
    if kind == "zarr":
        (tmp_path / name / "c/1/1").unlink()
        with pytest.raises(DataError, match=r"x\.zarr: 1 of 8 chunks are missing"):
            fc.open_rows(tmp_path / name)
        assert fc.open_rows(tmp_path / name, fill_missing=True).read()[5, 2] == 0
        return
    whole = (tmp_path / name).read_bytes()
    # A vecs file cut between two rows is a whole, shorter one: nothing in it says how many there were.
    for keep in (0, 3, 8, len(whole) // 2 + 3, len(whole) - 1):
        (tmp_path / name).write_bytes(whole[:keep])
        with pytest.raises((DataError, InputError), match=r"x\.|shape \(0"):
            fc.open_rows(tmp_path / name).read()


@pytest.mark.parametrize("name", ["x.fbin", "x.u8bin", "x.fvecs", "x.bvecs"])
def test_a_header_that_asks_for_the_world_allocates_nothing(tmp_path, name):
    (tmp_path / name).write_bytes(np.array([2**31 - 1, 2**31 - 1], np.uint32).tobytes() + bytes(100))
    with pytest.raises(DataError, match=name):
        fc.open_rows(tmp_path / name)


def test_a_vecs_file_whose_rows_differ_in_length_is_refused(tmp_path):
    rows = np.ones((9, 3), np.float32)
    write_vecs(tmp_path / "x.fvecs", rows)
    raw = bytearray((tmp_path / "x.fvecs").read_bytes())
    raw[4 * 16 : 4 * 16 + 4] = (7).to_bytes(4, "little")
    (tmp_path / "x.fvecs").write_bytes(raw)
    with pytest.raises(DataError, match="row 4 says 7"):
        fc.open_rows(tmp_path / "x.fvecs").read()


@pytest.mark.parametrize("make", [
    lambda: pa.table({"v": pa.array([[1.0, 2.0], [1.0]])}),
    lambda: pa.table({"v": pa.array([[1.0, None], [1.0, 2.0]])}),
    lambda: pa.table({"v": pa.array([[1.0, 2.0], None])}),
    lambda: pa.table({"a": pa.array([1.0, None])}),
])  # fmt: skip
@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_nulls_and_lists_of_another_length_are_refused(tmp_path, make, name):
    table = make()
    if name == "x.parquet":
        pq.write_table(table, tmp_path / name)
    else:
        with pa.ipc.new_file(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table)
    with pytest.raises(DataError, match=name):
        fc.open_rows(tmp_path / name).read()


def test_columns_and_data_sets_are_chosen_by_name(tmp_path):
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    pq.write_table(pa.table({"id": ["a", "b", "c", "d"], "x": rows[:, 0], "y": rows[:, 1]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="no numbers: id"):
        fc.open_rows(tmp_path / "t.parquet")
    assert np.array_equal(fc.open_rows(tmp_path / "t.parquet", columns=["y", "x"]).read(), rows[:, [1, 0]])
    with pytest.raises(InputError, match="columns of"):
        fc.open_rows(tmp_path / "t.parquet", columns=["z"])
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["train"], file["test"] = rows, rows[:2]
    with pytest.raises(InputError, match="train"):
        fc.open_rows(tmp_path / "t.h5")
    assert fc.open_rows(tmp_path / "t.h5", dataset="test").shape == (2, 3)


@settings(deadline=None, max_examples=15)
@given(counts=st.lists(st.integers(0, 12), min_size=1, max_size=5), size=st.integers(1, 15), seed=st.integers(0, 99))
def test_shards_are_one_source_in_order(tmp_path_factory, counts, size, seed):
    if not sum(counts):
        counts = [*counts, 3]
    folder = tmp_path_factory.mktemp("shards")
    rows = np.random.default_rng(seed).normal(size=(sum(counts), 3)).astype(np.float32)
    ends = np.cumsum(counts)
    for number, (end, count) in enumerate(zip(ends, counts, strict=True)):
        part = rows[end - count : end]
        if number % 2:
            pq.write_table(pa.table({"v": fixed(part)}), folder / f"s{number}.parquet")
        else:
            np.save(folder / f"s{number}.npy", part)
    for asked in (folder, sorted(str(path) for path in folder.iterdir()), f"{folder}/s*"):
        source = fc.open_rows(asked)
        assert np.array_equal(source.read(), rows)
        assert np.array_equal(np.concatenate([np.array(block) for block in source.blocks(size)]), rows)
        numbers = np.random.default_rng(seed).integers(len(rows), size=7)
        assert np.array_equal(source.take(numbers), rows[numbers])
        assert [part.stop - part.start for part in source.parts] == [count for count in counts if count]


def test_shards_that_disagree_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.float32))
    np.save(tmp_path / "b.npy", np.zeros((2, 4), np.float32))
    with pytest.raises(DataError, match=r"b\.npy: 4 columns"):
        fc.open_rows(tmp_path)


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "fortran"])
def test_urls_are_read_through_fsspec(tmp_path, kind):
    name, write, dtypes = FORMATS[kind]
    rows = np.arange(1, 61).reshape(20, 3).astype(dtypes[0])
    write(tmp_path / name, rows)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / name), f"/{tmp_path.name}/{name}", recursive=True)
    for url in (f"memory://{tmp_path.name}/{name}", f"memory://{tmp_path.name}"):
        source = fc.open_rows(url)
        assert np.array_equal(source.read(), rows)
        assert np.array_equal(source.take([4, 19, 0]), rows[[4, 19, 0]])
    with pytest.raises(NotFoundError, match=r"no\.npy"):
        fc.open_rows(f"memory://{tmp_path.name}/no.npy")


def test_faiss_readers_agree_about_vecs(tmp_path):
    """The bytes are those that faiss/contrib/vecs_io.py reads."""
    vecs_io = pytest.importorskip("faiss.contrib.vecs_io")
    rows = np.random.default_rng(0).normal(size=(11, 6)).astype(np.float32)
    vecs_io.fvecs_write(str(tmp_path / "x.fvecs"), rows)
    assert np.array_equal(fc.open_rows(tmp_path / "x.fvecs").read(), rows)
    assert np.array_equal(vecs_io.fvecs_read(str(tmp_path / "x.fvecs")), rows)


@pytest.mark.parametrize("text", ["2 apples", "", "-3GB", 0])
def test_memory_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="memory"):
        fc.open_rows(np.ones((2, 2)), memory=text)


def test_reading_ahead_ends_its_thread_and_hands_errors_on(tmp_path):
    write_vecs(tmp_path / "x.fvecs", np.ones((40, 3), np.float32))
    before = threading.active_count()
    blocks = fc.open_rows(tmp_path / "x.fvecs").blocks(4)
    next(blocks)
    blocks.close()
    assert threading.active_count() == before


def test_results_are_written_beside_the_shards_and_taken_up_again(tmp_path):
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    for number in range(5):
        np.save(tmp_path / f"s{number}.npy", rows[10 * number : 10 * number + 10])
    source = fc.open_rows(f"{tmp_path}/s*.npy")
    seen = []

    def compute(block, start):
        assert np.array_equal(block, rows[start : start + len(block)])
        seen.append(len(block))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return {"total": block.sum(axis=1), "embedding": 2 * block}

    with pytest.raises(KeyboardInterrupt):
        write_results(ResultFolder(tmp_path / "out", source, "totals"), source, compute, block=8)
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 1
    files = write_results(ResultFolder(tmp_path / "out", source, "totals"), source, compute, block=8)
    assert seen.count(8) + seen.count(2) == 1 + 1 + 1 + 4 * 2
    assert files[2].name == "part-00002-s2.parquet"
    table = pq.read_table(tmp_path / "out")
    assert np.array_equal(table["row"], np.arange(50))
    assert np.array_equal(table["total"], rows.sum(axis=1))
    assert np.array_equal(fc.open_rows(tmp_path / "out", columns=["embedding"]).read(), 2 * rows)
    with pytest.raises(PreconditionError, match="another source"):
        ResultFolder(tmp_path / "out", source, "something else")


@pytest.mark.parametrize("kind", FORMATS)
def test_another_process_opens_the_same_source_and_stretches_of_it(tmp_path, kind, monkeypatch):
    name, write, dtypes = FORMATS[kind]
    rows = np.arange(1, 61).reshape(20, 3).astype(dtypes[0])
    write(tmp_path / name, rows)
    monkeypatch.chdir(tmp_path)
    source = fc.open_rows(name, memory="1MB")
    monkeypatch.chdir("/")
    again = pickle.loads(pickle.dumps(source.stretch(3, 17)))
    assert (again.shape, again.dtype, again.memory) == ((14, 3), source.dtype, 10**6)
    assert np.array_equal(again.read(), rows[3:17])
    assert np.array_equal(again.take([13, 0, 5]), rows[3:17][[13, 0, 5]])
    assert np.array_equal(np.concatenate([np.array(block) for block in again.blocks(4, start=2, stop=11)]), rows[5:14])
    assert again.identity() != source.stretch(3, 16).identity()
    assert np.array_equal(pickle.loads(pickle.dumps(fc.open_rows(rows))).read(), rows)


@settings(deadline=None, max_examples=15)
@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    most=st.integers(1, 12),
    block=st.integers(1, 12),
    width=st.integers(1, 3),
    dtype=st.sampled_from(["<f4", "<f8", "<i4"]),
)
def test_results_that_are_written_come_back(tmp_path_factory, counts, most, block, width, dtype):
    folder = tmp_path_factory.mktemp("x")
    rows = np.random.default_rng(sum(counts)).integers(-99, 99, (sum(counts), width)).astype(dtype)
    for number, part in enumerate(np.split(rows, np.cumsum(counts)[:-1])):
        np.save(folder / f"{number}.npy", part)
    source = fc.open_rows(f"{folder}/*.npy")
    made = write_results(
        ResultFolder(folder / "out", source, "twice", most=most),
        source,
        lambda X, start: {"twice": 2 * X, "first": X[:, 0], "number": np.arange(start, start + len(X))},
        block=block,
    )
    assert len(made) == sum(-(-count // most) for count in counts)
    back = fc.open_rows(folder / "out", columns=["twice"])
    assert back.dtype == rows.dtype
    assert np.array_equal(back.read(), 2 * rows)
    table = pq.read_table(folder / "out")
    assert np.array_equal(table["row"], np.arange(len(rows)))
    assert np.array_equal(table["number"], np.arange(len(rows)))
    assert np.array_equal(table["first"], rows[:, 0])
