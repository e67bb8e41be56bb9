"""The judge: how it is trained, and the one that is shipped."""

import hashlib

import pytest
import torch
from conftest import ROOT, Brightness
from torchvision.datasets import FashionMNIST

from common import Judge, normalise
from scoring import drawing
from scoring import judge as judges
from scoring import reference as real_side
from scoring import ship
from scoring.reference import Reference


def opened(folder, dataset="idx", **data):
    """A Reference to the data in a folder, with its judge."""
    reference = Reference(dict(dataset=dataset, data_dir=folder, **data))
    reference.open_judge()
    return reference


@pytest.fixture
def imitated_mnist(tiny_data, monkeypatch):
    """A loader that takes tiny data for MNIST: a test is not to download it."""
    load = real_side.load_dataset
    monkeypatch.setattr(real_side, "load_dataset", lambda split, **_: load("idx", tiny_data, split))


def test_embed_normalises_pixels_and_takes_images_of_a_generator_as_they_are():
    shades = torch.tensor([0, 100, 150, 255], dtype=torch.uint8)
    pixels = shades.view(4, 1, 1, 1).expand(4, 1, 32, 32)
    for images in (pixels, pixels / 127.5 - 1):
        assert judges.embed(Brightness(), images).argmax(1).tolist() == [0, 0, 1, 1]
    assert torch.equal(drawing.pixels(pixels / 127.5 - 1), pixels)


@pytest.mark.parametrize("channels, size", [(1, 32), (3, 64)])
def test_the_judges_features_are_its_penultimate_layer(channels, size):
    judge, images = Judge(3, channels, size).eval(), torch.rand(5, channels, size, size)
    assert judges.embed(judge, images).shape == (5, 128) and judge(images).shape == (5, 3)
    torch.testing.assert_close(judge.head(judges.embed(judge, images)), judge(images))


@pytest.mark.parametrize("accuracy", [89.0, 91.0])
def test_a_judge_below_90_percent_is_warned_of(tiny_data, monkeypatch, capsys, tmp_path, accuracy):
    monkeypatch.setattr(Reference, "accuracy", accuracy)
    opened(tiny_data, cache_dir=tmp_path / "new" / "cache")
    assert ("warning: below 90 %" in capsys.readouterr().err) == (accuracy < 90)
    assert list((tmp_path / "new" / "cache").glob("judge-idx-*.pt"))


def test_colour_images_are_learned_for_longer_and_shifted(monkeypatch):
    monkeypatch.setattr(judges, "LEAST_STEPS", 7)
    images = torch.randint(256, (150, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(150) % 2

    def batches(images):
        """The batches that a judge learns from."""
        seen = []
        with monkeypatch.context() as patch:
            patch.setattr(
                Judge, "forward", lambda self, x: seen.append(x) or self.head(self.body(x))
            )
            judges.train_classifier(images, labels, 2, "cpu", "test")
        return seen

    learned = batches(images)
    assert [len(batch) for batch in learned] == [75] * 8  # four epochs of two batches make 7 steps
    originals = {image.numpy().tobytes() for image in normalise(images)}
    assert not any(image.numpy().tobytes() in originals for image in learned[0])
    monkeypatch.setattr(judges, "LEAST_STEPS", 11)
    assert len(batches(images)) == 12
    learned = batches(images[:, :1])
    originals = {image.numpy().tobytes() for image in normalise(images[:, :1])}
    assert len(learned) == 8 and all(image.numpy().tobytes() in originals for image in learned[0])


NAMES = {"mnist": list("0123456789"), "fashion": FashionMNIST.classes}


@pytest.mark.parametrize("dataset, names", NAMES.items())
def test_the_shipped_judge_answers_for_chosen_categories_in_their_order(dataset, names):
    saved = torch.load(ROOT / "judges" / f"{dataset}.pt", weights_only=True)
    assert saved["categories"] == names
    judge, name = judges.shipped_judge(dataset, names)
    expected = f"judges/{dataset}.pt (SHA-256 {judges.SHIPPED[dataset][:8]})"
    assert name == expected and not judge.training
    images = torch.randint(256, (20, 1, 32, 32), dtype=torch.uint8)
    whole = judge.head(judges.embed(judge, images))
    some, _ = judges.shipped_judge(dataset, [names[7], names[3], names[1]])
    torch.testing.assert_close(some.head(judges.embed(some, images)), whole[:, [7, 3, 1]])
    assert torch.equal(judges.embed(some, images), judges.embed(judge, images))
    assert torch.equal(judge.state_dict()["head.weight"], saved["judge"]["head.weight"])
    assert judges.shipped_judge("idx", names) is None
    assert judges.shipped_judge(dataset, [names[0], "ten"]) is None


def test_a_shipped_judge_that_is_not_the_shipped_one_ends_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(judges, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match="mnist.pt cannot be read .*git checkout judges/mnist.pt"):
        judges.shipped_judge("mnist", ["0", "1"])
    (tmp_path / "mnist.pt").write_bytes((ROOT / "judges" / "mnist.pt").read_bytes()[:-1])
    with pytest.raises(SystemExit, match="has SHA-256 .*, expected .*; restore it with"):
        judges.shipped_judge("mnist", ["0", "1"])


def test_a_judge_that_is_to_be_shipped_is_that_of_the_data(
    tiny_data, tmp_path, monkeypatch, capsys
):
    for module in (judges, ship):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    ship.write_judge("idx", tiny_data, 20)
    found = hashlib.sha256((tmp_path / "idx.pt").read_bytes()).hexdigest()
    assert f"SHA-256 {found}\n" in capsys.readouterr().out
    monkeypatch.setitem(judges.SHIPPED, "idx", found)
    reference = opened(tiny_data, cache_dir=tmp_path / "cache")
    assert reference.judge_name == f"judges/idx.pt (SHA-256 {found[:8]})"
    images, labels = reference.images, reference.labels
    same = judges.train_classifier(images, labels, len(reference.names), "cpu", "test", 20)
    assert torch.equal(same.head.weight, reference.judge.head.weight)


def test_mnist_is_scored_by_the_shipped_judge(imitated_mnist, tmp_path):
    reference = opened(tmp_path, "mnist")
    assert reference.judge_name.startswith("judges/mnist.pt (")
    assert not list(tmp_path.glob("judge*"))
    ten, _ = judges.shipped_judge("mnist", list("0123456789"))
    assert torch.equal(reference.judge.head.weight, ten.head.weight[:3])


def test_the_judge_learns_the_tiny_data_and_is_trained_once(tiny_data, tmp_path, monkeypatch):
    opened(tiny_data, cache_dir=tmp_path)
    monkeypatch.setattr(judges, "train_classifier", None)
    reference = opened(tiny_data, cache_dir=tmp_path)
    assert reference.accuracy > 50 and not reference.judge.training
    assert [path.name for path in tmp_path.glob("judge-idx-*")] == [reference.judge_name]
    (tmp_path / reference.judge_name).write_bytes(b"damaged")
    with pytest.raises(SystemExit, match="is damaged or not ours .*; delete it to train a new"):
        opened(tiny_data, cache_dir=tmp_path)


def test_a_judge_that_cannot_be_kept_is_told_of_and_used(tiny_data, tmp_path, monkeypatch, capsys):
    def full(state, file):
        raise RuntimeError("no space left\nand more")

    monkeypatch.setattr(torch, "save", full)
    reference = opened(tiny_data, cache_dir=tmp_path)
    told = capsys.readouterr().err
    assert "cannot be written (no space left), so the judge is not kept" in told
    assert reference.accuracy > 50 and not list(tmp_path.glob("judge*"))
