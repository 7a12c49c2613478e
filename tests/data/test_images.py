import gzip
import io
import tarfile

import numpy as np
import pytest
from PIL import Image

import fastclust as fc
from fastclust.data import load_labels, write_image_tar
from fastclust.data.arrays import read_idx
from fastclust.data.builtin import FASHION_FOLDER
from fastclust.errors import DataError, InputError, InputTypeError, NotFoundError


def png(level, size=(12, 10), mode="L"):
    buffer = io.BytesIO()
    Image.new(mode, size, level).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    for name, level in (("a/1.png", 10), ("a/2.png", 20), ("b/3.png", 30)):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(level))
    return tmp_path / "images"


def tar_of(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_a_folder_has_ids_labels_and_pixels(folder):
    images = fc.open_images(folder)
    assert images.ids == ["a/1.png", "a/2.png", "b/3.png"]
    assert images.labels.tolist() == [0, 0, 1]
    assert images.label_names == ["a", "b"]
    assert images.shape == (10, 12, 1)
    assert [int(block[:, 0, 0, 0].max()) for block in images.blocks(2)] == [20, 30]
    assert images.read(size=5).shape == (3, 5, 5, 1)


def test_colour_and_grey_together_have_three_channels(folder):
    (folder / "b" / "4.png").write_bytes(png((1, 2, 3), mode="RGB"))
    images = fc.open_images(folder)
    assert images.read().shape == (4, 10, 12, 3)
    assert images.read()[3, 0, 0].tolist() == [1, 2, 3]


def test_unreadable_images_are_listed_and_warned_of_and_not_fatal(folder):
    (folder / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    (folder / "a" / "half.png").write_bytes(png(5)[:40])
    (folder / "notes.txt").write_text("no image")
    with pytest.warns(UserWarning, match=r"left out 2 unreadable images: a/broken\.jpg, a/half\.png"):
        images = fc.open_images(folder)
    assert [name for name, _ in images.skipped] == ["a/broken.jpg", "a/half.png"]
    assert len(images) == 3


def test_a_folder_without_a_readable_image_is_an_error(tmp_path):
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no readable image"):
        fc.open_images(tmp_path)


def test_images_of_different_shapes_need_a_size(folder):
    (folder / "a" / "tall.png").write_bytes(png(1, (10, 30)))
    images = fc.open_images(folder)
    with pytest.raises(InputError, match=r"tall\.png is 10x30"):
        images.read()
    assert images.read(size=8).shape == (4, 8, 8, 1)


def test_a_tar_reads_as_the_folder_it_was_made_from(folder, tmp_path):
    images = fc.open_images(folder)
    back = fc.open_images(write_image_tar(images, tmp_path / "x.tar"))
    assert back.ids == images.ids
    assert np.array_equal(back.read(), images.read())
    assert back.encoded(1) == (folder / "a/2.png").read_bytes()


def test_labels_travel_in_a_tar_only_when_asked_to(tmp_path):
    digits = fc.open_images("digits")
    assert fc.open_images(write_image_tar(digits, tmp_path / "a.tar")).labels is None
    labelled = fc.open_images(write_image_tar(digits, tmp_path / "b.tar", include_labels=True))
    assert np.array_equal(labelled.labels, digits.labels)
    assert np.array_equal(labelled.read(), digits.read())


@pytest.mark.parametrize("name", ["/etc/x.png", "../x.png", "a/../../x.png"])
def test_a_tar_that_points_outside_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="points outside"):
        fc.open_images(tar_of(tmp_path / "x.tar", [("ok.png", png(1)), (name, png(1))]))


def test_links_and_doubles_and_truncation_are_refused(tmp_path):
    with tarfile.open(tmp_path / "link.tar", "w") as archive:
        member = tarfile.TarInfo("x.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(DataError, match="not a plain file"):
        fc.open_images(tmp_path / "link.tar")
    with pytest.raises(DataError, match="twice"):
        fc.open_images(tar_of(tmp_path / "two.tar", [("x.png", png(1)), ("x.png", png(2))]))
    whole = tar_of(tmp_path / "cut.tar", [("x.png", png(1)), ("y.png", bytes(5000))])
    whole.write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(DataError):
        fc.open_images(whole)
    (tmp_path / "no.tar").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(DataError):
        fc.open_images(tmp_path / "no.tar")


def test_idx_files_are_read_gzipped_or_not(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    data = bytes([0, 0, 8, 3]) + b"".join(extent.to_bytes(4, "big") for extent in pixels.shape) + pixels.tobytes()
    (tmp_path / "a-idx3-ubyte").write_bytes(data)
    (tmp_path / "b-idx3-ubyte.gz").write_bytes(gzip.compress(data))
    for name in ("a-idx3-ubyte", "b-idx3-ubyte.gz"):
        assert np.array_equal(fc.open_images(tmp_path / name).read()[..., 0], pixels)
    (tmp_path / "c-idx").write_bytes(data[:-1])
    with pytest.raises(DataError, match="23 bytes of payload"):
        read_idx(tmp_path / "c-idx")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (np.zeros((2, 3, 3)), InputTypeError),
        (np.zeros((2, 3), np.uint8), InputError),
        (np.zeros((2, 3, 3, 4), np.uint8), InputError),
        (np.zeros((0, 3, 3), np.uint8), InputError),
    ],
)
def test_arrays_that_are_no_images_are_refused(source, error):
    with pytest.raises(error):
        fc.open_images(source)


def test_digits_are_the_scans_with_their_labels():
    digits = fc.open_images("digits")
    assert (len(digits), digits.shape) == (1797, (8, 8, 1))
    assert digits.read().max() == 255
    assert np.bincount(digits.labels).min() > 170


@pytest.mark.skipif(not FASHION_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_whole():
    images = fc.open_images("fashion-mnist")
    assert (len(images), images.shape) == (70_000, (28, 28, 1))
    assert np.bincount(images.labels).tolist() == [7000] * 10


def test_a_source_that_is_missing_says_so(tmp_path):
    with pytest.raises(NotFoundError):
        fc.open_images(tmp_path / "nothing")


def test_labels_come_from_arrays_and_files(tmp_path):
    ids = ["x", "y", "z"]
    np.save(tmp_path / "l.npy", np.array([2, -1, 0]))
    assert load_labels(tmp_path / "l.npy", ids).tolist() == [2, -1, 0]
    (tmp_path / "l.csv").write_text("id,label\nz,cat\n0,dog\n")
    assert load_labels(tmp_path / "l.csv", ids).tolist() == [1, -1, 0]
    (tmp_path / "n.csv").write_text("id,label\ny,7\n")
    assert load_labels(tmp_path / "n.csv", ids).tolist() == [-1, 7, -1]
    (tmp_path / "bad.csv").write_text("id,label\nnobody,1\n")
    with pytest.raises(DataError, match="nobody"):
        load_labels(tmp_path / "bad.csv", ids)
    with pytest.raises(InputError, match="2 labels"):
        load_labels([1, 2], ids)
    with pytest.raises(InputTypeError):
        load_labels([0.5, 1, 2], ids)
