"""Folders in the layouts of CUB-200-2011, Cars-196 and Stanford Online Products, and Parquet with image bytes."""

import io

import numpy as np
import pytest
from PIL import Image

import fastclust as fc
from fastclust.errors import DataError

pa = pytest.importorskip("pyarrow")


def png(level):
    buffer = io.BytesIO()
    Image.new("L", (9, 9), level).save(buffer, "PNG")
    return buffer.getvalue()


def put(root, images):
    for name, level in images.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(level))


def levels(images):
    return [int(block[0, 0, 0]) for block in images.read()]


def cub(root):
    # The image numbers of class 10 stand before those of class 2: numbers order the classes, text would not.
    put(root / "images", {f"{c:03}.bird{c}/{i}.png": 10 * c + i for c in range(1, 11) for i in (0, 1)})
    (root / "classes.txt").write_text("".join(f"{c} {c:03}.bird{c}\n" for c in range(1, 11)))
    names = [(c, f"{c:03}.bird{c}/{i}.png") for c in range(10, 0, -1) for i in (0, 1)]
    (root / "images.txt").write_text("".join(f"{n} {name}\n" for n, (_, name) in enumerate(names, 1)))
    (root / "image_class_labels.txt").write_text("".join(f"{n} {c}\n" for n, (c, _) in enumerate(names, 1)))


def cars(root):
    from scipy.io import savemat

    put(root / "car_ims", {f"{i:06}.png": 10 * i for i in range(1, 7)})
    kinds = [("relative_im_path", object), ("class", object), ("test", object)]
    rows = [(f"car_ims/{i:06}.png", (i - 1) % 4 + 1, 0) for i in range(1, 7)]
    names = np.array(["Wagon", "Audi", "Lada", "Coupe"], object)
    savemat(root / "cars_annos.mat", {"annotations": np.array(rows, kinds), "class_names": names})


def products(root):
    head = "image_id class_id super_class_id path\n"
    put(root, {"chair/1_0.png": 10, "chair/1_1.png": 11, "sofa/2_0.png": 20, "sofa/3_0.png": 30})
    (root / "Ebay_train.txt").write_text(head + "1 1 1 chair/1_0.png\n2 1 1 chair/1_1.png\n3 2 2 sofa/2_0.png\n")
    (root / "Ebay_test.txt").write_text(head + "4 3 2 sofa/3_0.png\n")


def test_cub_has_its_own_classes_and_trains_on_the_first_half(tmp_path):
    cub(tmp_path)
    images = fc.open_images(tmp_path)
    assert images.label_names == [f"{c:03}.bird{c}" for c in range(1, 11)]
    assert levels(images) == [10 * (label + 1) + i for label in range(10) for i in (0, 1)]
    assert images.labels.tolist() == [label for label in range(10) for _ in (0, 1)]
    assert images.learns.tolist() == [True] * 10 + [False] * 10
    assert images.ids[0] == "images/001.bird1/0.png"


def test_cars_keep_the_numbers_of_their_classes(tmp_path):
    cars(tmp_path)
    images = fc.open_images(tmp_path)
    assert images.label_names == ["Wagon", "Audi", "Lada", "Coupe"]
    assert dict(zip(levels(images), images.labels.tolist(), strict=True)) == {10: 0, 50: 0, 20: 1, 60: 1, 30: 2, 40: 3}
    assert images.learns.tolist() == [True] * 4 + [False] * 2


def test_products_train_on_the_training_list(tmp_path):
    products(tmp_path)
    images = fc.open_images(tmp_path)
    assert levels(images) == [10, 11, 20, 30]
    assert images.labels.tolist() == [0, 0, 1, 2]
    assert images.learns.tolist() == [True, True, True, False]


def test_listed_files_that_are_damaged_or_missing_are_listed_and_left_out(tmp_path):
    products(tmp_path)
    (tmp_path / "chair/1_1.png").write_bytes(b"no image")
    (tmp_path / "sofa/2_0.png").unlink()
    with pytest.warns(UserWarning, match="left out 2"):
        images = fc.open_images(tmp_path)
    assert [name for name, _ in images.skipped] == ["chair/1_1.png", "sofa/2_0.png"]
    assert images.labels.tolist() == [0, 2]
    assert images.learns.tolist() == [True, False]


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png"])
def test_lists_do_not_lead_outside(tmp_path, name):
    products(tmp_path)
    with (tmp_path / "Ebay_test.txt").open("a") as file:
        file.write(f"5 4 2 {name}\n")
    with pytest.raises(DataError, match="below the folder"):
        fc.open_images(tmp_path)


def test_damaged_lists_are_named(tmp_path):
    for make, file, text in (
        (cub, "images.txt", "one two\n"),
        (cub, "image_class_labels.txt", "1 99\n"),
        (cars, "cars_annos.mat", "no matrix"),
        (products, "Ebay_train.txt", "head\n1 2\n"),
    ):
        root = tmp_path / f"{make.__name__}-{file}"
        root.mkdir()
        make(root)
        (root / file).write_text(text)
        with pytest.raises(DataError, match=root.name):
            fc.open_images(root)


def write(path, columns, group=2):
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def test_parquet_with_bytes_in_a_struct_or_plain(tmp_path):
    data = [png(level) for level in (1, 2, 3, 4, 5)]
    hugging = write(
        tmp_path / "a.parquet", {"image": [{"bytes": d, "path": None} for d in data], "label": [7, 3, None, 7, 3]}
    )
    images = fc.open_images(hugging)
    assert levels(images) == [1, 2, 3, 4, 5]
    assert images.ids == ["0", "1", "2", "3", "4"]
    assert images.labels.tolist() == [1, 0, -1, 1, 0]
    assert images.label_names == ["3", "7"]
    assert images.encoded(3) == data[3]
    plain = fc.open_images(write(tmp_path / "b.parquet", {"image": data, "id": list("vwxyz")}))
    assert plain.ids == list("vwxyz")
    assert plain.labels is None
    assert int(np.asarray(plain.image(4))[0, 0]) == 5


def test_parquet_labels_below_zero_are_unknown(tmp_path):
    images = fc.open_images(write(tmp_path / "a.pq", {"image": [png(1), png(2), png(3)], "label": [5, -1, 4]}))
    assert (images.labels.tolist(), images.label_names) == ([1, -1, 0], ["4", "5"])


def test_parquet_rows_without_an_image_are_listed(tmp_path):
    path = write(tmp_path / "a.parquet", {"image": [png(1), None, b"junk", png(4)], "label": list("abba")})
    with pytest.warns(UserWarning, match="left out 2"):
        images = fc.open_images(path)
    assert [name for name, _ in images.skipped] == ["1", "2"]
    assert images.ids == ["0", "3"]
    assert levels(images) == [1, 4]
    assert images.labels.tolist() == [0, 0]


def test_parquet_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match='"image"'):
        fc.open_images(write(tmp_path / "a.parquet", {"x": [1.0]}))
    with pytest.raises(DataError, match="binary"):
        fc.open_images(write(tmp_path / "b.parquet", {"image": [1.0]}))
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="can be read"):
        fc.open_images(tmp_path / "c.parquet")
