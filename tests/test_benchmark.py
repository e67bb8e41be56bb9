"""The ablation, the sweep of λ, the mixed batch, and the share of the Fisher information."""

import importlib
import importlib.util
import itertools
import json
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT, load, same_weights
from torch import nn

from common import Judge

sys.path.insert(0, str(ROOT / "benchmark"))
import ablation
import fisher
import joint_mixed
import side_by_side
import sweep


def exit_line(function, *arguments):
    """The line with which a function ends the process."""
    with pytest.raises(SystemExit) as stop:
        function(*arguments)
    assert stop.value.code.startswith("error: ")
    assert "\n" not in stop.value.code
    return stop.value.code


# Runs side by side


def test_runs_end_in_the_order_of_their_commands(tmp_path):
    commands = []
    for name in ("a", "b", "c"):
        path = str(tmp_path / name)
        commands.append([sys.executable, "-c", f"open({path!r}, 'w').close()"])
    ended = side_by_side.train(commands, jobs=2)
    for words, name in zip(ended, ("a", "b", "c"), strict=True):
        assert words == commands["abc".index(name)]
        assert (tmp_path / name).exists()


def test_a_run_that_fails_is_named_in_one_line():
    fails = [sys.executable, "-c", "raise SystemExit(3)"]
    message = exit_line(list, side_by_side.train([fails], jobs=1))
    assert " ".join(fails) in message


# The ablation

VARIANTS = {
    name.removeprefix("mergan_ra_"): patch for name, patch in ablation.find_variants().items()
}
del VARIANTS["mergan_ra"]


def test_every_choice_has_its_variant():
    assert VARIANTS.keys() == {
        "critic_anew",
        "generator_first",
        "mean_alignment",
        "pytorch_weights",
    }


@pytest.mark.parametrize(
    "name, first_task",
    [("critic_anew", 2), ("generator_first", 1), ("mean_alignment", 2), ("pytorch_weights", 1)],
)
def test_a_variant_learns_otherwise_from_that_task_on(
    name, first_task, finished, tmp_path, tiny_options, call_main
):
    name = f"mergan_ra_{name}"
    path = ablation.write_variant(name, ablation.find_variants()[name], tmp_path)
    spec = importlib.util.spec_from_file_location(name, path)
    variant = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(variant)
    run_dir = tmp_path / "run"
    options = [*tiny_options("mergan_ra", run_dir), "--num-tasks", 2]
    assert call_main(variant, *options) is None
    for task in (1, 2):
        ours = load(run_dir / f"task_{task}.pt")
        theirs = load(finished("mergan_ra") / f"task_{task}.pt")
        assert ours["method"] == name
        equal = same_weights(ours["generator"], theirs["generator"])
        assert equal == (task < first_task)


def test_a_patch_that_no_longer_fits_is_named_in_one_line(tmp_path):
    old = (ablation.PATCHES / "mean_alignment.patch").read_text(encoding="utf-8")
    patch = tmp_path / "old.patch"
    patch.write_text(old.replace("    return (fake", "    return (painted"), encoding="utf-8")
    message = exit_line(ablation.patched, patch)
    assert f"{patch} no longer fits mergan_ra.py (patch failed: mergan_ra.py:" in message
    assert "make it anew" in message


def test_without_git_one_line_says_what_is_missing(monkeypatch):
    monkeypatch.setenv("PATH", "")
    message = exit_line(ablation.patched, ablation.PATCHES / "mean_alignment.patch")
    assert message == "error: git not found, which applies the patches of variants; install it"


def test_a_run_is_not_continued_with_another_script(tmp_path):
    patches = ablation.PATCHES / "mean_alignment.patch", ablation.PATCHES / "critic_anew.patch"
    script = ablation.write_variant("mergan_ra_x", patches[0], tmp_path)
    before = script.read_text(encoding="utf-8")
    assert ablation.write_variant("mergan_ra_x", patches[0], tmp_path) == script
    message = exit_line(ablation.write_variant, "mergan_ra_x", patches[1], tmp_path)
    assert f"{script} is another version of this variant" in message
    assert script.read_text(encoding="utf-8") == before


# The sweep


def results_row(method, fisher, mode, value, mean):
    row = {"method": method, "fisher": fisher, "mode": mode, "lambda": value}
    for tasks in (2, 3):
        row[f"after_{tasks}"] = {"mean": mean, "old": 1, "new": 2}
    return row


def test_a_sweep_marks_the_best_value_of_each_method_surrogate_and_mode():
    rows = []
    for value, mean in [(5, 20), (20, 40), (80, 30), (320, 10)]:
        rows.append(results_row("ewc", "pixels", "online", value, mean))
    # Of this surrogate the other values are missing
    rows.append(results_row("ewc", "critic", "online", 3e3, 10))
    text = sweep.table({"arguments": {"iters": 4, "num_tasks": 3}, "rows": rows})
    assert text.startswith("iters 4, num tasks 3; accuracy in percent\n")
    assert "| ewc | pixels | online | 20 (best) | 40.0 | 1.0 | 2.0 | 40.0 | 1.0 | 2.0 |" in text
    assert "| ewc | pixels | online | 80 | 30.0 |" in text
    assert "| ewc | critic | online | 3000 | 10.0 |" in text
    assert text.count("(best)") == 1


def test_a_sweep_measures_only_what_is_not_measured_yet(finished, call_main, tmp_path, monkeypatch):
    grid = {("ewc", "pixels", "online"): [5, 20], ("rewc", "critic", "mean"): [300]}
    monkeypatch.setattr(sweep, "GRID", grid)
    reference = SimpleNamespace(judge=Judge(3, 1).eval())
    monkeypatch.setattr(sweep, "open_reference", lambda data: reference)
    arguments = {"iters": 4, "learning_rate": 1e-3, "num_tasks": 3, "seed": 1}
    known = results_row("ewc", "pixels", "online", 5, 50)
    path = tmp_path / "sweep_ewc.json"
    path.write_text(json.dumps({"arguments": arguments, "rows": [known]}))
    trained = []

    def train(commands, jobs):
        for words in commands:
            trained.append(words)
            shutil.copytree(finished("ewc"), words[words.index("--run-dir") + 1])
            yield words

    monkeypatch.setattr(sweep, "train", train)
    options = ["--iters", 4, "--learning-rate", 1e-3, "--num-tasks", 3, "--out", tmp_path]
    assert call_main(sweep, *options) is None
    assert [words[1] for words in trained] == ["ewc.py", "rewc.py"]
    assert trained[0][2:8] == ["--fisher", "pixels", "--ewc-mode", "online", "--lambda-ewc", "20"]
    rows = json.loads(path.read_text())["rows"]
    assert [sweep.position(row) for row in rows] == [
        ("ewc", "pixels", "online", 5),
        ("ewc", "pixels", "online", 20),
        ("rewc", "critic", "mean", 300),
    ]
    assert rows[0] == known
    accuracy = rows[1]["after_3"]
    assert accuracy["mean"] == pytest.approx(sum(accuracy["digits"]) / 3)
    assert accuracy["old"] == pytest.approx(sum(accuracy["digits"][:2]) / 2)
    assert accuracy["new"] == accuracy["digits"][2]
    assert len(rows[1]["after_2"]["digits"]) == 2
    text = (tmp_path / "sweep_ewc.md").read_text(encoding="utf-8")
    assert text.count("(best)") == 2

    # With other arguments it is another sweep
    message = call_main(sweep, *options, "--seed", 2)
    assert message.startswith(f"error: {path} is a sweep with other arguments, ")


def test_the_committed_table_is_that_of_the_committed_sweep():
    results = json.loads((ROOT / "results" / "sweep_ewc.json").read_text())
    text = (ROOT / "results" / "sweep_ewc.md").read_text(encoding="utf-8")
    assert sweep.table(results) == text


def lambdas_of_the_sweep(method, surrogate):
    """λ and mean accuracy of every run of the sweep of 400 steps a task, --ewc-mode online."""
    rows = json.loads((ROOT / "results" / "sweep_ewc.json").read_text())["rows"]
    key = (method, surrogate, "online")
    return {row["lambda"]: row["after_5"]["mean"] for row in rows if sweep.key_of(row) == key}


def lambdas_of_longer_runs(method, surrogate):
    """λ and mean accuracy of the runs of 1 600 steps a task, with the default --ewc-mode."""
    paths = (ROOT / "results" / "mnist_small").glob(f"{method}_*.json")
    scores = [json.loads(path.read_text()) for path in paths]
    found = {}
    for score in scores:
        options = score["arguments"]
        kind = (options["ewc_mode"], options["fisher"], options["seed"])
        if kind == ("fresh", surrogate, 1):
            found[options["lambda_ewc"]] = score["average_accuracy"][-1]
    return found


@pytest.mark.parametrize(
    ("method", "surrogate", "measured"),
    [
        ("ewc", "critic", lambdas_of_the_sweep),
        ("ewc", "pixels", lambdas_of_longer_runs),
        ("rewc", "critic", lambdas_of_the_sweep),
        ("rewc", "pixels", lambdas_of_longer_runs),
    ],
)
def test_the_default_lambda_is_the_best_of_those_tried(
    method, surrogate, measured, monkeypatch, capsys
):
    accuracies = measured(method, surrogate)
    best = max(accuracies, key=accuracies.get)
    assert min(accuracies) < best < max(accuracies)
    script = importlib.import_module(method)
    monkeypatch.setattr(sys, "argv", [method, "--fisher", surrogate])
    assert script.parse_args().lambda_ewc == best
    monkeypatch.setattr(sys, "argv", [method, "--help"])
    with pytest.raises(SystemExit):
        script.parse_args()
    of_lambda = capsys.readouterr().out.split("--lambda-ewc")[-1].split("\n  --")[0]
    told = of_lambda.split("[")[1].split("]")[0]  # "27; --fisher critic: 3000"
    assert f"{best:g}" in told.replace(";", "").split()


# The diagonal of the Fisher information


def test_the_share_of_the_diagonal_is_the_mean_over_pairs_of_samples():
    torch.manual_seed(0)
    g = torch.randn(5, 3)
    diagonal = total = 0.0
    for a, b in itertools.permutations(g, 2):
        diagonal += (a * b).square().sum()
        total += (a @ b).square()
    assert fisher.diagonal_share(g) == pytest.approx((diagonal / total).item(), rel=1e-5)


def test_the_share_of_the_diagonal_is_right_for_a_known_matrix():
    torch.manual_seed(0)
    covariance = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    samples = torch.randn(3000, 2) @ torch.linalg.cholesky(covariance).T
    expected = (2**2 + 3**2) / (2**2 + 1**2 + 1**2 + 3**2)
    assert fisher.diagonal_share(samples) == pytest.approx(expected, abs=0.05)
    _, eigenvectors = torch.linalg.eigh(covariance)
    assert fisher.diagonal_share(samples @ eigenvectors) == pytest.approx(1, abs=0.02)


def test_the_predicted_change_is_that_of_the_diagonal_in_the_coordinates_of_the_rotation():
    torch.manual_seed(0)
    before, after = nn.Linear(3, 2), nn.Linear(3, 2)
    gradients = {"weight": torch.randn(7, 2, 3), "bias": torch.randn(7, 2)}
    u1, _ = torch.linalg.qr(torch.randn(3, 3))
    u2, _ = torch.linalg.qr(torch.randn(2, 2))
    rotation = fisher.rewc.Rotation(before.weight.detach(), transposed=False)
    rotation.u1, rotation.u2 = u1, u2
    change = after.weight - before.weight
    of_bias = gradients["bias"].square().mean(0) * (after.bias - before.bias).square()
    plain = gradients["weight"].square().mean(0) * change.square()
    turned = (u2.T @ gradients["weight"] @ u1).square().mean(0) * (u2.T @ change @ u1).square()
    for rotations, of_weight in [({}, plain), ({"weight": rotation}, turned)]:
        found = fisher.predicted_change(before, after, gradients, rotations)
        assert found == pytest.approx((of_weight.sum() + of_bias.sum()).item(), rel=1e-5)


def test_the_table_has_every_layer_and_both_runs(finished, call_main, tmp_path):
    runs = [finished("ewc"), finished("rewc")]
    assert call_main(fisher, *runs, "--samples", 64, "--out", tmp_path) is None
    results = json.loads((tmp_path / "fisher.json").read_text())
    layers = ["linear", "deconvs.0", "deconvs.1", "deconvs.2"]
    assert list(results["layers"]) == [f"{layer}.weight" for layer in layers]
    for share in results["layers"].values():
        assert 0 < share["plain"] < share["rotated"] <= 1
    assert results["change"].keys() == {"ewc", "rewc"}
    assert all(change["true"] > 0 for change in results["change"].values())
    assert fisher.table(results) == (tmp_path / "fisher.md").read_text(encoding="utf-8")


def test_the_committed_table_is_that_of_the_committed_shares():
    results = json.loads((ROOT / "results" / "fisher.json").read_text())
    text = (ROOT / "results" / "fisher.md").read_text(encoding="utf-8")
    assert fisher.table(results) == text


def test_fisher_names_a_run_that_is_not_what_it_expects(finished, call_main, tmp_path):
    message = call_main(fisher, finished("sft"), finished("rewc"), "--out", tmp_path)
    assert message.startswith(f"error: {finished('sft')} is a run of sft; expected a run of ewc.py")
    message = call_main(fisher, finished("ewc"), tmp_path, "--out", tmp_path)
    assert message.startswith(f"error: {tmp_path} is no run (")


# Joint training with batch norm over all categories


def test_the_mixed_batch_is_normalised_together_with_a_scale_and_a_shift_for_each_category():
    torch.manual_seed(0)
    norm = joint_mixed.MixedBatchNorm2d(num_categories=3, channels=2)
    nn.init.normal_(norm.scale)
    nn.init.normal_(norm.shift)
    norm.record = True
    x = torch.randn(8, 2, 3, 3) * torch.arange(1, 9)[:, None, None, None]
    found = norm(x, torch.tensor([2, 0]))
    of_channel = x.transpose(0, 1).flatten(1)
    mean = of_channel.mean(1)[:, None, None]
    deviation = (of_channel.var(1, correction=0) + norm.eps).sqrt()[:, None, None]
    for i, image in enumerate(x):
        category = 2 if i < 4 else 0
        scale = norm.scale[category][:, None, None]
        shift = norm.shift[category][:, None, None]
        torch.testing.assert_close(found[i], (image - mean) / deviation * scale + shift)
    # The standing statistics are those of the mixed batch, whatever is drawn with them
    norm.eval()
    for i, category in [(0, 2), (4, 0)]:
        alone = norm(x[i : i + 4], torch.tensor([category]))
        torch.testing.assert_close(alone, found[i : i + 4])


def test_a_run_of_the_mixed_batch_is_a_method_of_its_own(train, finished, tmp_path):
    done = train("benchmark/joint_mixed", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "args.json").read_text())["method"] == "joint_mixed"
    ours = load(tmp_path / "run" / "task_3.pt")["generator"]
    theirs = load(finished("joint") / "task_3.pt")["generator"]
    assert not torch.equal(ours["linear.weight"], theirs["linear.weight"])
    # The first layer does not know the category, the others do
    for name in ("norms.1.standing_mean", "norms.2.standing_var"):
        assert (ours[name] == ours[name][:1]).all()
        assert not (theirs[name] == theirs[name][:1]).all()
