from __future__ import annotations

import zipfile

import huggingface_hub.constants
import pytest
import safetensors.torch
import torch

from lsd.runtime.errors import UsageError
from lsd.train.encoders.network import network_from_recipe
from lsd.train.encoders.recipe import encoder_recipe_of
from lsd.train.encoders.scaling import paper_scaling
from lsd.train.encoders.torchvision import import_timm
from lsd.train.encoders.weights import Pretrained, adapted, load_weights, weights_file
from lsd.train.state_dicts import read_state_dict

torch.set_num_threads(1)
timm = import_timm()
VIT = "vit_tiny_patch16_224"
ARGUMENTS = {"embed_dim": 24, "depth": 1, "num_heads": 2}


def vit(seed: int = 0, **changes):
    torch.manual_seed(seed)
    return timm.create_model(VIT, **{"in_chans": 3, "num_classes": 5, "img_size": 32, **ARGUMENTS, **changes})


def recipe(backbone: str = VIT, **network):
    encoder = {"backbone": backbone, "channels": ["optical"], "arguments": {"img_size": 256, **ARGUMENTS}}
    stored = {"name": "mine", "description": "", "scaling": {"kind": "standard", "constants": "paper"}}
    return encoder_recipe_of({**stored, "network": {"encoders": [encoder], "head": "single", **network}}, "mine")


def build(source: str, **network):
    return network_from_recipe(recipe(**network), paper_scaling("standard"), Pretrained(source))


def raw_pickle(path, command: str):
    """Bytes that any unpickling runs the command for; written by hand, as a stranger would."""
    path.write_bytes(b"cposix\nsystem\n(S'" + command.encode() + b"'\ntR.")
    return path


def test_first_layer_follows_timms_convention():
    kernel = torch.randn(6, 3, 4, 4)
    for channels in (1, 2, 3, 4, 7, 14):
        wanted = timm.models.adapt_input_conv(channels, kernel)
        torch.testing.assert_close(adapted(kernel, channels), wanted)
    flat = torch.randn(2, 4, 1, 1)
    for channels in (1, 8, 12):  # the response to equal channels stays
        torch.testing.assert_close(adapted(flat, channels).sum(1), flat.sum(1))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_local_file_is_fitted_to_channels_grid_and_outputs(tmp_path, suffix):
    source = vit(seed=1)
    file = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(source.state_dict(), file)
    else:
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, file)
    target = vit(seed=2, in_chans=4, num_classes=1, img_size=64)
    head = target.head.weight.clone()
    told = load_weights(target, file)
    assert told == f"w{suffix} (first layer 3 -> 4 channels, classifier left as initialised)"
    assert torch.equal(target.patch_embed.proj.weight, adapted(source.patch_embed.proj.weight, 4))
    assert torch.equal(target.blocks[0].attn.qkv.weight, source.blocks[0].attn.qkv.weight)
    assert target.pos_embed.shape == (1, 17, 24) and source.pos_embed.shape == (1, 5, 24)
    torch.testing.assert_close(target.pos_embed[:, 1:].mean(1), source.pos_embed[:, 1:].mean(1), rtol=0.2, atol=2e-3)
    assert torch.equal(target.head.weight, head)
    assert load_weights(vit(seed=3), file) == f"w{suffix}"  # nothing to change, classifier included


def test_a_network_starts_from_its_file_before_the_stem_is_folded(tmp_path):
    source = vit(seed=1, img_size=256, in_chans=4, num_classes=1)
    safetensors.torch.save_file(source.state_dict(), tmp_path / f"{VIT}.safetensors")
    (tmp_path / "other.pth").write_bytes(b"")
    plain, folded = build(str(tmp_path)).eval(), build(str(tmp_path), stem="folded").eval()
    assert plain.origins == folded.origins == (f"{VIT}.safetensors",)
    raw = torch.randn(2, 4, 64, 64) * 1000 + 2000
    with torch.inference_mode():
        torch.testing.assert_close(plain(raw), folded(raw), rtol=1e-4, atol=1e-5)
    assert torch.equal(plain.encoders[0].backbone.pos_embed, source.pos_embed)
    assert build("none").origins == ("random",)


def test_weights_without_classifier_are_taken(tmp_path):
    state = {key: value for key, value in vit(seed=1).state_dict().items() if not key.startswith("head.")}
    torch.save(state, tmp_path / "w.pt")
    assert load_weights(vit(), tmp_path / "w.pt") == "w.pt (classifier left as initialised)"


def test_folder_with_one_file_or_several(tmp_path):
    with pytest.raises(UsageError, match=r"expected one file of weights .* found none"):
        weights_file(tmp_path, VIT)
    (tmp_path / "a.pth").touch()
    (tmp_path / "README.md").touch()
    assert weights_file(tmp_path, VIT).name == "a.pth"
    (tmp_path / "b.pth").touch()
    with pytest.raises(UsageError, match=r"or one named resnet18.a1_in1k.safetensors, found a.pth, b.pth"):
        weights_file(tmp_path, "resnet18.a1_in1k")
    (tmp_path / "resnet18.safetensors").touch()
    assert weights_file(tmp_path, "resnet18.a1_in1k").name == "resnet18.safetensors"
    with pytest.raises(UsageError, match="no such file or folder of weights"):
        weights_file(tmp_path / "none", VIT)


def test_other_mismatches_list_the_keys(tmp_path):
    state = vit().state_dict()
    del state["norm.weight"]
    state["norm.scale"] = torch.ones(24)
    state["blocks.0.mlp.fc1.bias"] = torch.ones(3)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(UsageError) as caught:
        load_weights(vit(), tmp_path / "w.pt")
    text = str(caught.value)
    assert "missing: norm.weight; unexpected: norm.scale; " in text and "\n" not in text
    assert "misshaped: blocks.0.mlp.fc1.bias (3,) instead of (96,)" in text
    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "resnet.pt")
    with pytest.raises(UsageError, match=r"does not fit vit_tiny_patch16_224: missing: .* and \d+ more; unexpected"):
        load_weights(vit(), tmp_path / "resnet.pt")
    torch.save(vit().state_dict(), tmp_path / "vit.pt")
    with pytest.raises(UsageError, match="does not fit maxvit_rmlp_pico_rw_256"):
        load_weights(timm.create_model("maxvit_rmlp_pico_rw_256"), tmp_path / "vit.pt")


def test_hub_is_asked_only_by_name_and_fails_in_one_line_without_network(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        UsageError, match=r"cannot get the weights of vit_tiny_patch16_224 from the hub .* give --pretrained"
    ):
        build("hub")


def test_code_in_a_file_is_not_run(tmp_path):
    mark = tmp_path / "mark"
    file = raw_pickle(tmp_path / "evil.pt", f"touch {mark}")
    zipped = tmp_path / "zipped.pt"
    torch.save({"a": torch.ones(2)}, tmp_path / "good.pt")
    with zipfile.ZipFile(tmp_path / "good.pt") as good, zipfile.ZipFile(zipped, "w") as evil:
        for name in good.namelist():
            evil.writestr(name, file.read_bytes() if name.endswith("data.pkl") else good.read(name))
    whole = tmp_path / "whole.pt"
    torch.save(vit(), whole)
    for bad, named in ((file, "posix.system"), (zipped, "posix.system"), (whole, "timm.")):
        with pytest.raises(
            UsageError, match=f"holds more than tensors .*{named}.*refused; save model.state_dict"
        ) as caught:
            read_state_dict(bad)
        assert "\n" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("none.pt", None, "cannot be read"),
        ("a.pt", b"", "is damaged or no file of weights"),
        ("a.pt", b"PK\x03\x04 nothing", "is damaged or no file of weights"),
        ("a.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense", "is damaged or no file of weights"),
        ("a.safetensors", None, "cannot be read"),
        ("a.onnx", b"", "expected a file of weights"),
    ],
)
def test_damaged_files_are_one_line(tmp_path, name, content, line):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=line) as caught:
        read_state_dict(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        (3, "found int"),
        ({}, "found nothing"),
        ({"epoch": 3, "lr": 1.0}, "found epoch, lr"),
        ([torch.ones(1)], "found list"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, stored, found):
    torch.save(stored, tmp_path / "a.pt")
    with pytest.raises(UsageError, match=f"expected tensors by name .* {found}"):
        read_state_dict(tmp_path / "a.pt")
