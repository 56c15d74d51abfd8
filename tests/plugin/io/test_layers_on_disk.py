"""Files and samples as layers and back: in the right place, lazily, on the source's grid."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image as ImageLayer
from napari.layers import Labels
from npe2 import PluginManifest

import napari_cam_sam
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.io import reader
from napari_cam_sam.plugin.io.sample_data import ct_sample, shapes_sample, ultrasound_sample
from napari_cam_sam.plugin.io.writer import write_image_layer, write_labels_layer
from napari_cam_sam.plugin.layers.layer_geometry import geometry_of, transform_of

AFFINES = {
    "LAS": np.diag([-0.9, 1.1, 3.0, 1.0]),
    "oblique": np.array(
        [[0.88, 0.17, 0.3, -40], [-0.2, 1.05, 0.6, 12.5], [-0.1, -0.25, 2.9, 100], [0, 0, 0, 1]]
    ),
    "sagittal": np.array([[0, 0, 3.0, -8], [0.8, 0, 0, 4], [0, 0.7, 0, -6], [0, 0, 0, 1.0]]),
}


def save(path: Path, data: np.ndarray, affine: np.ndarray, unit: str = "mm") -> Path:
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def read(path: Path) -> ImageLayer | Labels:
    read_layers = reader.get_reader(str(path))
    assert read_layers is not None
    ((data, meta, kind),) = read_layers(str(path))
    return (Labels if kind == "labels" else ImageLayer)(data, **meta)


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_volume_is_shown_upright_and_keeps_its_true_place(
    name: str, suffix: str, tmp_path: Path
) -> None:
    data = np.random.default_rng(0).integers(0, 900, (5, 6, 7), dtype=np.int16)
    affine = AFFINES[name]
    layer = read(save(tmp_path / f"scan{suffix}", data, affine))
    np.testing.assert_array_equal(layer.data, data.transpose())
    sizes = nib.affines.voxel_sizes(affine)[::-1]
    np.testing.assert_allclose(layer.scale, sizes, rtol=1e-5)
    assert [str(u) for u in layer.units] == ["millimeter"] * 3
    centre = nib.affines.apply_affine(affine, (2, 2.5, 3))
    shown = np.array(layer.data_to_world((3, 2.5, 2)))
    codes = nib.aff2axcodes(affine)[::-1]
    for axis, code in enumerate(codes):
        step = np.array(layer.data_to_world(np.eye(3)[axis])) - layer.data_to_world((0, 0, 0))
        # Down the screen is to the feet or the back, to the right is the patient's left.
        sign = 1 if code in "LPI" else -1
        np.testing.assert_allclose(step, sign * sizes[axis] * np.eye(3)[axis], atol=1e-4)
        assert shown[axis] == pytest.approx(-centre["RL AP SI".index(code) // 3], abs=1e-3)
    geometry = geometry_of(layer)
    assert geometry.affine is not None
    np.testing.assert_allclose(geometry.affine[:, [2, 1, 0, 3]], affine, atol=1e-4)


@pytest.mark.parametrize("name", AFFINES)
def test_labels_derived_from_a_file_are_written_on_its_grid(name: str, tmp_path: Path) -> None:
    data = np.zeros((5, 6, 7), np.int16)
    source = save(tmp_path / "scan.nii.gz", data, AFFINES[name])
    layer = read(source)
    labels = np.zeros(layer.data.shape, np.int64)
    labels[2, 3, 1] = 7
    derived = Labels(labels, **transform_of(layer), metadata=dict(layer.metadata))
    written, meta, _ = derived.as_layer_data_tuple()
    out = tmp_path / "labels.nii.gz"
    assert write_labels_layer(str(out), written, meta) == [str(out)]
    back, original = nib.load(out), nib.load(source)
    np.testing.assert_array_equal(back.affine, original.affine)
    assert back.header["qform_code"] == original.header["qform_code"]
    assert back.get_data_dtype() == np.uint8
    assert np.asarray(back.dataobj)[1, 3, 2] == 7
    assert np.count_nonzero(np.asarray(back.dataobj)) == 1


def test_a_layer_from_nowhere_is_written_where_the_viewer_shows_it(tmp_path: Path) -> None:
    layer = Labels(
        np.ones((3, 4, 5), np.uint8), scale=(3, 2, 1), translate=(10, 20, 30), units="mm"
    )
    data, meta, _ = layer.as_layer_data_tuple()
    write_labels_layer(str(tmp_path / "l.nii"), data, meta)
    expected = np.array([[-1, 0, 0, -30], [0, -2, 0, -20], [0, 0, -3, -10], [0, 0, 0, 1]])
    np.testing.assert_allclose(nib.load(tmp_path / "l.nii").affine, expected)
    # Moved by hand after it was read, a layer has left its file's grid.
    moved = read(tmp_path / "l.nii")
    moved.translate = (0, 0, 4)
    data, meta, _ = moved.as_layer_data_tuple()
    write_image_layer(str(tmp_path / "m.nii"), data, meta)
    assert nib.load(tmp_path / "m.nii").affine[0, 3] == pytest.approx(-34)


def test_units_are_turned_into_millimetres(tmp_path: Path) -> None:
    layer = ImageLayer(np.zeros((3, 4, 5), np.float32), scale=(0.003, 0.001, 0.001), units="m")
    np.testing.assert_allclose(geometry_of(layer).spacing, (3, 1, 1))
    data, meta, _ = layer.as_layer_data_tuple()
    write_image_layer(str(tmp_path / "h.nii"), data, meta)
    np.testing.assert_allclose(nib.load(tmp_path / "h.nii").header.get_zooms(), (1, 1, 3))


def test_large_files_and_series_are_read_plane_by_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_LAZY_BYTES", 100)
    data = np.random.default_rng(0).integers(0, 900, (5, 6, 7, 3), dtype=np.int16)
    lazy = read(save(tmp_path / "scan.nii.gz", data[..., 0], np.eye(4)))
    assert isinstance(lazy.data, da.Array)
    assert lazy.data.chunksize == (1, 6, 5)
    np.testing.assert_array_equal(np.asarray(lazy.data), data[..., 0].T)
    series = read(save(tmp_path / "series.nii", data, np.diag([1, 1, 4, 1])))
    assert series.data.shape == (3, 7, 6, 5)
    np.testing.assert_array_equal(np.asarray(series.data[1]), data[..., 1].T)
    np.testing.assert_allclose(series.scale, (1, 4, 1, 1))
    np.testing.assert_allclose(geometry_of(series).spacing, (4, 1, 1))


@pytest.mark.parametrize(
    ("name", "dtype", "kind"),
    [
        ("brain1_label", np.uint8, "Labels"),
        ("truth", np.int16, "Labels"),
        ("labelled-water", np.int16, "Image"),
        ("mask", np.float32, "Labels"),
        ("segment", np.int16, "Image"),
    ],
)
def test_files_that_say_they_hold_labels_become_labels(
    name: str, dtype: type, kind: str, tmp_path: Path
) -> None:
    layer = read(save(tmp_path / f"{name}.nii", np.ones((3, 3, 3), dtype), np.eye(4)))
    assert type(layer).__name__ == kind


@pytest.mark.parametrize("lazily", [False, True])
def test_scaled_masks_are_labels_and_soft_ones_images(
    tmp_path: Path, lazily: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lazily:
        monkeypatch.setattr(reader, "_LAZY_BYTES", 100)
    mask = np.indices((4, 5, 6)).sum(0) % 3 == 0
    for values, kind in ((mask, Labels), (mask * 0.5, ImageLayer)):
        header = nib.Nifti1Header()
        header.set_data_dtype(np.int16)
        image = nib.Nifti1Image(values.astype(float) + (values == 0.5) * 0.2, np.eye(4), header)
        if kind is ImageLayer:
            image.dataobj[0, 0, 0] = 1
        nib.save(image, tmp_path / "mask.nii")
        layer = read(tmp_path / "mask.nii")
        assert isinstance(layer, kind)
        if kind is Labels:
            np.testing.assert_array_equal(np.asarray(layer.data), mask.T)


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    assert reader.get_reader("picture.png") is None
    assert reader.get_reader(["a.nii", "b.png"]) is None
    (tmp_path / "bad.nii").write_bytes(b"no header")
    with pytest.raises(CamSamError, match="not a NIfTI"):
        reader.read_nifti_layers(str(tmp_path / "bad.nii"))
    for data, settings, words in (
        (np.zeros((3, 4, 5), np.uint8), {}, "no units of length"),
        (np.zeros((4, 5), np.uint8), {"units": "mm"}, "a volume"),
    ):
        values, meta, _ = Labels(data, **settings).as_layer_data_tuple()
        with pytest.raises(CamSamError, match=words):
            write_labels_layer(str(tmp_path / "x.nii"), values, meta)
    pyramid = ImageLayer([np.zeros((8, 8, 8)), np.zeros((4, 4, 4))], multiscale=True, units="mm")
    values, meta, _ = pyramid.as_layer_data_tuple()
    with pytest.raises(CamSamError, match="multiscale"):
        write_image_layer(str(tmp_path / "x.nii"), values, meta)
    assert {p.name for p in tmp_path.iterdir()} == {"bad.nii"}


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh"])
def test_other_formats_are_shown_and_saved_in_their_place(tmp_path: Path, suffix: str) -> None:
    data = np.random.default_rng(0).integers(0, 900, (5, 6, 7), dtype=np.int16)
    first = read(save(tmp_path / "scan.nii", data, AFFINES["oblique"]))
    values, meta, _ = first.as_layer_data_tuple()
    assert write_image_layer(str(tmp_path / f"b{suffix}"), values, meta)
    layer = read(tmp_path / f"b{suffix}")
    np.testing.assert_array_equal(layer.data, data.transpose())
    np.testing.assert_allclose(
        layer.data_to_world((1, 2, 3)), first.data_to_world((1, 2, 3)), atol=1e-3
    )
    assert geometry_of(layer).matches(geometry_of(first)) is None

    painted = Labels(np.ones(layer.data.shape, np.uint8), **transform_of(layer))
    painted.metadata.update(layer.metadata)
    values, meta, _ = painted.as_layer_data_tuple()
    write_labels_layer(str(tmp_path / f"mask{suffix}"), values, meta)
    back = read(tmp_path / f"mask{suffix}")
    assert isinstance(back, Labels)  # by its name
    np.testing.assert_array_equal(back.data, painted.data)


@pytest.mark.parametrize("suffix", [".nrrd", ".mgz"])
def test_frames_of_other_formats_are_the_first_axis(tmp_path: Path, suffix: str) -> None:
    import nrrd

    values = np.random.default_rng(0).integers(0, 900, (2, 3, 4, 5)).astype(np.int16)
    path = tmp_path / f"series{suffix}"
    if suffix == ".nrrd":  # a list in front, whose frames lie between one another
        header = {"kinds": ["list", "domain", "domain", "domain"]}
        nrrd.write(str(path), np.moveaxis(values, 0, -1), header, index_order="C")
    else:
        nib.save(nib.MGHImage(values.T, np.eye(4)), path)
    layer = read(path)
    assert layer.data.shape == (2, 3, 4, 5)
    assert layer.axis_labels == ("t", "z", "y", "x")
    np.testing.assert_array_equal(np.asarray(layer.data), values)


def test_segments_of_3d_slicer_have_names_and_colours(tmp_path: Path) -> None:
    from napari_cam_sam.images.image import image_from_array
    from napari_cam_sam.images.reading import read_labels
    from napari_cam_sam.images.segments import Segment
    from napari_cam_sam.images.writing import write_labels

    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1, 1], labels[2, 2] = 1, 7
    segments = (Segment(1, "Liver", (255, 0, 0)), Segment(7, "Lesion", (0, 0, 255)))
    geometry = geometry_of(read(save(tmp_path / "scan.nii", labels.T, AFFINES["LAS"])))
    write_labels(
        tmp_path / "scan.seg.nrrd", labels, image_from_array(labels, geometry=geometry),
        segments=segments,
    )  # fmt: skip
    layer = read(tmp_path / "scan.seg.nrrd")
    assert isinstance(layer, Labels)
    assert layer.name == "scan"
    np.testing.assert_array_equal(layer.data, labels)
    np.testing.assert_allclose(layer.get_color(1), (1, 0, 0, 1))
    np.testing.assert_allclose(layer.get_color(7), (0, 0, 1, 1))
    assert layer.get_color(3)[3] == 1  # what is painted later is seen
    # As the viewer's status line takes it.
    assert layer.features.to_dict("list") == {
        "index": [0, 1, 7], "name": ["background", "Liver", "Lesion"],
    }  # fmt: skip
    # Saved again with its names.
    values, meta, _ = layer.as_layer_data_tuple()
    write_labels_layer(str(tmp_path / "again.seg.nrrd"), values, meta)
    assert read_labels(tmp_path / "again.seg.nrrd").segments == segments


def test_segments_that_overlap_become_layers(tmp_path: Path) -> None:
    values = np.zeros((3, 4, 5, 2), np.uint8)
    values[1:, ..., 0] = values[:2, ..., 1] = 1
    head = (
        "NRRD0004\ntype: uchar\ndimension: 4\nspace: left-posterior-superior\nsizes: 2 5 4 3\n"
        "space directions: none (1,0,0) (0,1,0) (0,0,1)\nkinds: list domain domain domain\n"
        "encoding: raw\n"
    )
    for n, name in enumerate(("Liver", "Lesion")):
        head += f"Segment{n}_ID:=S{n}\nSegment{n}_Name:={name}\nSegment{n}_Layer:={n}\n"
        head += f"Segment{n}_LabelValue:=1\n"
    path = tmp_path / "ct.seg.nrrd"
    path.write_bytes(head.encode() + b"\n" + values.tobytes())
    found = reader.read_volume_layers(str(path))
    assert [(meta["name"], kind) for _, meta, kind in found] == [
        ("ct: Liver", "labels"), ("ct: Lesion", "labels"),
    ]  # fmt: skip
    np.testing.assert_array_equal(found[0][0], values[..., 0])
    np.testing.assert_array_equal(found[1][0], 2 * values[..., 1])


@pytest.mark.parametrize("sample", [ct_sample, ultrasound_sample, shapes_sample])
def test_samples_come_with_a_truth_in_the_same_place(sample) -> None:  # type: ignore[no-untyped-def]
    (data, image_meta, first), (truth, truth_meta, second) = sample()
    assert (first, second) == ("image", "labels")
    image, labels = ImageLayer(data, **image_meta), Labels(truth, **truth_meta)
    assert labels.data.any()
    assert geometry_of(image).matches(geometry_of(labels)) is None
    np.testing.assert_array_equal(image.extent.world, labels.extent.world)


def test_the_manifest_names_what_is_there() -> None:
    folder = Path(napari_cam_sam.__file__).parent
    manifest = PluginManifest.from_file(folder / "napari.yaml")
    manifest.validate_imports()
    assert manifest.name == "napari-cam-sam"
    assert (folder.parents[1] / "napari.yaml").read_text() == (folder / "napari.yaml").read_text()


def test_what_reading_decided_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("napari.utils.notifications.show_info", said.append)
    path = save(tmp_path / "scan.nii", np.ones((3, 3, 3), np.int16), np.eye(4))
    read(path)
    assert not said
    path.write_bytes(path.read_bytes() + b"more")
    read(path)
    assert said == [
        "scan: 4 bytes follow its voxels and are not read: see whether the header declares all "
        "slices and frames."
    ]


def test_an_mr_is_opened_at_percentiles_and_not_dark_for_a_few_bright_voxels(
    tmp_path: Path,
) -> None:
    data = np.random.default_rng(0).integers(0, 900, (30, 40, 20), dtype=np.int16)
    data[0, 0, :10] = 30000
    layer = read(save(tmp_path / "scan.nii", data, AFFINES["LAS"]))
    assert isinstance(layer, ImageLayer)
    low, high = layer.contrast_limits
    assert 0 <= low <= 20
    assert 880 <= high <= 900
    # What has no values to choose limits by can still be looked at.
    empty = np.full((3, 4, 5), np.nan, np.float32)
    assert np.isnan(read(save(tmp_path / "empty.nii", empty, AFFINES["LAS"])).data).all()
