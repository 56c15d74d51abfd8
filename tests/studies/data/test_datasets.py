"""Every layout on files as its publishers lay them out, and every kind of broken data set."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as Picture

from napari_cam_sam.demo import phantoms as drawn
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.segments import Segment
from napari_cam_sam.images.writing import write_image, write_labels
from napari_cam_sam.prompts.data import Box
from napari_cam_sam.studies.cases import Case, boxes_of_mask, read_case, read_prediction
from napari_cam_sam.studies.data.datasets import read_dataset

BUSI = Path(__file__).resolve().parents[3].parent / "shared/data/busi"


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.asarray(values)).save(path)
    return path


def disc(shape, centre, radius):
    rows, columns = np.indices(shape)
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


@pytest.fixture
def busi(tmp_path):
    """Two classes and the normal one; an image with two masks, one of another bit depth."""
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 255, (30, 40), dtype=np.uint8)
    one, two = disc((30, 40), (10, 10), 5), disc((30, 40), (20, 30), 4)
    for name in ("benign/benign (1)", "benign/benign (10)", "malignant/malignant (1)"):
        save(tmp_path / f"{name}.png", gray)
        save(tmp_path / f"{name}_mask.png", one)
    save(tmp_path / "benign/benign (10)_mask_1.png", np.uint8(255) * two)
    save(tmp_path / "normal/normal (1).png", gray)
    (tmp_path / "benign/Thumbs.db").write_bytes(b"x")
    (tmp_path / "__MACOSX").mkdir()
    return tmp_path, one, two


def test_near_copies_and_the_groups_that_they_share_become_one(tmp_path):
    pictures = {seed: drawn.ultrasound(seed, lesion=True).image for seed in range(4)}
    for seed, picture in pictures.items():
        save(tmp_path / f"{seed}.png", picture)
    # The first again, marked; the third is of the same patient as the copy.
    marked = pictures[0].copy()
    marked[2:8, 2:8] = 255
    save(tmp_path / "copy.png", marked)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows = ["image,group", "0.png,", "1.png,", "2.png,p", "3.png,q", "copy.png,p", "broken.png,"]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    plain = read_dataset("csv", tmp_path / "table.csv")
    assert {case.group for case in plain.cases} == {None, "p", "q"}
    joined = read_dataset("csv", tmp_path / "table.csv", join_copies=True)
    groups = {case.image.stem: case.group for case in joined.cases}
    assert groups == {"0": "p", "copy": "p", "2": "p", "1": None, "3": "q", "broken": None}
    with pytest.raises(CamSamError, match="true or false"):
        read_dataset("csv", tmp_path / "table.csv", join_copies="yes")


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd", ".mgz"])
def test_volumes_of_any_format_with_segments_by_their_names(tmp_path, suffix):
    where = Geometry((3.0, 1.0, 1.0), np.diag([3.0, 1, 1, 1])[[2, 1, 0, 3]], "mm")
    values = np.random.default_rng(0).integers(0, 900, (3, 12, 10)).astype(np.int16)
    image = Image(values, False, where, "scan")
    labels = np.zeros(values.shape, np.uint8)
    labels[1, 2:5, 2:5], labels[2, 6:9, 6:9] = 1, 2
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    write_image(tmp_path / f"images/p1{suffix}", image)
    segments = [Segment(1, "Liver"), Segment(2, "Lesion")]
    write_labels(tmp_path / "masks/p1.seg.nrrd", labels, image, segments=segments)
    found = read_dataset("folders", tmp_path)
    assert [case.image_id for case in found.cases] == ["p1"]
    assert found.problems == ()
    read, truth = read_case(found.cases[0])[:2]
    np.testing.assert_array_equal(read.data, values)
    np.testing.assert_array_equal(np.asarray(truth.data) != 0, labels != 0)


class TestBusi:
    def test_cases(self, busi):
        path, one, two = busi
        found = read_dataset("busi", path)
        assert [(case.image_id, case.label, len(case.truths)) for case in found.cases] == [
            ("benign (1)", "benign", 1),
            ("benign (10)", "benign", 2),
            ("malignant (1)", "malignant", 1),
            ("normal (1)", "normal", 0),
        ]
        assert found.problems == ()
        image, truth = read_case(found.cases[1])
        assert image.spatial_shape == (30, 40)
        np.testing.assert_array_equal(truth.data, (one | two).astype(np.uint8))
        assert read_case(found.cases[3])[1] is None

    def test_what_docks_saved_beside_an_image_is_no_case(self, busi):
        path, one, _ = busi
        before = read_dataset("busi", path)
        save(path / "benign/benign (1)-labels.png", np.uint8(255) * one)
        assert read_dataset("busi", path) == before
        # Of no image that is there it may be anything.
        save(path / "benign/other-labels.png", np.uint8(255) * one)
        assert len(read_dataset("busi", path).cases) == len(before.cases) + 1

    def test_classes(self, busi):
        path, _, _ = busi
        assert len(read_dataset("busi", path, classes=["malignant"]).cases) == 1
        with pytest.raises(CamSamError, match=r"class folder 'malign'.*malignant"):
            read_dataset("busi", path, classes=["malign"])

    def test_mask_without_image_and_image_without_mask(self, busi):
        path, one, _ = busi
        save(path / "benign/benign (7)_mask.png", one)
        save(path / "benign/benign (8).png", np.zeros((30, 40), np.uint8))
        found = read_dataset("busi", path)
        assert len(found.problems) == 2
        assert "benign (7)_mask.png is a mask without an image" in found.problems[0]
        assert "benign (8).png has no mask" in found.problems[1]
        # The image is in the study all the same, without a truth.
        assert next(c for c in found.cases if c.image_id == "benign (8)").truths == ()

    def test_predictions(self, busi):
        path, one, two = busi
        save(path.parent / "theirs/a/benign (1).png", np.uint8(255) * two)
        save(path.parent / "theirs/a/benign (2).png", two)
        found = read_dataset("busi", path, classes=["benign"], predictions="../theirs/a")
        image, truth = read_case(found.cases[0])
        np.testing.assert_array_equal(read_prediction(found.cases[0], image).data, two)
        np.testing.assert_array_equal(truth.data, one)
        assert found.cases[1].prediction is None
        assert read_prediction(found.cases[1], image) is None
        assert len(found.problems) == 2
        several = read_dataset(
            "busi", path, classes=["benign"], predictions={"p": "../theirs/a", "q": "../theirs/a"}
        )
        assert [(c.image_id, c.group) for c in several.cases] == [
            ("p/benign (1)", "benign (1)"),
            ("p/benign (10)", "benign (10)"),
            ("q/benign (1)", "benign (1)"),
            ("q/benign (10)", "benign (10)"),
        ]

    def test_masks_alone(self, tmp_path):
        save(tmp_path / "benign/benign (1)_mask.png", np.ones((4, 4), bool))
        with pytest.raises(CamSamError, match=r"holds no image.*mask without an image"):
            read_dataset("busi", tmp_path)

    @pytest.mark.real_data
    @pytest.mark.skipif(not BUSI.exists(), reason="the BUSI images are not beside the project")
    def test_real(self):
        found = read_dataset("busi", BUSI / "images")
        assert (len(found.cases), found.problems) == (81, ())
        assert sum(bool(case.truths) for case in found.cases) == 51


class TestFolders:
    def test_cases(self, tmp_path):
        gray, mask = np.zeros((9, 8), np.uint8), np.eye(9, 8).astype(np.uint8)
        save(tmp_path / "images/a.png", gray)
        save(tmp_path / "images/b.jpg", gray)
        save(tmp_path / "masks/a.png", mask * 3)
        save(tmp_path / "masks/c.png", mask)
        found = read_dataset("folders", tmp_path)
        assert [case.image_id for case in found.cases] == ["a", "b"]
        assert len(found.problems) == 2
        np.testing.assert_array_equal(read_case(found.cases[0])[1].data, mask * 3)

    def test_class_folders(self, tmp_path):
        for name in ("x", "y"):
            save(tmp_path / f"in/{name}/1.png", np.zeros((5, 5), np.uint8))
            save(tmp_path / f"out/{name}/1.tif", np.eye(5).astype(np.uint8))
        found = read_dataset("folders", tmp_path, images="in", masks="out")
        assert [(c.image_id, c.label) for c in found.cases] == [("x/1", "x"), ("y/1", "y")]
        assert found.problems == ()

    def test_two_of_one_name(self, tmp_path):
        save(tmp_path / "images/a.png", np.zeros((5, 5), np.uint8))
        save(tmp_path / "images/a.jpg", np.zeros((5, 5), np.uint8))
        with pytest.raises(CamSamError, match="have the same name"):
            read_dataset("folders", tmp_path, masks=None)

    def test_empty_folder(self, tmp_path):
        (tmp_path / "images").mkdir()
        with pytest.raises(CamSamError, match="holds no image in the layout folders"):
            read_dataset("folders", tmp_path, masks=None)
        with pytest.raises(CamSamError, match=r"is not a folder .*masks"):
            read_dataset("folders", tmp_path)


@pytest.fixture
def decathlon(tmp_path):
    """A task with two modalities, two labels, and a test image."""
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    for folder, shape, dtype in (
        ("imagesTr", (6, 5, 4, 2), np.int16),
        ("labelsTr", (6, 5, 4), np.uint8),
        ("imagesTs", (6, 5, 4, 2), np.int16),
    ):
        (tmp_path / folder).mkdir()
        values = np.random.default_rng(1).integers(0, 3, shape).astype(dtype)
        nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / folder / "pro_00.nii.gz")
    nibabel.save(
        nibabel.Nifti1Image(np.ones((6, 5, 4, 2), np.int16), affine),
        tmp_path / "imagesTs/pro_01.nii.gz",
    )
    content = {
        "name": "PROSTATE",
        "labels": {"0": "background", "1": "PZ", "2": "TZ"},
        "training": [{"image": "./imagesTr/pro_00.nii.gz", "label": "./labelsTr/pro_00.nii.gz"}],
        "test": ["./imagesTs/pro_01.nii.gz"],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    return tmp_path, content


class TestDecathlon:
    def test_cases(self, decathlon):
        path, _ = decathlon
        found = read_dataset("msd", path, channel=1)
        assert found.name == "PROSTATE"
        assert found == read_dataset("msd", path / "dataset.json", channel=1)
        assert [(c.image_id, c.split, c.group) for c in found.cases] == [
            ("pro_00", "training", "pro_00"),
            ("pro_01", "test", "pro_01"),
        ]
        image, truth = read_case(found.cases[0])
        raw = np.asarray(nibabel.load(path / "imagesTr/pro_00.nii.gz").dataobj)
        np.testing.assert_array_equal(image.plane(0, 3), raw[:, :, 3, 1].T)
        assert set(np.unique(truth.data[:])) == {0, 1, 2}  # labels stay apart
        assert read_case(found.cases[1])[1] is None

    def test_channel_is_needed(self, decathlon):
        found = read_dataset("msd", decathlon[0])
        with pytest.raises(CamSamError, match="series of 2 frames"):
            read_case(found.cases[0])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", r"no JSON: .*line 1, column 2 \(.*dataset\.json\)"),
            ("[]", "should be an object"),
            ("3", "should be an object"),
            ('{"training": 3}', r"training should be a list, not 3 \(.*dataset\.json\)"),
            ('{"training": [], "test": 5}', "test should be a list, not 5"),
            ('{"training": [{"image": "x", "label": [1]}]}', r"training\[0\]\.label should be"),
            ('{"training": [], "name": {}}', "name should be a text"),
            ('{"training": [], "training": []}', "'training' is there twice"),
            ('{"training": [{"label": "x"}]}', r"training\[0\]\.image is missing"),
            ('{"training": [], "test": [3]}', r"test\[0\] should be a text, not 3"),
            ('{"training": []}', "holds no image"),
            ("", "is empty"),
        ],
    )
    def test_broken(self, tmp_path, text, message):
        (tmp_path / "dataset.json").write_text(text)
        with pytest.raises(CamSamError, match=message):
            read_dataset("msd", tmp_path)

    def test_missing_files(self, decathlon):
        path, content = decathlon
        content["training"].append({"image": "./imagesTr/pro_02.nii.gz"})
        (path / "dataset.json").write_text(json.dumps(content))
        (path / "labelsTr/pro_00.nii.gz").unlink()
        found = read_dataset("msd", path, channel=0)
        assert len(found.cases) == 3
        assert any("pro_00.nii.gz is listed but not there" in text for text in found.problems)
        assert any("pro_02.nii.gz is listed but not there" in text for text in found.problems)
        assert any("pro_02.nii.gz has no mask" in text for text in found.problems)
        for case in found.cases[0], found.cases[2]:
            with pytest.raises(CamSamError, match="does not exist"):
                read_case(case)
        (path / "imagesTr/pro_00.nii.gz").unlink()
        (path / "imagesTs/pro_01.nii.gz").unlink()
        with pytest.raises(CamSamError, match="None of the images"):
            read_dataset("msd", path)


def smear(name, *objects):
    return {
        "image": {"checksum": "", "pathname": f"/images/{name}", "shape": {"r": 20, "c": 30}},
        "objects": [
            {
                "category": category,
                "bounding_box": {
                    "minimum": {"r": r0, "c": c0},
                    "maximum": {"r": r1, "c": c1},
                },
            }
            for category, r0, c0, r1, c1 in objects
        ],
    }


@pytest.fixture
def malaria(tmp_path):
    for name in ("a.png", "b.png", "t.jpg"):
        save(tmp_path / "images" / name, np.zeros((20, 30, 3), np.uint8))
    training = [
        smear("a.png", ("red blood cell", 0, 0, 5, 5), ("ring", 2, 10, 8, 20)),
        smear("b.png", ("red blood cell", 1, 1, 4, 9), ("leukocyte", 5, 5, 9, 9)),
    ]
    (tmp_path / "training.json").write_text(json.dumps(training))
    test = [smear("t.jpg", ("trophozoite", 0, 0, 3, 3), ("ring", 2, 2, 6, 6))]
    (tmp_path / "test.json").write_text(json.dumps(test))
    return tmp_path


class TestMalaria:
    def test_cases(self, malaria):
        found = read_dataset("bbbc041", malaria)
        assert [(c.image_id, c.label, c.split, len(c.boxes)) for c in found.cases] == [
            ("a", "infected", "training", 1),
            ("b", "uninfected", "training", 0),
            ("t", "infected", "test", 2),
        ]
        assert found.cases[0].boxes == (Box(2, 10, 8, 20, source="truth"),)
        image, truth = read_case(found.cases[2])
        assert image.rgb
        # Two squares of 3 and 4 pixels that share one pixel.
        assert int(truth.data.sum()) == 9 + 16 - 1
        assert read_case(found.cases[1])[1] is None

    def test_one_file_and_categories(self, malaria):
        table = malaria / "training.json"
        found = read_dataset("bbbc041", table, categories=["red blood cell"])
        assert [len(c.boxes) for c in found.cases] == [1, 1]
        with pytest.raises(CamSamError, match=r"category 'rings'.*ring"):
            read_dataset("bbbc041", table, categories=["rings"])

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"images": []}, "should be a list"),
            ([smear("a.png", ("ring", "5", 5, 6, 9))], r"minimum\.r should be a number"),
            ([smear("a.png", ("ring", 5, 5, 10**400, 9))], r"maximum\.r should be"),
            ([smear("a.png", ("ring", 5, 5, 1e308 * 10, 9))], "Infinity is no JSON"),
            ([{"image": {"pathname": 3}, "objects": []}], "pathname should be a text"),
            ([{"image": {}}], r"\[0\]\.image\.pathname is missing"),
            ([smear("a.png", ("ring", 5, 5, 5, 9))], "ends before it begins"),
        ],
    )
    def test_broken(self, tmp_path, content, message):
        (tmp_path / "training.json").write_text(json.dumps(content))
        with pytest.raises(CamSamError, match=message):
            read_dataset("bbbc041", tmp_path)

    def test_no_json(self, tmp_path):
        with pytest.raises(CamSamError, match=r"neither training\.json"):
            read_dataset("bbbc041", tmp_path)

    def test_box_outside(self, malaria):
        (malaria / "test.json").write_text(json.dumps([smear("t.jpg", ("ring", 21, 0, 30, 5))]))
        found = read_dataset("bbbc041", malaria / "test.json")
        with pytest.raises(CamSamError, match=r"covers no pixel of t, which has 20 rows"):
            read_case(found.cases[0])


class TestTable:
    def test_cases(self, tmp_path):
        for name in ("a", "b"):
            save(tmp_path / f"pictures/{name}.png", np.zeros((6, 6), np.uint8))
        save(tmp_path / "m1.png", np.eye(6, dtype=bool))
        save(tmp_path / "m2.png", np.eye(6, dtype=bool)[::-1])
        (tmp_path / "cases.csv").write_text(
            "image,truth,label,group,split,boxes,age\n"
            "pictures/a.png,m1.png; m2.png,benign,p1,test,,61\n"
            f"{tmp_path}/pictures/b.png,,,,,0 1 2 3; 4 4 6 6,\n"
        )
        found = read_dataset("csv", tmp_path / "cases.csv")
        assert [c.image_id for c in found.cases] == [f"{tmp_path}/pictures/b", "pictures/a"]
        second, first = found.cases
        assert (first.label, first.group, first.split) == ("benign", "p1", "test")
        assert int(read_case(first)[1].data.sum()) == 12
        assert second.boxes == (Box(0, 1, 2, 3, "truth"), Box(4, 4, 6, 6, "truth"))
        assert (second.label, second.group, second.split) == (None, None, None)
        assert len(found.problems) == 1
        assert "'age'" in found.problems[0]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "picture,label\na.png,x\n",
                r"no column 'image'; the columns are picture, label \(.*cases\.csv\)",
            ),
            ("image,boxes\na.png,1 2 3\n", r"The box '1 2 3' is broken.*:2\)"),
            ("image,boxes\na.png,3 2 1 4\n", "ends before it begins"),
            ("image\na.png,b.png\n", r"more than the 1 columns \(.*:2\)"),
            ("image\n", "holds no image"),
            ("image,label\n,x\n", r"This row names no image \(.*:2\)"),
        ],
    )
    def test_broken(self, tmp_path, text, message):
        save(tmp_path / "a.png", np.zeros((6, 6), np.uint8))
        (tmp_path / "cases.csv").write_text(text)
        with pytest.raises(CamSamError, match=message):
            read_dataset("csv", tmp_path / "cases.csv")

    def test_semicolons_separate_as_in_a_table_for_training(self, tmp_path):
        for name in ("a", "m1", "m2"):
            save(tmp_path / f"{name}.png", np.eye(6, dtype=bool))
        text = 'image;truth;label\na.png;"m1.png;m2.png";x, y\n'
        (tmp_path / "cases.csv").write_text("\ufeff" + text, encoding="utf-8")
        (case,) = read_dataset("csv", tmp_path / "cases.csv").cases
        assert case.label == "x, y"
        assert case.truths == (tmp_path / "m1.png", tmp_path / "m2.png")

    def test_two_rows_of_one_image(self, tmp_path):
        save(tmp_path / "a.png", np.zeros((6, 6), np.uint8))
        (tmp_path / "cases.csv").write_text("image\na.png\na.png\n")
        with pytest.raises(CamSamError, match="are called 'a'"):
            read_dataset("csv", tmp_path / "cases.csv")
        (tmp_path / "cases.csv").write_text("image,id\na.png,x\na.png,y\n")
        assert len(read_dataset("csv", tmp_path / "cases.csv").cases) == 2


class TestPhantoms:
    def test_drawn_once(self, tmp_path):
        found = read_dataset("phantoms", tmp_path, kind="shapes", count=2, first_seed=10)
        image, truth = read_case(found.cases[1])
        phantom = drawn.shapes(11)
        np.testing.assert_array_equal(image.data, phantom.image)
        np.testing.assert_array_equal(truth.data, phantom.labels)
        assert found.cases[1].label == drawn.SHAPE_CLASSES[phantom.class_index]
        before = found.cases[1].image.stat().st_mtime_ns
        assert read_dataset("phantoms", tmp_path, count=2, first_seed=10) == found
        assert found.cases[1].image.stat().st_mtime_ns == before

    def test_are_not_drawn_among_other_things(self, busi):
        path, _, _ = busi
        before = sorted(path.rglob("*"))
        with pytest.raises(CamSamError, match="folder of their own"):
            read_dataset("phantoms", path, count=2)
        assert sorted(path.rglob("*")) == before

    def test_volume(self, tmp_path):
        found = read_dataset("phantoms", tmp_path, kind="ct", count=1)
        image, truth = read_case(found.cases[0])
        assert image.geometry.unit == "mm"
        assert truth.spatial_shape == (24, 128, 128)

    def test_seeds_of_training_are_refused(self, tmp_path):
        with pytest.raises(CamSamError, match="no training saw"):
            read_dataset("phantoms", tmp_path, count=2, first_seed=999_999)


class TestTruthAs:
    def test_boxes_of_components(self):
        mask = disc((30, 40), (10, 10), 5) | disc((30, 40), (20, 30), 4)
        assert boxes_of_mask(mask) == (Box(5, 5, 16, 16, "truth"), Box(16, 26, 25, 35, "truth"))

    def test_boxes(self, busi):
        path, _, _ = busi
        found = read_dataset("busi", path, truth_as="boxes")
        assert [case.image_id for case in found.cases][:2] == ["benign (1)", "benign (10)"]
        truth = read_case(found.cases[1])[1]
        assert int(truth.data.sum()) == 11 * 11 + 9 * 9

    def test_both(self, busi):
        path, one, two = busi
        found = read_dataset("busi", path, truth_as="both")
        assert [case.image_id for case in found.cases] == [
            "boxes/benign (1)", "boxes/benign (10)", "boxes/malignant (1)",
            "mask/benign (1)", "mask/benign (10)", "mask/malignant (1)", "normal (1)",
        ]  # fmt: skip
        assert found.cases[1].group == found.cases[4].group == "benign (10)"
        np.testing.assert_array_equal(read_case(found.cases[4])[1].data, one | two)

    def test_damaged_mask_stays_a_case(self, busi):
        path, _, _ = busi
        (path / "benign/benign (1)_mask.png").write_bytes(b"no picture")
        found = read_dataset("busi", path, truth_as="boxes")
        assert len(found.problems) == 1
        with pytest.raises(CamSamError, match="neither a PNG nor"):
            read_case(found.cases[0])


class TestBadInput:
    def test_missing_path(self, tmp_path):
        with pytest.raises(CamSamError, match=r"does not exist.*nowhere"):
            read_dataset("busi", tmp_path / "nowhere")

    def test_unknown_layout_and_option(self, tmp_path):
        with pytest.raises(CamSamError, match=r"layout 'bussi'.*busi"):
            read_dataset("bussi", tmp_path)
        with pytest.raises(CamSamError, match=r"option of the layout busi 'class'.*classes"):
            read_dataset("busi", tmp_path, **{"class": ["benign"]})
        with pytest.raises(CamSamError, match="kind of truth 'box'"):
            read_dataset("busi", tmp_path, truth_as="box")

    def test_corrupt_image(self, tmp_path):
        path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (50, 50), "u1"))
        path.write_bytes(path.read_bytes()[:400])
        with pytest.raises(CamSamError, match="is truncated"):
            read_case(Case("a", path))

    def test_truth_of_another_shape(self, tmp_path):
        image = save(tmp_path / "a.png", np.zeros((6, 6), np.uint8))
        truth = save(tmp_path / "t.png", np.ones((6, 7), np.uint8))
        with pytest.raises(CamSamError, match=r"6 rows by 7 columns.*same grid"):
            read_case(Case("a", image, (truth,)))
        with pytest.raises(CamSamError, match="same grid"):
            read_prediction(Case("a", image, prediction=truth), read_case(Case("a", image))[0])

    @pytest.mark.parametrize(
        ("stored", "read"),
        [([0, 255], [0, 1]), ([255, 255], [1, 1]), ([0, 0], [0, 0]), ([1, 255], [1, 255])],
    )
    def test_white_is_object(self, tmp_path, stored, read):
        """White alone is a picture of a mask; beside other labels it is one of them."""
        image = save(tmp_path / "a.png", np.zeros((1, 2), np.uint8))
        truth = save(tmp_path / "t.png", np.array([stored], np.uint8))
        assert read_case(Case("a", image, (truth,)))[1].data.tolist() == [read]

    def test_boxes_of_a_volume(self, tmp_path):
        path = tmp_path / "v.nii"
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), path)
        with pytest.raises(CamSamError, match="single images only"):
            read_case(Case("v", path, boxes=(Box(0, 0, 2, 2),)))


@pytest.mark.parametrize(
    ("layout", "options", "words"),
    [
        ("phantoms", {"count": "five"}, "a whole number, not 'five'"),
        ("phantoms", {"kind": ["ct"]}, r"a text, not \['ct'\]"),
        ("phantoms", {"first_seed": True}, "a whole number"),
        ("busi", {"classes": "benign"}, "a list of texts"),
        ("busi", {"predictions": ["one"]}, "a text or texts by names"),
        ("folders", {"truth_as": 1}, "a text"),
    ],
)
def test_options_of_another_type(tmp_path, layout, options, words):
    with pytest.raises(CamSamError, match=rf"of the layout {layout} must be {words}"):
        read_dataset(layout, tmp_path, **options)
