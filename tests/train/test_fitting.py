"""Loss, order, augmentation, and a fit that can be stopped anywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from patch_sets import TINY_RECIPE, patch_set
from torch import nn

from lsd.runtime.bands import BAND_NAMES, of_modality
from lsd.runtime.errors import RecipeError, RunFolderError, UsageError
from lsd.train.encoders.network import network_from_recipe
from lsd.train.encoders.recipe import encoder_recipe_of
from lsd.train.encoders.scaling import paper_scaling
from lsd.train.fitting import fold as fold_module
from lsd.train.fitting.augment import augmented
from lsd.train.fitting.fold import STATE_NAME, FoldTask, fit_fold, steps_of
from lsd.train.fitting.loss import loss_gradient, loss_of, soft_f1
from lsd.train.fitting.machine import machine_of
from lsd.train.fitting.order import epoch_batches
from lsd.train.fitting.predict import logits_of, probabilities
from lsd.train.fitting.settings import Fitting

RECIPE = encoder_recipe_of(TINY_RECIPE, "tiny")
CPU = machine_of("cpu", "fp32", 1, 1)


def network(recipe=RECIPE, seed=1):
    torch.manual_seed(seed)
    return network_from_recipe(recipe, paper_scaling("standard"))


class Mean(nn.Module):
    """A network without batch normalisation and noise: logistic regression on band means."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Linear(len(BAND_NAMES), 1)

    def forward(self, patches):
        scaled = (patches.nan_to_num(0.0).mean(dim=(2, 3)) + 5) / 1000
        return self.layer(scaled).squeeze(1)


def task(folder: Path, n: int = 48, machine=CPU, **fitting):
    dataset = patch_set(n)
    settings = replace(RECIPE.fitting, **fitting)
    held_out = np.arange(n)[::4]
    training = np.setdiff1d(np.arange(n), held_out)
    return FoldTask(
        dataset,
        dataset.labels.astype(np.float32),
        training,
        held_out,
        settings,
        7,
        0,
        folder,
        machine,
        save_every_s=1e9,
    )


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(ours, theirs):
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


# --- loss -----------------------------------------------------------------------------------------------------------


def test_soft_f1_of_certain_answers_is_f1():
    targets = torch.tensor([1.0, 1, 0, 0, 1])
    logits = torch.tensor([50.0, -50, 50, -50, 50])  # two hits, one false, one missed
    assert soft_f1(logits, targets).item() == pytest.approx(2 * 2 / (2 * 2 + 1 + 1), abs=1e-6)


def test_loss_gradient_is_that_of_finite_differences():
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(0, 1, 6))
    targets = torch.tensor([1.0, 0, 0.3, 1, 0, 0], dtype=torch.float64)
    value, gradient = loss_gradient(logits.float(), targets.float(), 1.0)
    assert value == pytest.approx(loss_of(logits, targets, 1.0).item(), abs=1e-6)
    for i in range(6):
        step = torch.zeros(6, dtype=torch.float64)
        step[i] = 1e-6
        slope = (loss_of(logits + step, targets, 1.0) - loss_of(logits - step, targets, 1.0)) / 2e-6
        assert gradient[i].item() == pytest.approx(slope.item(), abs=1e-5)


# --- order and augmentation -----------------------------------------------------------------------------------------


def test_plain_order_has_every_patch_once_and_no_batch_of_one():
    positions = np.arange(100, 133)
    found = epoch_batches(positions, np.zeros(200, np.int8), "plain", 8, 2, np.random.default_rng(0))
    assert sorted(np.concatenate(found)) == positions.tolist()
    assert [len(batch) for batch in found] == [8, 8, 8, 9]


def test_balanced_order_has_both_classes_equally_often_and_no_slide_much_more_than_another():
    labels = (np.arange(100) < 10).astype(np.int8)
    drawn = np.concatenate(epoch_batches(np.arange(100), labels, "balanced", 10, 2, np.random.default_rng(0)))
    assert labels[drawn].sum() == 50
    counts = np.bincount(drawn, minlength=100)[:10]
    assert counts.max() - counts.min() <= 1


def test_augmentation_gives_all_eight_symmetries_and_nothing_else():
    patch = torch.arange(12 * 16, dtype=torch.float32).reshape(1, 12, 4, 4).repeat(200, 1, 1, 1)
    rng = np.random.default_rng(0)
    out = augmented(patch, BAND_NAMES, Fitting(), rng, slice(0, 200), 200)
    symmetries = {
        tuple(torch.rot90(v, k, (1, 2)).ravel().tolist()) for k in range(4) for v in (patch[0], patch[0].flip(1))
    }
    assert {tuple(one.ravel().tolist()) for one in out} == symmetries
    still = augmented(patch, BAND_NAMES, Fitting(flips=False, quarter_turns=False), rng, slice(0, 200), 200)
    assert torch.equal(still, patch)


def test_augmentation_does_not_depend_on_how_a_batch_is_shared():
    patches = torch.randn(10, 12, 8, 8, generator=torch.Generator().manual_seed(0))
    settings = Fitting(modality_dropout={"optical": 0.4, "sar": 0.4})
    whole = augmented(patches, BAND_NAMES, settings, np.random.default_rng(5), slice(0, 10), 10)
    parts = [
        augmented(patches[own], BAND_NAMES, settings, np.random.default_rng(5), own, 10)
        for own in (slice(0, 4), slice(4, 10))
    ]
    assert torch.equal(whole.nan_to_num(-1e9), torch.cat(parts).nan_to_num(-1e9))


def test_modality_dropout_leaves_the_named_bands_at_the_named_rates():
    patches = torch.zeros(4000, 12, 1, 1)
    settings = Fitting(modality_dropout={"optical": 0.25, "sar": 0.5})
    absent = augmented(patches, BAND_NAMES, settings, np.random.default_rng(0), slice(0, 4000), 4000).isnan()[
        :, :, 0, 0
    ]
    optical = torch.tensor([band in of_modality("optical") for band in BAND_NAMES])
    kinds = {"optical": ~optical, "sar": optical, "whole": torch.zeros(12, dtype=torch.bool)}
    shares = {name: (absent == wanted).all(dim=1).float().mean().item() for name, wanted in kinds.items()}
    assert shares == pytest.approx({"optical": 0.25, "sar": 0.5, "whole": 0.25}, abs=0.03)


# --- a fit ----------------------------------------------------------------------------------------------------------


def test_a_fit_learns_what_can_be_learnt(tmp_path):
    model, job = network(), task(tmp_path, 96, epochs=6)
    history = fit_fold(model, job)
    assert len(history) == 6
    assert history[-1]["loss"] < history[0]["loss"]
    found = probabilities(model, job.dataset, job.held_out, CPU)
    assert ((found > 0.5) == (job.dataset.labels[job.held_out] == 1)).mean() > 0.9


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path):
    found = []
    for seed, place in ((7, "a"), (7, "b"), (8, "c")):
        model = network()
        (tmp_path / place).mkdir()
        fit_fold(model, replace(task(tmp_path / place), seed=seed))
        found.append(weights(model))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


class Killed(BaseException):
    """Stands for a kill: nothing of the program runs after it."""


@pytest.mark.parametrize("extra", [{}, {"ema_decay": 0.9}, {"early_stopping_epochs": 3}], ids=["plain", "ema", "early"])
def test_a_fit_stopped_after_any_step_ends_with_the_same_weights(tmp_path, extra):
    (tmp_path / "whole").mkdir()
    whole = network()
    history = fit_fold(whole, task(tmp_path / "whole", **extra))
    stopped_at = []
    while True:  # every life of the fit saves after each step and dies in its third
        job = replace(task(tmp_path, **extra), save_every_s=0.0)
        model, lived = network(), 0

        def die_in_the_third(n, note):
            nonlocal lived
            lived += n
            if lived == 3:
                raise Killed

        try:
            found = fit_fold(model, job, die_in_the_third, stopped_at.append)
            break
        except Killed:
            continue
    assert found == history
    assert same(weights(model), weights(whole))
    assert stopped_at == list(range(0, steps_of(job), 2))  # the third step was lost each time, and done again


def test_a_state_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / STATE_NAME).write_bytes(b"half a file")
    with pytest.raises(RunFolderError, match="remove this file"):
        fit_fold(network(), task(tmp_path))


def test_micro_batches_give_the_loss_and_gradient_of_the_whole_batch(tmp_path):
    found = []
    for parts in (1, 3):
        (tmp_path / str(parts)).mkdir()
        model = Mean()
        machine = machine_of("cpu", "fp32", 1, parts)
        history = fit_fold(model, task(tmp_path / str(parts), machine=machine, batch_size=12))
        found.append((history[-1]["loss"], model.layer.weight.detach().clone()))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-7)


def test_a_pass_whose_gradient_is_not_kept_leaves_running_statistics_alone():
    model = nn.BatchNorm1d(3).train()
    before = model.running_mean.clone()
    with fold_module._StillStatistics(model, moves=False):
        model(torch.randn(8, 3) + 5)
    assert torch.equal(model.running_mean, before)
    assert model.momentum == 0.1


def test_early_stopping_goes_back_to_the_best_epoch(tmp_path):
    model, job = network(), task(tmp_path, 48, epochs=12, learning_rate=0.05, early_stopping_epochs=2)
    history = fit_fold(model, job)
    losses = [row["held_out_log_loss"] for row in history]
    assert len(history) < 12
    assert len(losses) - 1 - int(np.argmin(losses)) == 2
    from lsd.train.calibrate import log_loss

    found = log_loss(probabilities(model, job.dataset, job.held_out, CPU), job.dataset.labels[job.held_out])
    assert found == pytest.approx(min(losses), abs=1e-9)


@pytest.mark.parametrize(
    ("schedule", "expected"), [("epoch", [1.0, 1.0, 0.75, 0.75, 0.25, 0.25]), ("step", None)], ids=["epoch", "step"]
)
def test_the_learning_rate_follows_the_cosine(tmp_path, monkeypatch, schedule, expected):
    seen = []
    original = fold_module._Fit._train_batch

    def spy(self, *given):
        seen.append(self.optimizer.param_groups[0]["lr"])
        return original(self, *given)

    monkeypatch.setattr(fold_module._Fit, "_train_batch", spy)
    fit_fold(Mean(), task(tmp_path, 24, epochs=3, learning_rate=1.0, batch_size=9, schedule=schedule))
    assert len(seen) == 6
    if expected is None:
        expected = [0.5 * (1 + np.cos(np.pi * step / 6)) for step in range(6)]
    assert seen == pytest.approx(expected)


def test_flips_average_logits():
    model, patches = network().eval(), torch.from_numpy(np.stack([patch_set(4).read(i) for i in range(4)]))
    with torch.inference_mode():
        views = [patches, patches.flip(2), patches.flip(3), patches.flip(2, 3)]
        expected = torch.stack([model(view).double() for view in views]).mean(dim=0)
    assert torch.equal(logits_of(model, patches, CPU, flips=True), expected)
    assert not torch.equal(expected, logits_of(model, patches, CPU))


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0}, {"learning_rate": "fast"}, {"epochs": 0}, {"batch_size": 1}, {"sampling": "some"},
        {"ema_decay": 1.0}, {"modality_dropout": {"optic": 0.5}}, {"modality_dropout": {"optical": 0.7, "sar": 0.7}},
        {"warmup_epochs": 20}, {"schedule": "never"}, {"epoch": 3}, {"flips": 1},
    ],
)  # fmt: skip
def test_unfit_settings_are_refused_by_name(wrong):
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        Fitting.from_json(wrong)


@pytest.mark.parametrize(("device", "precision"), [("cuda", "auto"), ("cpu", "fp16"), ("tpu", "auto")])
def test_a_machine_that_is_not_there_is_refused(device, precision):
    with pytest.raises(UsageError):
        machine_of(device, precision, 1, 1)
