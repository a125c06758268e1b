"""A bright scene whose cloud layer says clear, or that has none."""

from __future__ import annotations

from lsd.runtime.acquisition.finding import Finding, Outcome
from lsd.runtime.acquisition.names import BRIGHT
from lsd.runtime.acquisition.sample import SampledScene
from lsd.runtime.haze import HAZE_WARNING_SHARE, hazy_share


def bright_share(scene: SampledScene) -> float | None:
    """Share 0..1 of the valid pixels that look like cloud, haze or snow; None without red and blue."""
    return hazy_share(scene.bands["red"], scene.bands["blue"]) if scene.has("red", "blue") else None


def bright_scene(scene: SampledScene) -> list[Outcome]:
    """From a tenth on, the picture needs a look; a layer that called it clear is not believed."""
    share = bright_share(scene)
    if share is None or share < HAZE_WARNING_SHARE:
        return []
    of = "what its cloud layer calls clear" if scene.has_cloud_layer else "the scene"
    return [
        Finding(
            BRIGHT,
            "likely",
            f"{share:.0%} of {of} is bright as cloud, haze or snow: look at the picture before trusting it",
        )
    ]
