"""A small bundle of random forests and random networks: it tests machinery, its answers mean nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from encoder_graphs import encoder_graph

from lsd.export.golden import golden_outputs
from lsd.export.write import bundle_in_memory
from lsd.runtime.backends.base import EncoderGraph
from lsd.runtime.bands import BAND_NAMES, of_modality
from lsd.runtime.bundle import GOLDEN_NAME, Bundle
from lsd.runtime.chain import Chain
from lsd.runtime.combination import Combination
from lsd.runtime.manifest import EncoderMember, Part
from lsd.runtime.npz import npz_bytes

OPTICAL = of_modality("optical")
EXTERNAL = "wide.0.bin"  # the kernel of the network that sees all bands lies beside its graph


def encoder_bundle(plain: Bundle) -> Bundle:
    """Networks beside the forests of `random_bundle()`.

    `net`, two folds, sees optical bands in both configurations; `wide`, one fold, all bands; fp32 and fp16.
    """
    net, net_files = _encoder("net", [encoder_graph("fp32", seed, OPTICAL) for seed in (1, 2)])
    wide, wide_files = _encoder("wide", [encoder_graph("fp32", 3, BAND_NAMES, external=EXTERNAL)])
    halves = {"net": [encoder_graph("fp16", seed, OPTICAL) for seed in (1, 2)]}
    halves["wide"] = [encoder_graph("fp16", 3, BAND_NAMES)]
    files = net_files | wide_files
    encoders = {"net": net, "wide": wide}
    for key, graphs in halves.items():
        paths = tuple(f"encoders/{key}.{fold}.fp16.onnx" for fold in range(len(graphs)))
        encoders[key] = replace(encoders[key], graphs={**encoders[key].graphs, "fp16": paths})
        files |= {path: graph.content for path, graph in zip(paths, graphs, strict=True)}
    together = {
        "all": (("net", "wide"), Combination("logit", (0.8, 0.5, 0.2), -0.1)),
        "optical": (("net",), Combination("probability", (0.6, 0.4))),
    }
    configurations = tuple(
        replace(
            one,
            parts=(*one.parts, *(Part(key, (key,), (1.0,)) for key in together[one.name][0])),
            combination=together[one.name][1],
        )
        for one in plain.manifest.configurations
    )
    manifest = replace(plain.manifest, name="random networks", encoders=encoders, configurations=configurations)
    contents = {**{path: data for path, data in plain.contents.items() if path != GOLDEN_NAME}, **files}
    chain = Chain(bundle_in_memory(manifest, contents))
    golden = golden_outputs(chain)
    pixels = np.asarray(golden["pixels"], np.float32)
    logits = {f"encoders/{key}/logits": one.logits(pixels, BAND_NAMES) for key, one in chain.encoders.items()}
    contents[GOLDEN_NAME] = npz_bytes({**golden, **logits})
    return bundle_in_memory(manifest, contents)


def _encoder(key: str, graphs: list[EncoderGraph]) -> tuple[EncoderMember, dict[str, bytes]]:
    paths = tuple(f"encoders/{key}.{fold}.onnx" for fold in range(len(graphs)))
    beside = {
        path: {f"encoders/{name}": data for name, data in graph.external.items()}
        for path, graph in zip(paths, graphs, strict=True)
    }
    record = EncoderMember(
        bands=graphs[0].bands,
        served=(graphs[0].bands,),
        backbones=("small encoder",),
        parameters=1000,
        graphs={"fp32": paths},
        plans={},
        external={path: tuple(files) for path, files in beside.items() if files},
    )
    files = {path: graph.content for path, graph in zip(paths, graphs, strict=True)}
    return record, files | {name: data for one in beside.values() for name, data in one.items()}
