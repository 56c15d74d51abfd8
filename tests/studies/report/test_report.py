"""The page holds all it shows, shows what the statistics say, and survives what is in a table."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.studies.report import page as report
from napari_cam_sam.studies.report import statistics
from napari_cam_sam.studies.report import tables as report_tables
from napari_cam_sam.studies.report import words as report_words
from napari_cam_sam.studies.report.figures import CaseView


class Page(HTMLParser):
    """What a page consists of: tags with their attributes, and the cells of its tables."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows, self._cell = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = ""

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self._cell is not None:
            self.rows[-1].append(self._cell.strip())
            self._cell = None

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def study_folder(tmp_path):
    """Write a table as a finished study leaves it."""

    def make(table, record=None):
        table.to_parquet(tmp_path / "results.parquet")
        known = {"name": "Lesions", "state": "finished", "cases": {"all": 51, "done": 51}}
        text = json.dumps({**known, **(record or {})})
        (tmp_path / "study.json").write_text(text, encoding="utf-8")
        return tmp_path

    return make


def view(case, setting):
    truth = np.zeros((24, 36), bool)
    truth[6:16, 8:20] = True
    box = Box(6, 8, 16, 20)
    prompts = PlanePrompts(objects=(ObjectPrompt(1, (Point(10, 12), Point(1, 1, False)), box),))
    plane = np.where(truth, 60, 160).astype(np.uint8)
    return CaseView(plane, truth.astype(np.float32), prompts, np.roll(truth, 2, 0), truth)


def test_the_page_is_whole_by_itself_and_can_be_read_without_eyes(lesions, study_folder):
    path = report.write_report(study_folder(lesions), render=view)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    links = [a.get("src") or a.get("href") for _, a in page.tags if "src" in a or "href" in a]
    assert len(links) > 10
    assert all(link.startswith(("data:image/", "#")) for link in links)
    assert "url(" not in text
    assert "@import" not in text
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    pictures = page.all("img")
    assert len(pictures) == 3 + 9
    assert all(len(one["alt"]) > 20 for one in pictures)
    assert len(page.all("caption")) == len(page.all("table")) > 8
    assert page.all("html") == [{"lang": "en"}]


def test_the_table_shows_what_the_statistics_say(lesions, study_folder):
    page = Page(report.write_report(study_folder(lesions)).read_text(encoding="utf-8"))
    found = statistics.summarise(lesions, "dice").set_index("setting").loc["hirescam, ours"]
    row = next(row for row in page.rows if row[0] == "hirescam, ours")
    assert row[1] == "51"
    assert row[4] == f"{found['mean']:.3f} [{found.ci_low:.3f}, {found.ci_high:.3f}]"
    assert row[5] == f"{found['median']:.3f} ({found.p25:.3f}–{found.p75:.3f})"
    assert row[7] == f"{found.percent_of_truth:.1f}"
    one = statistics.paired_difference(lesions, "dice", "truth-box", "layer-cam, s1")
    row = next(row for row in page.rows if row[:2] == ["truth-box", "layer-cam, s1"])
    assert row[2] == f"+{one.mean:.3f} [{one.ci_low:.3f}, {one.ci_high:.3f}]"
    assert row[6] == "50 (1 left out)"
    failed = next(row for row in page.rows if row[0] == "failed")
    assert failed[1].startswith("The truth has shape (4, 4)")
    # Thresholds in a reason do not make 7 reasons.
    assert len([row for row in page.rows if row[0] == "no prompt"]) == 1


def test_the_page_is_the_same_for_the_same_results(lesions, study_folder, tmp_path):
    folder = study_folder(lesions)
    first = report.write_report(folder, render=view, pictures=1).read_bytes()
    other = report.write_report(folder, render=view, pictures=1, output=tmp_path / "b.html")
    assert other.read_bytes() == first


def test_names_of_a_table_cannot_become_code(lesions, study_folder):
    evil = "<script>alert(1)</script>\"'&"
    table = lesions.replace({"layer-cam, s1": evil, "benign (1)": evil, "benign": evil})
    table.loc[table["status"] == "no-prompt", "reason"] = evil
    folder = study_folder(table, {"name": evil, "problems": [evil], "command": ["study", evil]})
    page = report.write_report(folder, render=view)
    text = page.read_text(encoding="utf-8")
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert text.count("<script") == 1


def test_many_settings_fold(make_table, study_folder):
    table = make_table(n_cases=8, n_settings=60, annotator=False)
    text = report.write_report(study_folder(table)).read_text(encoding="utf-8")
    page = Page(text)
    heads = [row[0] for row in page.rows]
    assert all(heads.count(s) >= 1 for s in table["setting"].unique())
    means = statistics.summarise(table, "dice")["mean"].sort_values(ascending=False)
    assert page.rows[1][3 + 1].startswith(f"{means.iloc[0]:.3f}")
    # Three figures of at most 24 settings, of which the first is open.
    assert len(re.findall(r'alt="Box plots', text)) == 3
    assert text.index("The other settings") < text.index("Settings 25 to 48")
    n_strategies = table[table["source"] == "cam"]["strategy"].nunique()
    assert f"and {n_strategies - 6} more from heatmaps" in text
    assert len(text) < 4e6


def test_worst_median_and_best_cases(lesions):
    setting, cases = report.picture_cases(lesions, "dice", 3)
    means = statistics.summarise(lesions, "dice").set_index("setting")["mean"]
    cams = means.drop(["truth-box", "annotator"])
    assert setting == cams.idxmax()
    rows = lesions[(lesions["setting"] == setting) & (lesions["metric"] == "dice")]
    values = rows[rows["status"] == "ok"].set_index("case")["value"].sort_values()
    assert cases["worst"] == values.index[:3].to_list()
    assert cases["best"] == values.index[-3:].to_list()[::-1]
    assert values.median() == pytest.approx(values[cases["median"]].mean(), abs=0.03)
    # Of a distance the best are the lowest.
    setting, cases = report.picture_cases(lesions, "hd95", 1)
    rows = lesions[(lesions["setting"] == setting) & (lesions["metric"] == "hd95")]
    values = rows[rows["status"] == "ok"].set_index("case")["value"]
    assert cases["best"] == [values.idxmin()]
    assert cases["worst"] == [values.idxmax()]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_few_cases_are_shown_once_each(small_table, n):
    table = small_table({"x": np.linspace(0.1, 0.9, n)})
    _, cases = report.picture_cases(table, "dice", 3)
    shown = [case for part in cases.values() for case in part]
    assert len(shown) == len(set(shown)) == (n if n < 2 else 3 if n >= 3 else 2)


@pytest.mark.parametrize("error", [CamSamError, MemoryError])
def test_a_case_that_cannot_be_run_again_says_why(lesions, study_folder, error):
    def gone(case, setting):
        raise error(f"{case} has moved.")

    told = []
    folder = study_folder(lesions)
    page = report.write_report(
        folder, render=gone, pictures=1, progress=lambda done, of: told.append((done, of))
    )
    assert page.read_text(encoding="utf-8").count("has moved.") == 3
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_study_that_runs_is_reported_from_its_cases(lesions, tmp_path):
    (tmp_path / "cases").mkdir()
    record = {"state": "running", "cases": {"all": 51, "done": 0}}
    (tmp_path / "study.json").write_text(json.dumps(record), encoding="utf-8")
    for i, (_, part) in enumerate(list(lesions.groupby("case"))[:5]):
        part.to_parquet(tmp_path / "cases" / f"{i}.parquet")
    # A file that is being written, or was when the study was killed, is none of them.
    (tmp_path / "cases" / ".0a1b2c-5.parquet").write_bytes(b"PAR1")
    # The table of an earlier, shorter run is not what is read.
    lesions[:10].to_parquet(tmp_path / "results.parquet")
    text = report.write_report(tmp_path).read_text(encoding="utf-8")
    assert "The study is not finished:</strong> 5 of 51 cases are done." in text


def test_settings_stand_in_the_order_of_the_study(lesions, study_folder):
    names = ["truth-box", "hirescam, s1", "annotator"]
    folder = study_folder(
        lesions, {"study": {"settings": dict.fromkeys(names)}, "compare": [names[:2]]}
    )
    results = report.read_results(folder)
    assert results.table["setting"].unique()[:3].tolist() == names
    assert report.default_pairs(names, results.record) == [("truth-box", "hirescam, s1")]
    text = report.write_report(folder).read_text(encoding="utf-8")
    assert "The comparisons that the study asks for" in text
    assert report.default_pairs(names, {}) == [
        ("hirescam, s1", "truth-box"), ("annotator", "truth-box"), ("annotator", "hirescam, s1"),
    ]  # fmt: skip
    six = list("abcdef")
    assert report.default_pairs(six, {}) == [(one, "a") for one in "bcdef"]


def test_planes_without_a_truth_do_not_make_a_volume_one(make_rows):
    rows_of, factors, frame = make_rows
    x = factors("x")
    nothing = {"": np.nan}
    table = frame(
        rows_of("whole", x, {"dice": 0.6}, plane=-1)
        + rows_of("whole", x, {"dice": 0.7}, plane=0)
        + rows_of("whole", x, nothing, plane=1, status="no-truth", reason="empty here")
        + rows_of("healthy", x, nothing, plane=-1, status="no-truth", reason="empty here")
    )
    story = report_words.story(table, statistics.case_counts(table), ["x"], "dice")
    assert "1 run without a truth." in story
    listed = report_tables.reason_table(table)
    assert [row[-1].text for row in listed.rows] == ["healthy"]


def test_heatmaps_alone_are_reported_by_auprc_beside_prevalence(lesions, study_folder):
    table = lesions[lesions["source"] == "heatmap"]
    assert report.default_metric(table) == "auprc"
    text = report.write_report(study_folder(table)).read_text(encoding="utf-8")
    prevalence = table[table["metric"] == "prevalence"]["value"].mean()
    assert f"here {prevalence:.3f} in the mean" in text
    first = next(row for row in Page(text).rows if row[0] == "heatmap/hirescam")
    found = table[(table["setting"] == "heatmap/hirescam") & (table["metric"] == "prevalence")]
    assert first[4] == f"{found['value'].mean():.3f}"


def test_no_scores_at_all_is_said_with_a_reason(make_rows, study_folder):
    rows_of, factors, frame = make_rows
    table = frame(
        rows_of("a", factors("x"), {"": np.nan}, status="failed", reason="The file is corrupt.")
    )
    with pytest.raises(CamSamError, match=r"no scores to report; .* The file is corrupt"):
        report.write_report(study_folder(table))


def test_folders_that_are_no_study_are_refused(lesions, tmp_path):
    with pytest.raises(CamSamError, match="is no folder"):
        report.write_report(tmp_path / "nothing")
    with pytest.raises(CamSamError, match=r"no results.parquet and no case"):
        report.write_report(tmp_path)
    path = tmp_path / "results.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(CamSamError, match="damaged"):
        report.write_report(tmp_path)
    lesions[["case", "value"]].to_parquet(path)
    with pytest.raises(CamSamError, match="has no column 'setting'"):
        report.write_report(tmp_path)
    lesions.to_parquet(path)
    with pytest.raises(CamSamError, match="no score 'dise'"):
        report.write_report(tmp_path, metric="dise")
    (tmp_path / "study.json").write_text("{", encoding="utf-8")
    with pytest.raises(CamSamError, match=r"no JSON: .*study.json\)"):
        report.write_report(tmp_path)
