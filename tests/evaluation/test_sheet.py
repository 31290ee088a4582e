"""Hand-counted cases; scikit-image, scipy and brute force as oracles."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.ndimage import distance_transform_edt
from skimage.morphology import skeletonize

from unet_resnet.evaluation import sheet as sheets
from unet_resnet.evaluation.sheet import CLASSES, ScoreSheet, write_scores
from unet_resnet.evaluation.thinning import dilate_disk
from unet_resnet.files import fingerprint
from unet_resnet.images import read_photo, write_png
from unet_resnet.metrics import Counts, best_threshold, count, counts_at

NAMES = ("iou", "dice", "precision", "recall")


def image(seed: int, cracks: bool = True, size: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """A truth and a map that half knows it, in steps of 1/512: (1, size, size) float and bool."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.zeros(size, size, dtype=torch.bool)
    if cracks:
        truth[torch.randint(size, (), generator=draw), 2:] = True
        truth = dilate_disk(truth, 1)
    noise = torch.randint(0, 513, truth.shape, generator=draw) / 512
    return ((noise + truth) / 2)[None], truth[None]


def sheet_of(images) -> ScoreSheet:
    sheet = ScoreSheet(0.5)
    for name, source, probability, truth in images:
        sheet.add(name, source, probability, truth)
    return sheet


IMAGES = [(f"{source}{seed}", source, *image(seed, cracks=source != "blank")) for seed, source
          in enumerate(["CFD", "CFD", "DeepCrack", "DeepCrack", "DeepCrack", "blank"])]
IMAGES.append(("quiet", "DeepCrack", torch.zeros(24, 24), torch.zeros(24, 24)))


def brute(images) -> dict:
    """Pooled scores and means over images, from scratch, with scipy and scikit-image."""
    def parts(probability, truth):
        truth, found = truth.numpy().squeeze() > 0, probability.numpy().squeeze() >= 0.5
        near = {"": (found, truth, truth, found)}
        for tolerance in (2, 5):
            around = [distance_transform_edt(~mask) <= tolerance if mask.any() else mask
                      for mask in (truth, found)]
            near[f"_{tolerance}px"] = (found, around[0], truth, around[1])
        near["cl"] = (skeletonize(found), truth, skeletonize(truth), found)
        return {key: np.array([(a & b).sum(), a.sum(), (c & d).sum(), c.sum()])
                for key, (a, b, c, d) in near.items()}

    def flat(numbers):
        result = {}
        for key, (hits, predicted, found, true) in numbers.items():
            precision, recall = hits / predicted, found / true
            dice = 2 * precision * recall / (precision + recall)
            result |= ({"cldice": dice} if key == "cl" else
                       dict(zip((name + key for name in NAMES),
                                (dice / (2 - dice), dice, precision, recall))))
        return result

    def best(pairs):
        probability, truth = (torch.cat([x.flatten() for x in column]) for column in zip(*pairs))
        return max(count(probability >= k / 256, truth == 1).dice for k in range(1, 256))

    numbers = [parts(probability, truth) for *_, probability, truth in images]
    cracked = [i for i, (*_, truth) in enumerate(images) if truth.any()]
    each = [flat(numbers[i]) for i in cracked]
    return {"pooled": flat({key: sum(n[key] for n in numbers) for key in numbers[0]})
            | {"ods_oracle": best([rest for _, _, *rest in images])},
            "mean_over_images": {key: np.mean([row[key] for row in each]) for key in each[0]}
            | {"ois_oracle": np.mean([best([images[i][2:]]) for i in cracked])}}


def test_summary_equals_brute_force():
    summary = sheet_of(IMAGES).summary()
    groups = {"CFD": IMAGES[:2], "DeepCrack": IMAGES[2:5] + IMAGES[6:]}
    for got, images in [(summary["total"], IMAGES),
                        *((summary["sources"][name], groups[name]) for name in groups)]:
        for block, expected in brute(images).items():
            assert {key: got[block][key] for key in expected} == pytest.approx(expected)
    assert list(summary["sources"]) == ["CFD", "DeepCrack", "blank"]
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_accuracy_beside_the_black_answer():
    pooled = sheet_of(IMAGES).summary()["total"]["pooled"]
    right = sum(int(((p >= 0.5).flatten() == (t > 0).flatten()).sum()) for *_, p, t in IMAGES)
    black = sum(int((t == 0).sum()) for *_, t in IMAGES)
    assert pooled["images"] == 7 and pooled["pixels"] == 7 * 24 * 24
    assert pooled["accuracy"] == right / pooled["pixels"]
    assert pooled["all_black_accuracy"] == black / pooled["pixels"]


def test_main_scores_are_those_of_the_total():
    total = sheet_of(IMAGES).summary()["total"]
    main = sheet_of(IMAGES).main_scores()
    for title, block in (("pooled", "pooled"),
                         ("mean over the images with cracks", "mean_over_images")):
        assert list(main[title]) == [*NAMES, "cldice"]
        assert main[title].items() <= total[block].items()
    assert ScoreSheet(0.5).main_scores() == {}


def test_images_without_cracks_have_their_own_block():
    blank, alarm = torch.zeros(10, 10), torch.zeros(10, 10)
    alarm[0, :3] = 1
    crack = (alarm > 0) & (torch.arange(10) < 2)
    only_blank = sheet_of([("a", "s", blank, blank), ("b", "s", alarm, blank)])
    with_crack = sheet_of([("a", "s", blank, blank), ("b", "s", alarm, blank),
                           ("c", "s", alarm, crack)])
    block = {"images": 2, "false_alarm_share": 0.5, "false_pixels_per_megapixel": 15000.0}
    for sheet in (only_blank, with_crack):
        assert sheet.summary()["total"]["crack_free"] == block
    total = with_crack.summary()["total"]
    assert total["pooled"]["precision"] == 2 / 6  # the false alarm costs precision
    assert total["mean_over_images"]["precision"] == 2 / 3  # of one image, not three
    assert total["mean_over_images"]["images"] == 1
    total = only_blank.summary()["total"]
    assert total["pooled"]["accuracy"] == 197 / 200
    assert all(total["pooled"][key] is None for key in (*NAMES, "dice_5px", "cldice", "ods_oracle",
                                                        "ods_oracle_threshold",
                                                        "lost_by_threshold"))
    assert set(total["mean_over_images"].values()) == {0, None}
    assert only_blank.rows[1]["iou"] is None and only_blank.rows[1]["fp"] == 3
    no_blank = sheet_of([("c", "s", alarm, crack)]).summary()["total"]["crack_free"]
    assert no_blank == {"images": 0, "false_alarm_share": None, "false_pixels_per_megapixel": None}


def test_rows_average_to_the_mean_over_images():
    sheet = sheet_of(IMAGES)
    mean = sheet.summary()["total"]["mean_over_images"]
    for key in (*NAMES, "iou_2px", "cldice", "ois_oracle"):
        column = [row[key] for row in sheet.rows if row[key] is not None]
        assert len(column) == mean["images"] == 5
        assert math.fsum(column) / 5 == mean[key]
    assert [row["name"] for row in sheet.rows] == [name for name, *_ in IMAGES]
    assert all(row["tp"] + row["fp"] + row["fn"] + row["tn"] == row["pixels"] for row in sheet.rows)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.permutations(IMAGES))
def test_the_order_of_images_does_not_matter(images):
    assert sheet_of(images).summary() == sheet_of(IMAGES).summary()


def test_the_histograms_give_the_counts_of_the_set():
    sheet = sheet_of(IMAGES)
    threshold, dice = best_threshold([sum(sheet.histograms.values())])
    assert dice == sheet.summary()["total"]["pooled"]["ods_oracle"]
    for source in ("CFD", "DeepCrack", "blank"):
        direct = [count(p.flatten() >= threshold, t.flatten() > 0)
                  for _, of, p, t in IMAGES if of == source]
        assert counts_at(sheet.histograms[source], threshold) == sum(direct, Counts(0, 0, 0, 0))


def bands(*widths: int, length: int = 200) -> torch.Tensor:
    """A mask with one straight crack of each width, below each other."""
    mask = torch.zeros(sum(widths) + 10 * len(widths), length, dtype=torch.bool)
    top = 5
    for width in widths:
        mask[top:top + width] = True
        top += width + 10
    return mask


def test_recall_by_width_of_hand_made_cracks():
    """Of each crack a known part is found: the left tenth, fifth, half, and four fifths."""
    widths, shares = (3, 4, 5, 19, 20, 49, 50, 80), (0.1, 0.2, 0.5, 0.8, 0.1, 0.2, 0.5, 0.8)
    truth = bands(*widths)
    probability = torch.zeros(truth.shape)
    top = 0
    for width, share in zip(widths, shares):
        probability[top:top + width + 10, :int(200 * share)] = 1  # false ones beside it, too
        top += width + 10
    summary = sheet_of([("a", "wall", probability, truth)]).summary()
    recall, total = summary["total"]["recall_by_width"], sum(widths)
    assert list(recall) == [f"{what}_{name}" for what in ("recall", "share") for name in CLASSES]
    for i, name in enumerate(CLASSES):
        (one, other), (part, rest) = widths[2 * i:2 * i + 2], shares[2 * i:2 * i + 2]
        both = one + other
        assert recall[f"recall_{name}"] == pytest.approx((one * part + other * rest) / both)
        assert recall[f"share_{name}"] == pytest.approx(both / total)


def test_missed_wide_cracks_show_where_the_total_hides_them():
    """Pooled per source and in total; a class without pixels has no recall."""
    thin, wide = bands(*[4] * 60), bands(60, length=60)
    sheet = sheet_of([("a", "thin", thin.float(), thin), ("b", "wide", wide * 0.2, wide),
                      ("c", "blank", torch.zeros(9, 9), torch.zeros(9, 9))])
    summary = sheet.summary()
    total = summary["total"]["recall_by_width"]
    assert summary["total"]["pooled"]["recall"] > 0.9
    assert (total["recall_below_5px"], total["recall_from_50px"]) == (1, 0)
    assert total["share_from_50px"] == 3600 / (3600 + 48000)
    sources = {name: each["recall_by_width"] for name, each in summary["sources"].items()}
    assert sources["thin"]["recall_from_50px"] is None and sources["thin"]["share_below_5px"] == 1
    assert sources["wide"]["recall_from_50px"] == 0
    assert set(sources["blank"].values()) == {None}
    row = next(line for line in sheet.table().split("\n\n")[2].splitlines()
               if line.startswith("wide"))
    assert row.split() == ["wide", "-", "-", "-", "0.0000", "0.0000", "0.0000", "0.0000", "1.0000"]


def test_what_a_source_loses_by_the_shared_threshold():
    truth = torch.arange(100) < 10
    sure = torch.where(truth, 0.9, 0.1)  # right at 0.5
    shy = torch.where(truth, 0.3, 0.1)  # at 0.5 nothing is found, at 0.2 all
    sheet = sheet_of([("a", "sure", sure[None], truth[None]), ("b", "shy", shy[None], truth[None])])
    summary = sheet.summary()
    lost = {name: each["pooled"]["lost_by_threshold"] for name, each in summary["sources"].items()}
    assert lost == {"sure": 0, "shy": 1}
    total = summary["total"]["pooled"]
    assert total["lost_by_threshold"] == pytest.approx(1 - 2 * 10 / (10 + 20))
    assert 0.1 < summary["sources"]["shy"]["pooled"]["ods_oracle_threshold"] <= 0.3


def test_table_keeps_the_two_averages_apart():
    table = sheet_of(IMAGES).table()
    assert max(map(len, table.splitlines())) <= 100
    blocks = [block.splitlines() for block in table.split("\n\n")]
    titles = [block[0] for block in blocks]
    assert [title.split()[0] for title in titles] == [
        "Scores", "Pooled", "Recall", "Pooled", "Mean", "Mean", "Images", "Pixel", "oracle:"]
    for block in blocks[1:-1]:
        assert [line.split()[0] for line in block[-4:]] == ["CFD", "DeepCrack", "blank", "total"]
    total = sheet_of(IMAGES).summary()["total"]
    assert blocks[1][-1].split()[1:3] == ["7", f"{total['pooled']['iou']:.4f}"]
    assert blocks[4][-1].split()[1:3] == ["5", f"{total['mean_over_images']['iou']:.4f}"]
    assert blocks[4][-2].split()[1:] == ["0"] + ["-"] * 6


def test_what_is_refused():
    truth = torch.tensor([[True, False]])
    with pytest.raises(ValueError, match="photo.*255"):
        ScoreSheet(0.5).add("photo", "", truth.float(), 255 * truth)


def test_the_worst_come_first(monkeypatch, tmp_path, capsys):
    """Right answers are not shown, those on crack-free photos neither, whatever 0/0 may be."""
    sheet, photos, shown = ScoreSheet(0.5), {}, []
    left = (torch.arange(64) < 32).expand(1, 64, 64)
    for name, predicted, truth in (("quiet", left & ~left, left & ~left), ("right", left, left),
                                   ("wrong", left, ~left), ("alarm", left, left & ~left),
                                   ("half", left, left | True)):
        sheet.add(name, "wall", predicted.float(), truth)
        photos[name] = tmp_path / f"{name}.png"
        for path in (photos[name], tmp_path / f"{name}_overlay.png"):
            write_png(path, torch.randint(256, (3, 64, 64)).byte())
    monkeypatch.setattr(sheets.overlay, "caption",
                        lambda picture, text: shown.append(text) or picture)
    write_scores(sheet, photos, tmp_path, {"checkpoint": "best.pt"},
                 {"a": fingerprint(photos["half"]), "b": None, "c": "0" * 16}.values())
    order = [text.splitlines()[0] for text in shown]
    assert set(order[:2]) == {"wrong", "alarm"} and order[2] == "half"
    assert len(order) == 3, "what is right is not among the worst"
    assert read_photo(tmp_path / "worst.png").shape == (3, 320, 6 * 324 - 4)
    assert json.loads((tmp_path / "scores.json").read_text()) == {
        "checkpoint": "best.pt", "validation_photos": 1} | json.loads(json.dumps(sheet.summary()))
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert len(lines) == 6 and lines[0].split(",") == list(sheet.rows[0])
    printed = capsys.readouterr().out
    assert sheet.table() in printed and "chosen on 1 of these photos" in printed
