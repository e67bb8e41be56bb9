import json
import shutil

import pytest
import torch
from conftest import run_script
from torch import nn

import eval as scoring
from common import Generator

# The means and the tables


def test_forgetting_is_the_best_before_minus_the_final_over_all_but_the_newest_category():
    matrix = [[90.0, None, None], [95.0, 80.0, None], [60.0, 85.0, 99.0]]
    assert scoring.forgetting(matrix) == pytest.approx(((95 - 60) + (80 - 85)) / 2)


def test_forgetting_needs_two_rows_and_leaves_out_missing_ones():
    assert scoring.forgetting([[90.0, None]]) is None
    assert scoring.forgetting([None, None, [90.0, 80.0, 70.0]]) is None
    assert scoring.forgetting([[90.0, None, None], None, [60.0, 85.0, 99.0]]) == pytest.approx(30)


def test_mean_and_sample_standard_deviation():
    assert scoring.mean_std([1.0, 3.0, None]) == "2.00 ± 1.41"
    assert scoring.mean_std([1.0, None], 1) == "1.0"
    assert scoring.mean_std([None]) == "–"


def result(method, accuracy, **changes):
    arguments = dict(dataset="mnist", num_tasks=5, iters=400, batch_size=64, learning_rate=5e-4, width=32, seed=1)
    arguments |= dict(method=method, lambda_gp=10.0, run_dir=f"runs/{len(changes)}", data_dir="data", overwrite=False)
    matrix = [[50.0] * (t + 1) + [None] * (4 - t) for t in range(4)] + [[accuracy] * 5]
    averages = [50.0] * 4 + [accuracy]
    return dict(arguments=arguments | changes, accuracy=matrix, average_accuracy=averages, forgetting=1.0, minutes=2.0)


def rows(results):
    lines = [line for line in scoring.markdown(results).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[2:5] not in ("met", "---")]


def test_table_puts_runs_that_differ_by_seed_alone_in_one_row_with_the_papers_number():
    (row,) = rows([result("mergan_ra", 80.0), result("mergan_ra", 90.0, seed=2, run_dir="b", overwrite=True)])
    assert row[:5] == ["mergan_ra", "2", "85.00 ± 7.07", "98.19", "1.00 ± 0.00"]
    assert row[5:] == ["85.0 ± 7.1"] * 5 + ["2.0 ± 0.0"]


def test_table_never_mixes_runs_of_different_arguments_and_names_what_differs():
    table = rows([result("sft", 20.0), result("sft", 30.0, lambda_gp=1.0), result("joint", 95.0)])
    assert [row[:3] for row in table] == [
        ["joint", "1", "95.00"],
        ["sft lambda_gp=10.0", "1", "20.00"],
        ["sft lambda_gp=1.0", "1", "30.00"],
    ]


@pytest.mark.parametrize("name, value", [("iters", 800), ("learning_rate", 1e-4), ("width", 64), ("dataset", "idx")])
def test_other_settings_have_a_table_of_their_own(name, value):
    table = scoring.markdown([result("sft", 20.0), result("sft", 30.0, **{name: value})])
    assert table.count("| method |") == 2 and f"{name.replace('_', ' ')} {value}" in table
    assert [row[1:3] for row in rows([result("sft", 20.0), result("sft", 30.0, **{name: value})])] == [
        ["1", "20.00"],
        ["1", "30.00"],
    ]


def test_papers_number_is_shown_for_its_own_number_of_tasks_only():
    assert rows([result("sft", 20.0)])[0][3] == "19.87"
    assert rows([result("sft", 20.0, dataset="idx")])[0][3] == "–"


# Scores


class Brightness(nn.Module):
    """A stub of a judge: dark images are category 0, bright ones category 1."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        brightness = self.weight * x.mean((1, 2, 3))
        return torch.stack([-brightness, brightness], 1)


def painter(*bright):
    """A generator that paints the category c all bright where bright[c], else all dark."""
    generator = Generator(2, 1, latent_dim=4, width=1)
    with torch.no_grad():
        for weight in generator.parameters():
            weight.zero_()
        generator.norms[2].shift += torch.tensor([[9.0 if b else 0.0] for b in bright])
        generator.deconvs[2].weight.fill_(1)
        generator.deconvs[2].bias.fill_(-5)
    return generator


def test_a_perfect_generator_scores_100_and_a_blank_one_the_share_of_one_category():
    def accuracies(generator):
        drawn = [scoring.classify(Brightness(), scoring.draw(generator, c, 128)) for c in (0, 1)]
        return [(predicted == c).float().mean().item() for c, predicted in enumerate(drawn)]

    assert accuracies(painter(False, True)) == [1, 1]
    assert accuracies(painter(False, False)) == [1, 0]


def test_classify_normalises_pixels_and_takes_images_of_a_generator_as_they_are():
    pixels = torch.tensor([0, 100, 150, 255], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 32, 32)
    assert scoring.classify(Brightness(), pixels).tolist() == [0, 0, 1, 1]
    assert scoring.classify(Brightness(), pixels / 127.5 - 1).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("training", [True, False])
def test_draw_gives_the_same_images_whatever_was_drawn_before(training):
    generator = Generator(3, 1, latent_dim=4, width=2).train(training)
    first = scoring.draw(generator, 1, 192)
    torch.randn(5), scoring.draw(generator, 0, 64)
    assert first.shape == (192, 1, 32, 32)
    assert torch.equal(scoring.draw(generator, 1, 192), first)


def test_draw_normalises_in_groups_of_64_as_in_training():
    generator = Generator(3, 1, latent_dim=4, width=2)
    z = torch.randn(128, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.cat([generator(some_z, torch.tensor([1])) for some_z in z.split(64)])
    torch.testing.assert_close(scoring.draw(generator, 1, 128), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("statistics", ["batch", "standing"])
def test_score_fills_the_matrix_by_task_and_category(tmp_path, call_main, monkeypatch, statistics):
    arguments = dict(num_tasks=2, method="sft")
    (tmp_path / "args.json").write_text(json.dumps(arguments))
    (tmp_path / "metrics.jsonl").write_text('{"elapsed": 30.0}\n{"elapsed": 90.0}\n')
    for task, generator in [(1, painter(False, False)), (2, painter(True, True))]:
        snapshot = dict(config=generator.config, generator=generator.state_dict(), categories=["0", "1"])
        torch.save(snapshot | dict(seen=list(range(task))), tmp_path / f"task_{task}.pt")
    monkeypatch.setattr("sys.argv", ["eval.py", str(tmp_path), "--samples", "64", "--statistics", statistics, "--device", "cpu"])  # fmt: skip
    results, broken = scoring.score(tmp_path, Brightness(), 99.0, scoring.parse_args())
    assert broken == [] and results == json.loads((tmp_path / "eval.json").read_text())
    assert results["accuracy"] == [[100.0, None], [0.0, 100.0]]
    assert results["average_accuracy"] == [100.0, 50.0]
    assert results["forgetting"] == 100.0
    assert results["minutes"] == 1.5
    assert (results["judge_accuracy"], results["samples"], results["statistics"]) == (99.0, 64, statistics)


# The script


@pytest.fixture
def folder(finished, tmp_path):
    """A folder that holds a run of sft.py and one of joint.py."""
    shutil.copytree(finished("sft"), tmp_path / "runs" / "one")
    shutil.copytree(finished("joint"), tmp_path / "runs" / "two")
    return tmp_path / "runs"


def test_eval_scores_every_run_below_a_folder(folder, tiny_data):
    done = run_script("eval", folder, "--samples", "64", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "| sft | 1 |" in done.stdout and "| joint | 1 |" in done.stdout
    assert all(line[:1] in ("", "|", "*") for line in done.stdout.splitlines())  # the table alone, for a file
    assert "of 60 real test images right" in done.stderr and list(tiny_data.glob("judge-idx-*.pt"))

    results = json.loads((folder / "one" / "eval.json").read_text())
    assert results.keys() == {"average_accuracy", "accuracy", "forgetting", "judge_accuracy", "samples", "statistics",
                              "minutes", "arguments"}  # fmt: skip
    matrix = results["accuracy"]
    assert [[value is None for value in row] for row in matrix] == [[c > t for c in range(3)] for t in range(3)]
    assert all(0 <= value <= 100 for row in matrix for value in row if value is not None)
    for row, average in zip(matrix, results["average_accuracy"]):
        seen = [value for value in row if value is not None]
        assert average == pytest.approx(sum(seen) / len(seen))
    assert results["forgetting"] == pytest.approx(scoring.forgetting(matrix))
    arguments = json.loads((folder / "one" / "args.json").read_text())
    assert results["arguments"] == {k: v for k, v in arguments.items() if k not in scoring.ELSEWHERE}

    of_joint = json.loads((folder / "two" / "eval.json").read_text())
    assert of_joint["accuracy"][:2] == of_joint["average_accuracy"][:2] == [None, None]
    assert len(of_joint["accuracy"][2]) == 3 and of_joint["forgetting"] is None


def test_eval_names_what_it_cannot_read_and_scores_the_rest(folder, call_main, capsys):
    snapshot = folder / "one" / "task_2.pt"
    snapshot.write_bytes(snapshot.read_bytes()[:1000])
    (folder / "three").mkdir()
    (folder / "three" / "args.json").write_text("{")
    message = call_main(scoring, folder, "--samples", "64", "--device", "cpu")
    assert message.startswith("error: ") and "\n" not in message
    assert str(snapshot) in message and str(folder / "three" / "args.json") in message
    assert "| sft | 1 |" in capsys.readouterr().out
    matrix = json.loads((folder / "one" / "eval.json").read_text())["accuracy"]
    assert matrix[1] is None and matrix[0][0] is not None and None not in matrix[2]


def test_a_run_that_has_just_begun_is_scored_as_far_as_it_is(folder, call_main, capsys):
    for path in [*(folder / "one").glob("task_*.pt"), folder / "one" / "metrics.jsonl"]:
        path.unlink()
    assert call_main(scoring, folder, "--samples", "64", "--device", "cpu") is None
    assert "| sft | 1 | – |" in capsys.readouterr().out


def test_without_runs_eval_ends_in_one_line(tmp_path, call_main):
    message = call_main(scoring, tmp_path)
    assert message.startswith(f"error: no run (a folder with args.json) in {tmp_path}") and "\n" not in message


def test_samples_must_be_a_multiple_of_64(tmp_path, call_main, capsys):
    assert call_main(scoring, tmp_path, "--samples", "100") == 2
    assert "--samples is 100, expected a multiple of 64" in capsys.readouterr().err


def test_the_judge_learns_the_tiny_data_and_is_trained_once(tiny_data, capsys):
    scoring.load_judge("idx", tiny_data, "cpu")
    capsys.readouterr()
    judge, accuracy = scoring.load_judge("idx", tiny_data, "cpu")
    assert "epoch" not in capsys.readouterr().err
    assert accuracy > 50 and not judge.training
