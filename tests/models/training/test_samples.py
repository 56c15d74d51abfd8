from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.models.training.samples import (
    Sample,
    SampleSet,
    images_under,
    samples_from_csv,
    samples_from_folder,
    samples_from_volumes,
)


def picture(path: Path, value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full((12, 10), value, np.uint8)).save(path)
    return path


def names(samples: SampleSet, folder: Path) -> list[tuple[str, str]]:
    return [(str(s.image.relative_to(folder)), s.label) for s in samples.samples]


def test_a_folder_a_class_in_natural_order(tmp_path: Path) -> None:
    for name in ("b/10.png", "b/2.png", "a/inner/1.tif", "a/x.jpg", ".cache/1.png"):
        picture(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "list.csv").write_text("")
    (tmp_path / "empty").mkdir()
    found = samples_from_folder(tmp_path)
    assert names(found, tmp_path) == [
        ("a/inner/1.tif", "a"), ("a/x.jpg", "a"), ("b/2.png", "b"), ("b/10.png", "b"),
    ]  # fmt: skip
    assert {(Path(one.name).name, one.reason) for one in found.left_out} == {
        ("notes.txt", "is no image by its suffix"),
        ("list.csv", "lies in no class's folder"),
        ("empty", "holds no image"),
    }


def test_links_that_lead_back_show_no_image_twice(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png")
    picture(tmp_path / "b" / "1.png")
    for link in (tmp_path / "all", tmp_path / "a" / "again"):
        try:
            link.symlink_to(tmp_path, target_is_directory=True)
        except OSError:
            pytest.skip("links need a right here")
    found = samples_from_folder(tmp_path)
    assert names(found, tmp_path) == [("a/1.png", "a"), ("b/1.png", "b")]


def test_links_in_a_circle_have_an_end(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png")
    picture(tmp_path / "b" / "1.png")
    try:
        (tmp_path / "a" / "self").symlink_to("self")
        (tmp_path / "a" / "to-b").symlink_to(tmp_path / "b", target_is_directory=True)
        (tmp_path / "b" / "to-a").symlink_to(tmp_path / "a", target_is_directory=True)
    except OSError:
        pytest.skip("links need a right here")
    found = samples_from_folder(tmp_path)
    assert names(found, tmp_path) == [
        ("a/1.png", "a"), ("a/to-b/1.png", "a"), ("b/1.png", "b"), ("b/to-a/1.png", "b"),
    ]  # fmt: skip


def test_masks_and_what_a_run_wrote_are_no_images_to_learn_from(tmp_path: Path) -> None:
    for name in (
        "a/one (1).png", "a/one (1)_mask.png", "a/one (1)_mask_1.png", "a/unmasked_mask.png",
        "b/2.png", "b/2-cam-sam/overview.png", "b/2-cam-sam/labels.png", "b/2-labels.png",
        "b/2-heatmap.tif",
    ):  # fmt: skip
        picture(tmp_path / name)
    (tmp_path / "b" / "2-cam-sam" / "run.json").write_text("{}")
    found = samples_from_folder(tmp_path)
    kept = [("a/one (1).png", "a"), ("a/unmasked_mask.png", "a"), ("b/2.png", "b")]
    assert names(found, tmp_path) == kept
    assert {(Path(one.name).name, one.reason) for one in found.left_out} == {
        ("one (1)_mask.png", "is a mask of one (1).png"),
        ("one (1)_mask_1.png", "is a mask of one (1).png"),
        ("2-cam-sam", "was written by a run"),
        ("2-labels.png", "was saved of 2.png"),
        ("2-heatmap.tif", "was saved of 2.png"),
    }
    assert [path for path, _ in names(images_under([tmp_path]), tmp_path)] == [
        path for path, _ in kept
    ]


def test_folders_that_cannot_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(CamSamError, match="does not exist"):
        samples_from_folder(tmp_path / "none")
    with pytest.raises(CamSamError, match="is a file"):
        samples_from_folder(picture(tmp_path / "file.png"))
    with pytest.raises(CamSamError, match="no images in its folders"):
        samples_from_folder(tmp_path)
    picture(tmp_path / "benign" / "1.png")
    with pytest.raises(CamSamError, match=r"only images of 'benign'.*one folder a class"):
        samples_from_folder(tmp_path)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_table_of_paths_and_labels(tmp_path: Path, delimiter: str, mark: str) -> None:
    rows = ["Path,label,group,plane", "x/1.png,benign,p1,", "2.nii.gz, malignant ,p2,7"]
    path = tmp_path / "list.csv"
    path.write_text(mark + "\r\n".join(rows).replace(",", delimiter), encoding="utf-8")
    assert samples_from_csv(path).samples == (
        Sample(tmp_path / "x/1.png", "benign", "p1"),
        Sample(tmp_path / "2.nii.gz", "malignant", "p2", 0, 7),
    )


def test_planes_of_a_volume_in_a_table_are_one_group(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(
        "path,label,plane\na.nii,x,0\nb.nii,x,3\na.nii,y,1\nc.png,y,\nd.png,y,\n",
    )
    groups = [sample.group for sample in samples_from_csv(path).samples]
    assert groups[0] == groups[2] != groups[1]
    assert groups[3:] == ["", ""]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an empty file"),
        ("name,label\na,b\n", "has the columns name, label.*path and label, or image and truth"),
        ("path,label\n", "lists no images"),
        ("path,label\na.png,x\nb.png,\n", r"has no label \(.*:3\)"),
        ("path,label\na.png\n", r"has no label \(.*:2\)"),
        ("path,label,plane\na.png,x,top\n", r"plane 'top'.*:2\)"),
        ("path,label,plane\na.png,x," + "9" * 5000 + "\n", "expected an index"),
        ("path,label,label\na.png,x,y\n", "column 'label' is there twice"),
        ("path,label\na.png,x,y\n", "more than the 2 columns"),
        pytest.param("path,label\n" + 200_000 * "a" + ",x\n", "no CSV: field larger", id="long"),
    ],
)
def test_tables_that_say_too_little(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(CamSamError, match=words):
        samples_from_csv(path)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CamSamError, match="could not be read"):
        samples_from_csv(tmp_path / "none.csv")


def volume(folder: Path, name: str, data: np.ndarray) -> Path:
    path = folder / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(data, np.diag([1.0, 1, 2, 1])), path)
    return path


def test_planes_labelled_by_their_truth(tmp_path: Path) -> None:
    image = np.zeros((6, 5, 4), np.int16)
    truth = np.zeros((6, 5, 4), np.uint8)
    truth[2:4, 1:3, 1] = 1
    truth[2:4, 1:3, 2] = 2
    volume(tmp_path, "image", image)
    volume(tmp_path, "truth", truth)
    volume(tmp_path, "small", truth[:5])
    path = tmp_path / "list.csv"
    path.write_text("image,truth\nimage.nii.gz,truth.nii.gz\nimage.nii.gz,small.nii.gz\n")
    found = samples_from_csv(path, truth_label=1)
    # A NIfTI's planes along axis 0 are its k.
    assert [(s.plane, s.label) for s in found.samples] == [
        (0, "absent"), (1, "present"), (2, "absent"), (3, "absent"),
    ]  # fmt: skip
    assert len({s.group for s in found.samples}) == 1
    assert "must have the same grid" in found.left_out[0].reason
    # Of two readers, say: the pixels are the same, and must not be in two parts.
    path.write_text("image,truth\n" + "image.nii.gz,truth.nii.gz\n" * 2)
    assert len({s.group for s in samples_from_csv(path).samples}) == 1
    path.write_text("image,truth\nimage.nii.gz,truth.nii.gz\nimage.nii.gz,small.nii.gz\n")
    both = samples_from_csv(path).samples
    assert [s.label for s in both] == ["absent", "present", "present", "absent"]


def test_volumes_in_memory_and_none_that_can_be_used() -> None:
    image = image_from_array(np.zeros((3, 8, 8)), name="scan")
    truth = image_from_array(np.eye(3, 64, dtype=np.uint8).reshape(3, 8, 8))
    found = samples_from_volumes([(image, truth)], axis=0, names=("no", "yes"))
    assert [s.label for s in found.samples] == ["yes", "yes", "yes"]
    assert found.samples[1].name == "scan, slice 1 along axis 0"
    with pytest.raises(CamSamError, match=r"no volume could be used.*does not exist"):
        samples_from_volumes([(Path("none.nii"), Path("none.nii"))])
    with pytest.raises(CamSamError, match="no slices to train on"):
        samples_from_volumes([])


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd", ".mgz"])
def test_volumes_of_any_format(tmp_path: Path, suffix: str) -> None:
    from napari_cam_sam.images.geometry import Geometry
    from napari_cam_sam.images.image import Image
    from napari_cam_sam.images.writing import write_image, write_labels

    values = np.random.default_rng(0).integers(0, 900, (3, 12, 10)).astype(np.int16)
    image = Image(values, False, Geometry((1.0, 1.0, 1.0), np.eye(4), "mm"), "scan")
    labels = np.zeros(values.shape, np.uint8)
    labels[1, 2:5, 2:5] = 1
    write_image(tmp_path / f"scan{suffix}", image)
    write_labels(tmp_path / "scan.seg.nrrd", labels, image)
    found = samples_from_volumes([(tmp_path / f"scan{suffix}", tmp_path / "scan.seg.nrrd")])
    assert [one.label for one in found.samples] == ["absent", "present", "absent"]
    assert found.left_out == ()
